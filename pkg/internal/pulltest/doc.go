// Package pulltest is the world that tests pull from and pull into: images
// built in memory or from real root file systems, a loopback registry that
// logs every request and misbehaves on demand, distribution's registry and
// real containerd daemons as processes, and a reader of unpacked trees.
//
// It knows nothing of the packages it helps to test. Everything but the thin
// functions that take a testing.TB returns errors, because pkg/sample shows the
// registry to cmd/quickstart.
//
// Faults are of three sorts. A Behaviour is how one request is answered: late,
// with a status, a redirect, another body, or with a Fault in the body. A Behave
// chooses it per request; Always, Times and Sequence make one. An outage is of
// the whole address: Stop refuses connections, Deafen never answers them, Vanish
// drops their SYNs, and Start ends all three. A second host is a Mirror at
// 127.0.0.2; its log has every header that it was sent.
//
// Read image.go for what an image is here, registry.go for how it is served,
// behave.go and script.go for faults, daemon.go for containerd.
package pulltest
