package daemon

import (
	"context"
	"os"

	"github.com/containerd/containerd/v2/core/content"

	introspectionapi "github.com/containerd/containerd/api/services/introspection/v1"

	"github.com/containerd-pull/containerd-pull/pkg/store"
	"github.com/containerd-pull/containerd-pull/pkg/store/snapshotdir"
)

// VerifiersOf lets the tests show plugins that no containerd comes with.
func VerifiersOf(ctx context.Context, plugins []*introspectionapi.Plugin) store.Verifiers {
	return verifiersOf(ctx, plugins, 0, nil)
}

// IngestOf is the file in which the daemon collects what w sends, nil if it is not
// proven to be that.
func IngestOf(w content.Writer) *os.File {
	early := &w.(*sender).early
	if early.Find != nil {
		early.File, early.Find = early.Find(), nil
	}
	return early.File
}

// ConfigFlag lets the tests read command lines of containerd.
func ConfigFlag(args []string) (string, bool) { return configFlag(args) }

// Imports lists what a file of containerd's configuration imports.
func Imports(path string) ([]string, error) { return imports(path) }

// AsRefusal lets the tests show messages of a daemon.
func AsRefusal(err error) error { return asRefusal(err) }

// SharesFile compares path with what a process sees, whose folder is proc.
func SharesFile(proc, path string) error { return daemonProcess(proc).sharesFile(path) }

// ReadNumbers reads the numbers of a namespace's snapshots out of the database in a
// folder.
func ReadNumbers(dir, namespace string) (map[string]string, error) {
	f, err := os.Open(dir)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	all, err := readNumbers(f, namespace)
	found := map[string]string{}
	for name, of := range all {
		found[name] = snapshotdir.Format(of.ID)
	}
	return found, err
}
