// The versions of the Go programs that check and release. .ci/checkers reads
// them and builds each program within its own module; nothing is ever built in
// this one. A folder of its own, so that a newer linter does not build the
// daemons of the tests anew.
module containerd-pull.invalid/checkers

go 1.26

require (
	github.com/CycloneDX/cyclonedx-gomod v1.10.0
	github.com/golangci/golangci-lint/v2 v2.15.0
	github.com/goreleaser/goreleaser/v2 v2.15.1 // the newest all of whose dependencies the proxy serves
	github.com/rhysd/actionlint v1.7.12
	golang.org/x/exp v0.0.0-20261113113407-e3970619a1a4
	golang.org/x/vuln v1.9.0
)
