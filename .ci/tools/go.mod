// The versions of the Go programs that tests run against. .ci/setup reads them
// and builds each program within its own module, with its own dependencies;
// nothing is ever built in this one.
module containerd-pull.invalid/tools

go 1.26

require (
	github.com/containerd/containerd v1.7.35
	github.com/containerd/containerd/v2 v2.4.2
	github.com/distribution/distribution/v3 v3.1.2
)
