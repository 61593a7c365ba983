package pulltest

import (
	"github.com/containerd/log"
)

// Tests report what goes wrong themselves. Containerd's warnings, that a file
// system has no fs-verity for example, would only hide that.
var _ = log.SetLevel("error")

// possible panics with an error of what is built in memory, which only a mistake
// in the test itself can cause.
func possible(err error) {
	if err != nil {
		panic(err)
	}
}
