// Package pulltest is the world that tests pull from and pull into. Here are
// the images, built in memory or from real root file systems, and Need, which
// skips a test where something that it needs is missing. The rest of that world
// is below:
//
//   - testregistry: a loopback registry that logs every request and misbehaves
//     on demand, and distribution's registry as a process
//   - testca: the certificates of servers and clients
//   - testdaemon: real containerd daemons as processes
//   - tree: a reader of unpacked trees, and their differences
//   - process: programs that run beside a test
//
// They know nothing of the packages that they help to test. What is built in
// memory cannot fail, except by a mistake in the test, and then it panics. The
// rest returns errors, or ends the test if it takes a testing.TB: pkg/sample shows
// the registry to cmd/quickstart, outside of tests.
//
// Read image.go for what an image is here and samples.go for images that are
// ready to use.
package pulltest
