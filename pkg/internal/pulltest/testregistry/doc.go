// Package testregistry serves images to tests, on loopback. A Registry lives in
// the test's process, logs every request and misbehaves on demand; a
// Distribution is the CNCF's registry in a process of its own.
//
// Faults are of three sorts. A Behaviour is how one request is answered: late,
// with a status, a redirect, another body, or with a Fault in the body. A Behave
// chooses it per request; Always, Times and Sequence make one. An outage is of
// the whole address: Stop refuses connections, Deafen never answers them, Vanish
// drops their SYNs, and Start ends all three. A second host is a Mirror at
// 127.0.0.2; its log has every header that it was sent. A Cage plays one of the
// registries that people use, out of Zoo, under its own names.
//
// Read registry.go for how an image is served, behave.go and script.go for
// faults. What an image is stands in pulltest.
package testregistry
