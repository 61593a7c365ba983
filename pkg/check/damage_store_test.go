package check_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/containerd/continuity/fs"
	"github.com/opencontainers/go-digest"

	"github.com/containerd-pull/containerd-pull/pkg/internal/pulltest"
	"github.com/containerd-pull/containerd-pull/pkg/internal/pulltest/testdaemon"
	"github.com/containerd-pull/containerd-pull/pkg/internal/pulltest/testregistry"
	"github.com/containerd-pull/containerd-pull/pkg/internal/pulltest/teststore"
	"github.com/containerd-pull/containerd-pull/pkg/internal/pulltest/tree"
	"github.com/containerd-pull/containerd-pull/pkg/store"
	"github.com/containerd-pull/containerd-pull/pkg/store/daemon"
	"github.com/containerd-pull/containerd-pull/pkg/store/root"
)

// The folders of a root, for this test as containerd names them.
const (
	metaFile      = "io.containerd.metadata.v1.bolt/meta.db"
	contentFolder = "io.containerd.content.v1.content"
	snapshotsOf   = "io.containerd.snapshotter.v1."
)

// calmConfig keeps a daemon from collecting unless it is asked to.
const calmConfig = `[plugins."io.containerd.gc.v1.scheduler"]
  startup_delay = "24h"
  mutation_threshold = 1000000
`

// part is a file or folder of a store that is damaged.
type part struct {
	name   string
	at     string   // a pattern below the root
	said   []string // a message about the damage has one of these
	folder bool     // which has no bytes of its own
	whole  bool     // a database, or a folder with everything in it
	unread bool     // bytes that no pull reads as long as they are unpacked
	deeply bool     // bytes that only --deep reads
}

func blobPart(kind string, dgst digest.Digest) part {
	return part{name: kind, at: filepath.Join(contentFolder, "blobs/sha256", dgst.Encoded()), said: []string{dgst.Encoded()}}
}

// partsOf lists those of a store with img and the snapshotter.
func partsOf(img *pulltest.Image, snapshotter string) []part {
	manifest, sn := img.Children[0], snapshotsOf+snapshotter
	chain := manifest.ChainIDs()[0].Encoded()
	layer := blobPart("layer", manifest.Layers[0].Digest)
	layer.unread = true
	all := []part{
		{name: "`meta.db`", at: metaFile, said: []string{"meta.db"}, whole: true},
		{name: "`metadata.db`", at: sn + "/metadata.db", said: []string{"metadata.db"}, whole: true},
		blobPart("index", img.Desc.Digest), blobPart("manifest", manifest.Desc.Digest), blobPart("config", manifest.Config.Digest), layer,
		{name: "ingest", at: contentFolder + "/ingest/*", said: []string{contentFolder + "/ingest/"}, folder: true},
		{name: "data of an ingest", at: contentFolder + "/ingest/*/data"},
		{name: "folder of a snapshot", at: sn + "/snapshots/1", said: []string{chain, "snapshots/1"}, folder: true},
	}
	files := sn + "/snapshots/1"
	if snapshotter == store.Overlayfs { // with native, the folder is the layer
		files += "/fs"
		all = append(all, part{name: "`fs` of a snapshot", at: files, said: []string{chain, "snapshots/1"}, folder: true})
	}
	return append(all,
		part{name: "file of a snapshot", at: files + "/data", said: []string{chain}, unread: true, deeply: true},
		part{name: "folder of the snapshotter", at: sn, said: []string{sn, chain}, folder: true, whole: true},
		part{name: "folder of the content", at: contentFolder, said: []string{contentFolder, img.Desc.Digest.Encoded()}, folder: true, whole: true})
}

// depot is a store in which everything is damaged, in copies, beside another of its
// kind.
type depot struct {
	programs      *programs
	place         teststore.Place
	root, other   string // what is copied, and what replaces it
	ref           string
	parts, others []part   // the same, of both
	known         []string // digests and chain IDs of both images, and what a daemon says of a database
	kept          []string // files that no command is to lose
}

// newDepot fills both stores.
func newDepot(t *testing.T, programs *programs, p teststore.Place, reg *testregistry.Registry, one, two *pulltest.Image) *depot {
	t.Helper()
	d := &depot{programs: programs, place: p, root: programs.root(t), other: programs.root(t)}
	d.parts, d.others = partsOf(one, p.Snapshotter), partsOf(two, p.Snapshotter)
	d.known = []string{"database"}
	for _, img := range []*pulltest.Image{one, two} {
		d.known = append(d.known, img.Desc.Digest.Encoded(), img.Children[0].ChainIDs()[0].Encoded())
	}
	d.ref = testregistry.Push(t, reg, "team/app:1", one)
	d.fill(t, d.root, d.ref, "begun")
	d.fill(t, d.other, testregistry.Push(t, reg, "team/app:2", two), "begun, too")
	d.kept = keptFiles(t, d.root)
	return d
}

// fill pulls ref into a new root, and begins a blob.
func (d *depot) fill(t *testing.T, dir, ref, begun string) {
	t.Helper()
	c := &copied{depot: d, root: dir}
	c.start(t)
	if code, out := c.run(t, "pull "+ref); code != 0 {
		t.Fatalf("got code %d of the first pull: %s", code, out)
	}
	s := c.open(t)
	teststore.Ingest(s.Context(t.Context()), t, s, strings.Repeat(begun, 4096))
	must(t, s.Close())
	if c.daemon != nil { // in its own time: what it knows is on the disk then
		must(t, c.daemon.Close())
	}
}

// open opens the store in this process.
func (c *copied) open(t *testing.T) *store.Store {
	t.Helper()
	if c.daemon != nil {
		s, err := daemon.Dial(t.Context(), store.Options{Address: c.daemon.Address})
		must(t, err)
		return s
	}
	s, err := root.Open(t.Context(), store.Options{Root: c.root, Snapshotter: c.place.Snapshotter})
	must(t, err)
	return s
}

// damagedImage is an index of one image, whose files have pages enough.
func damagedImage(seed string) *pulltest.Image {
	noise := make([]byte, 40<<10)
	rand.NewChaCha8([32]byte([]byte(strings.Repeat(seed, 32))[:32])).Read(noise) // never fails
	return pulltest.NewIndex(pulltest.NewImage(pulltest.Spec{Layers: []pulltest.Layer{
		pulltest.NewLayer(pulltest.Gzip, pulltest.Regular("data", string(noise)), pulltest.Regular("name", seed)),
		pulltest.NewLayer(pulltest.Gzip, pulltest.Directory("etc"), pulltest.Regular("etc/name", seed)),
	}}))
}

// copied is a copy of a store.
type copied struct {
	*depot
	root    string
	damage  teststore.Damage   // how the commands are hindered besides
	failing string             // the file whose reads fail
	daemon  *testdaemon.Daemon // nil for an embedded root, or where it does not start
}

// copy copies the store.
func (d *depot) copy(t *testing.T) *copied {
	t.Helper()
	c := &copied{depot: d, root: d.programs.root(t)}
	if err := fs.CopyDir(c.root, d.root); err != nil {
		t.Fatalf("copying the store: %v", err)
	}
	return c
}

// start starts the daemon of the store, if it has one, and reports whether the store
// can be used.
func (c *copied) start(t *testing.T) bool {
	t.Helper()
	if c.place.Version == "" {
		return true
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	d, err := testdaemon.New(ctx, testdaemon.Options{Version: c.place.Version, Root: c.root, Config: calmConfig})
	if err != nil {
		t.Logf("containerd %s does not start: %v", c.place.Version, err)
		return false
	}
	c.daemon = d
	return true
}

// end ends the daemon of the store, if there is one: nothing runs in it.
func (c *copied) end(t *testing.T) {
	t.Helper()
	if c.daemon != nil {
		must(t, errors.Join(c.daemon.Kill(), c.daemon.Close()))
		c.daemon = nil
	}
}

// store are the flags that name the store.
func (c *copied) store() []string {
	switch {
	case c.place.Version == "":
		return []string{"--root", c.root, "--snapshotter", c.place.Snapshotter}
	case c.daemon == nil:
		return []string{"--address", filepath.Join(c.root, "none.sock")}
	}
	return []string{"--address", c.daemon.Address}
}

// run runs a command on the store.
func (c *copied) run(t *testing.T, command string) (code int, out string) {
	t.Helper()
	args := append(strings.Fields(command), c.store()...)
	if asksForImage(command) || strings.Contains(command, "--repair") {
		args = append(args, "--plain-http", "--progress", "plain")
	}
	if c.damage == failing {
		return c.programs.trace(t, c.failing, args)
	}
	return c.programs.run(t, args, c.damage == teststore.Unreadable)
}

// only is the one path below root that a pattern matches.
func only(t *testing.T, dir, pattern string) string {
	t.Helper()
	all, err := filepath.Glob(filepath.Join(dir, pattern))
	if err != nil || len(all) != 1 {
		t.Fatalf("got %q below %s and %v, want one %s", all, dir, err, pattern)
	}
	return all[0]
}

// files lists the root. Of that of a daemon it lists the blobs, ingests and snapshots
// that were there before the damage: a daemon writes its databases whatever it is asked,
// and the folders of views go when it collects the next time.
func (c *copied) files(t *testing.T) (entries []tree.Entry) {
	t.Helper()
	if c.place.Version == "" {
		entries, err := tree.Read(c.root)
		must(t, err)
		return entries
	}
	for _, path := range c.kept {
		one, err := tree.Read(c.root + path)
		if errors.Is(err, os.ErrNotExist) {
			continue
		}
		must(t, err)
		one[0].Path = path
		entries = append(entries, one[0])
	}
	return entries
}

// keptFiles lists the files of blobs, ingests and snapshots of a store.
func keptFiles(t *testing.T, dir string) (paths []string) {
	t.Helper()
	all, err := tree.Read(dir)
	must(t, err)
	for _, e := range all {
		if isFile(e) && !strings.HasSuffix(e.Path, ".db") && (strings.HasPrefix(e.Path, "/"+contentFolder) || strings.HasPrefix(e.Path, "/"+snapshotsOf)) {
			paths = append(paths, e.Path)
		}
	}
	return paths
}

func (r row) title() string { return fmt.Sprintf("%s, %s", r.part.name, r.damage) }
