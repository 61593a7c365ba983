package daemon

import (
	"context"
	"io"
	"os"
	"path"
	"strings"

	"github.com/containerd-pull/containerd-pull/pkg/internal/beneath"
	"github.com/containerd-pull/containerd-pull/pkg/store"
)

// The file in which a daemon keeps its identity, in its root.
const (
	identityDir  = "io.containerd.grpc.v1.introspection"
	identityFile = "uuid"
	maxIdentity  = 128 // bytes
)

// Folders implements store.Backend. The folders are those that the daemon says,
// as far as they can be proven to be the ones that this process sees.
func (d *daemon) Folders(ctx context.Context) (content, snapshots *store.Place) {
	t := d.traits.Load()
	content = t.site.place(t.site.content)
	if content == nil || !d.sees(ctx, t) || !t.shares(content) {
		return nil, nil
	}
	snapshots = t.site.place(t.site.snapshots)
	if snapshots == nil || !t.shares(snapshots) {
		return content, nil
	}
	return content, snapshots
}

// sees reports whether the daemon's own identity lies where it must, beside the
// content folder.
func (d *daemon) sees(ctx context.Context, t *traits) bool {
	want, err := d.identity(ctx)
	if err != nil || want == "" {
		return false
	}
	root, err := t.site.folder(path.Dir(t.site.content))
	if err != nil {
		return false
	}
	got, err := readIdentity(root)
	return err == nil && got == want
}

func readIdentity(root *os.File) (string, error) {
	dir, err := beneath.Open(root, identityDir)
	if err != nil {
		return "", err
	}
	defer dir.Close()
	f, err := beneath.File(dir, identityFile, os.O_RDONLY)
	if err != nil {
		return "", err
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, maxIdentity))
	return strings.TrimSpace(string(text)), err
}

// shares reports whether the process behind the socket finds the folder that is open
// here under its path.
func (t *traits) shares(place *store.Place) bool {
	if t.pid == 0 {
		return false
	}
	theirs, err := os.Stat(processFolder(t.pid).path("root") + place.Dir.Name())
	own, ownErr := place.Dir.Stat()
	return err == nil && ownErr == nil && os.SameFile(theirs, own)
}
