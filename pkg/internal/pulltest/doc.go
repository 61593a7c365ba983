// Package pulltest is the world that tests pull from and pull into: images
// built in memory or from real root file systems, a loopback registry that
// logs every request and misbehaves on demand, distribution's registry and
// real containerd daemons as processes, and a reader of unpacked trees.
//
// It knows nothing of the packages it helps to test. Everything but the thin
// functions that take a testing.TB returns errors, because pkg/sample shows the
// registry to cmd/quickstart.
//
// Read image.go for what an image is here, registry.go for how it is served,
// behave.go for faults, daemon.go for containerd.
package pulltest
