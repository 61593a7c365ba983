package daemon

import (
	"context"
	"os"
	"path/filepath"
	"strings"

	"github.com/containerd-pull/containerd-pull/pkg/store"
)

// Folders implements store.Backend. The folders are those that the daemon says,
// as far as they can be proven to be the ones that this process sees.
func (d *daemon) Folders(ctx context.Context) (content, snapshots string) {
	t := d.traits.Load()
	if t.contentRoot == "" || !d.sees(ctx, t.contentRoot) {
		return "", ""
	}
	if t.snapshotRoot == "" || !d.sharesFolder(t.snapshotRoot) {
		return t.contentRoot, ""
	}
	return t.contentRoot, t.snapshotRoot
}

// sees reports whether the content folder of the daemon is the one that lies
// under its path here: the daemon's own identity lies beside it, and the process
// behind the socket finds the same folder there.
func (d *daemon) sees(ctx context.Context, content string) bool {
	want, err := d.identity(ctx)
	if err != nil || want == "" {
		return false
	}
	got, err := os.ReadFile(filepath.Join(filepath.Dir(content), "io.containerd.grpc.v1.introspection", "uuid"))
	return err == nil && strings.TrimSpace(string(got)) == want && d.sharesFolder(content)
}

// sharesFolder reports whether path, or the folder in which it will be made, is
// the same for the daemon and for this process.
func (d *daemon) sharesFolder(path string) bool {
	pid := d.traits.Load().pid
	return pid > 0 && processFolder(pid).sharesFile(store.Existing(path)) == nil
}
