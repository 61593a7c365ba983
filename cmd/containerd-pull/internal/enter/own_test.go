package enter

import (
	"os"
	"slices"
	"testing"

	"github.com/containerd-pull/containerd-pull/pkg/config"
)

// TestCommandOfNoProcess: a command that runs inside another program has no
// command line of its own, and must not make that program another one.
func TestCommandOfNoProcess(t *testing.T) {
	if args, err := thisCommand(config.Caller{}); err == nil {
		t.Errorf("got %q to execute again, want an error", args)
	}
	args, err := thisCommand(config.Caller{Args: []string{"elsewhere/nerdctl", "pull-ext", "debian"}})
	if program, _ := os.Executable(); err != nil || !slices.Equal(args, []string{program, "pull-ext", "debian"}) {
		t.Errorf("got %q, %v, want this program with the arguments", args, err)
	}
}
