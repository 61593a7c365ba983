package complete

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestArgumentsAreCommands wants a command for each entry of the table of
// arguments: the reference has a page for each but help.
func TestArgumentsAreCommands(t *testing.T) {
	for path := range new(completer).arguments() {
		name := strings.Join(append([]string{"containerd-pull"}, strings.Fields(path)...), "-")
		if _, err := os.Stat(filepath.Join("../../../../docs/cli", name+".md")); err != nil && path != "help" {
			t.Errorf("candidates for %q, which is no command: %v", path, err)
		}
	}
}
