package pull_test

import (
	"archive/tar"
	"context"
	"crypto/rand"
	"errors"
	"runtime"
	"testing"
	"time"

	"github.com/containerd/containerd/v2/core/snapshots"
	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/opencontainers/go-digest"

	"github.com/containerd-pull/containerd-pull/pkg/internal/pulltest"
	"github.com/containerd-pull/containerd-pull/pkg/internal/pulltest/testregistry"
	"github.com/containerd-pull/containerd-pull/pkg/internal/pulltest/tree"
)

// reference is a way in which containerd's own client pulls.
type reference struct {
	name  string
	flags []string
	// transfer is the service in the daemon; the other way is in the client.
	transfer bool
}

// references are the transfer service, which is the default, and the older
// flow in the client.
func references() []reference {
	return []reference{
		{name: "transfer", transfer: true},
		{name: "local", flags: []string{"--local"}},
	}
}

// TestDifferential pulls the same images with ctr into one daemon and with this
// client into another place, and wants no difference but those that are explained.
func TestDifferential(t *testing.T) {
	reg := testregistry.Start(t, testregistry.Options{})
	corpus := differentialImages(t)
	refs := map[string]string{}
	for name, img := range corpus {
		refs[name] = testregistry.Push(t, reg, "team/"+name+":1", img)
	}
	t.Run("ways", func(t *testing.T) {
		for _, way := range references() {
			for _, ours := range way.places() {
				t.Run(way.name+" and "+ours.name, func(t *testing.T) {
					t.Parallel()
					theirs := newSite(t, place{name: "ctr", snapshotter: ours.snapshotter, version: "2.4"})
					mine := newSite(t, ours)
					for name, img := range corpus {
						t.Run(name, func(t *testing.T) { compare(way, theirs.in(t), mine.in(t), refs[name], img) })
					}
				})
			}
		}
	})
}

// places to compare with: the transfer service of a daemon that is not
// configured for it does not unpack into native, which is one of the reasons to
// have another client.
func (r reference) places() []place {
	if r.transfer {
		return twoPlaces()
	}
	return []place{places()[0], places()[1], {name: "containerd 2.4 native", snapshotter: "native", version: "2.4"}}
}

// TestDifferentialReal does the same with the large image, once.
func TestDifferentialReal(t *testing.T) {
	pulltest.Need(t, pulltest.Root, pulltest.Contents("debian.tar.gz", "npm.tar.gz"))
	reg := testregistry.Start(t, testregistry.Options{})
	img := pulltest.RealImage(t)
	ref := testregistry.Push(t, reg, "team/real:1", img)
	theirs, mine := newSite(t, twoPlaces()[1]), newSite(t, twoPlaces()[1])
	compare(references()[0], theirs, mine, ref, img)
}

// compare pulls ref by both and compares everything.
func compare(way reference, theirs, mine *site, ref string, img *pulltest.Image) {
	t := mine.t
	t.Helper()
	start := time.Now()
	args := append([]string{"images", "pull", "--plain-http", "--snapshotter", theirs.snapshotter}, way.flags...)
	theirs.daemon.Ctr(t, append(args, ref)...)
	mine.mustPull(ref)
	if diff := cmp.Diff(theirs.image(ref).Target, mine.image(ref).Target); diff != "" {
		t.Errorf("target differs from ctr's (-want +got):\n%s", diff)
	}
	compareBlobs(theirs, mine)
	compareSnapshots(way, theirs, mine)
	top := hostImage(img).ChainIDs()
	want, got := theirs.tree(top[len(top)-1].String()), mine.tree(top[len(top)-1].String())
	if diff := tree.Diff(withoutTimesOf(start, got), withoutTimesOf(start, want)); diff != "" {
		t.Errorf("trees differ from ctr's: %s", diff)
	}
}

// hostImage is the image of an index that this host runs.
func hostImage(img *pulltest.Image) *pulltest.Image {
	for _, child := range img.Children {
		if child.Desc.Platform.Architecture == runtime.GOARCH {
			return child
		}
	}
	return img
}

// compareBlobs compares names, sizes and labels of everything that is stored.
func compareBlobs(theirs, mine *site) {
	mine.t.Helper()
	want, got := theirs.blobs(), mine.blobs()
	for dgst, info := range want {
		if _, ok := got[dgst]; !ok {
			mine.t.Errorf("blob %s of %d bytes with %v is missing", dgst, info.Size, info.Labels)
		}
	}
	for dgst, info := range got {
		theirs, ok := want[dgst]
		if !ok || theirs.Size != info.Size {
			mine.t.Errorf("got blob %s of %d bytes with %v, want what ctr has: %d bytes", dgst, info.Size, info.Labels, theirs.Size)
			continue
		}
		if diff := cmp.Diff(theirs.Labels, info.Labels); diff != "" {
			mine.t.Errorf("labels of %s differ from ctr's (-want +got):\n%s", dgst, diff)
		}
	}
}

// compareSnapshots compares everything in the snapshotter. The way through the
// client gives snapshots no labels; those of the transfer service and
// of this client say which layer a snapshot was made of.
func compareSnapshots(way reference, theirs, mine *site) {
	mine.t.Helper()
	ignore := []cmp.Option{cmpopts.IgnoreFields(snapshots.Info{}, "Created", "Updated")}
	if !way.transfer {
		ignore = append(ignore, cmpopts.IgnoreFields(snapshots.Info{}, "Labels"))
	}
	if diff := cmp.Diff(theirs.snapshots(), mine.snapshots(), ignore...); diff != "" {
		mine.t.Errorf("snapshots differ from ctr's (-want +got):\n%s", diff)
	}
}

// tree reads the tree of a committed snapshot.
func (s *site) tree(name string) []tree.Entry {
	s.t.Helper()
	sn, ctx, view := s.store().Snapshotter, s.ctx(), "view-"+rand.Text()
	// The label keeps the view from a garbage collection meanwhile.
	keep := snapshots.WithLabels(map[string]string{"containerd.io/gc.root": "test"})
	mounts, err := sn.View(ctx, view, name, keep)
	if err != nil {
		s.t.Fatal(err)
	}
	entries, err := tree.ReadMounted(ctx, mounts)
	if err := errors.Join(err, sn.Remove(context.WithoutCancel(ctx), view)); err != nil {
		s.t.Fatal(err)
	}
	return entries
}

// withoutTimesOf forgets the times of what was changed by the unpack itself:
// directories that a layer does not list but puts something into. Whatever has
// such a time in one tree must have one in the other.
func withoutTimesOf(unpack time.Time, entries []tree.Entry) []tree.Entry {
	for i, e := range entries {
		if e.ModTime >= unpack.UnixNano() {
			entries[i].ModTime = -1
		}
	}
	return entries
}

// differentialImages is a corpus of images that are hard to unpack.
func differentialImages(t *testing.T) map[string]*pulltest.Image {
	t.Helper()
	corpus := map[string]*pulltest.Image{"docker": small(t, "docker", pulltest.Gzip, pulltest.Spec{Docker: true})}
	for _, c := range []pulltest.Compression{pulltest.Uncompressed, pulltest.Gzip, pulltest.Zstd} {
		corpus["small"+string(c)] = small(t, "small"+string(c), c, pulltest.Spec{})
	}
	corpus["index"] = pulltest.MultiPlatform(pulltest.Gzip)
	corpus["implicit"] = layered(t, implicitParents()...)
	corpus["replaced"] = layered(t, replacements()...)
	corpus["owners"] = layered(t, owners()...)
	corpus["acls"] = layered(t, acls()...)
	return corpus
}

func layered(t *testing.T, layers ...[]pulltest.File) *pulltest.Image {
	t.Helper()
	var spec pulltest.Spec
	for _, files := range layers {
		spec.Layers = append(spec.Layers, pulltest.NewLayer(pulltest.Gzip, files...))
	}
	return pulltest.NewImage(spec)
}

// special is a directory whose every attribute differs from what mkdir gives.
func special(name string) pulltest.File {
	d := pulltest.Directory(name)
	d.Mode, d.UID, d.GID = 0o2750, 1234, 4321
	d.ModTime = time.Unix(1600000000, 123456789)
	d.Xattrs = map[string]string{"user.special": name}
	return d
}

// implicitParents puts files into directories that only the layers below list,
// one of them two layers below, and into some that no layer lists.
func implicitParents() [][]pulltest.File {
	return [][]pulltest.File{
		{special("a"), special("a/b"), special("a/b/c"), pulltest.Regular("a/b/c/one", "1"), special("gone"), special("opaque"), pulltest.Regular("opaque/old", "")},
		{pulltest.Regular("a/b/c/two", "2"), pulltest.Regular("a/b/deep/er/file", "3"), pulltest.Whiteout("gone")},
		{
			pulltest.Regular("a/b/c/three", "4"), pulltest.Regular("a/b/deep/er/still/file", "5"), pulltest.Regular("gone/again", "6"),
			pulltest.Opaque("opaque"), pulltest.Regular("opaque/new", "7"), pulltest.Whiteout("a/b/c/one"),
		},
		{pulltest.Regular("nobody/lists/this", "8"), pulltest.Regular("a/b/c/four", "9"), pulltest.Hardlink("a/b/c/again", "a/b/c/four")},
	}
}

// posixACL is an ACL that gives user 1000 the permissions: rwx for the owner, r-x
// for the group and others.
func posixACL(permissions byte) string {
	return "\x02\x00\x00\x00" +
		"\x01\x00\x07\x00\xff\xff\xff\xff" + "\x02\x00" + string(permissions) + "\x00\xe8\x03\x00\x00" + "\x04\x00\x05\x00\xff\xff\xff\xff" +
		"\x10\x00\x07\x00\xff\xff\xff\xff" + "\x20\x00\x05\x00\xff\xff\xff\xff"
}

// acls have directories with default ACLs, into which layers above put files of
// every kind without listing the directories.
func acls() [][]pulltest.File {
	shared, other := pulltest.Directory("shared"), pulltest.Directory("other")
	shared.Xattrs = map[string]string{"system.posix_acl_default": posixACL(5), "system.posix_acl_access": posixACL(7)}
	other.Xattrs = map[string]string{"system.posix_acl_default": posixACL(0)}
	own, plain := pulltest.Regular("shared/own", "own"), pulltest.Directory("shared/plain")
	own.Xattrs = map[string]string{"system.posix_acl_access": posixACL(4)}
	plain.Mode = 0o711
	return [][]pulltest.File{
		{shared, other, pulltest.Regular("shared/below", "0"), pulltest.Regular("aside", "1")},
		{
			pulltest.Regular("shared/file", "1"), pulltest.Executable("shared/program", "2"), own, plain, pulltest.Regular("shared/plain/deep", "3"),
			pulltest.Regular("shared/new/deep/file", "4"), pulltest.Symlink("shared/link", "file"), pulltest.File{Name: "shared/fifo", Type: tar.TypeFifo, Mode: 0o640},
			pulltest.Hardlink("shared/again", "shared/file"), pulltest.Regular("first", "5"), pulltest.Hardlink("shared/first", "first"),
			pulltest.Whiteout("shared/below"),
		},
		{pulltest.Regular("other/file", "6"), pulltest.Regular("aside", "7")},
		{pulltest.Regular("shared/new/another", "8"), pulltest.Regular("shared/plain/another", "9"), pulltest.Directory("other"), pulltest.Regular("other/listed", "10")},
	}
}

// replacements let files, directories and links take each other's place.
func replacements() [][]pulltest.File {
	return [][]pulltest.File{
		{
			pulltest.Directory("etc"), pulltest.Regular("etc/was-file", "file"), pulltest.Directory("was-dir"), pulltest.Regular("was-dir/inside", "x"),
			pulltest.Directory("target"), pulltest.Symlink("was-link", "target"), pulltest.Symlink("link-kept", "target"),
			pulltest.Regular("first", "shared"), pulltest.Hardlink("second", "first"), pulltest.Regular("metadata", "only its mode changes"),
			special("chmodded"), pulltest.Regular("chmodded/file", "stays"),
		},
		{
			pulltest.Directory("etc/was-file"), pulltest.Regular("etc/was-file/now-dir", "y"), pulltest.Regular("was-dir", "now a file"),
			pulltest.Directory("was-link"), pulltest.Regular("was-link/here", "not in target"),
			pulltest.Regular("link-kept/there", "through the link"),
			pulltest.Regular("first", "no longer shared"), pulltest.Executable("metadata", "only its mode changes"), pulltest.Directory("chmodded"),
			pulltest.Whiteout("never-there"), pulltest.Whiteout("second"), pulltest.Regular("second", "again"),
		},
		{
			pulltest.Regular("twice", "first"), pulltest.Regular("twice", "last"),
			pulltest.Directory("twice-dir"), pulltest.Regular("twice-dir", "a file in the end"),
			pulltest.Regular("./dotted/../dotted", "cleaned"), pulltest.Opaque("target"), pulltest.Opaque("absent"),
		},
	}
}

// owners have what needs privileges, and names and sizes out of the ordinary.
func owners() [][]pulltest.File {
	setuid, setgid := pulltest.Executable("bin/setuid", "x"), pulltest.Executable("bin/setgid", "x")
	setuid.Mode, setuid.UID = 0o6755, 12
	setgid.Mode, setgid.GID = 0o2755, 34
	sticky := pulltest.Directory("sticky")
	sticky.Mode = 0o1777
	old := pulltest.Regular("before-1970", "old")
	old.ModTime = time.Unix(-1000, 0)
	exact := pulltest.Regular("nanoseconds", "now")
	exact.ModTime = time.Unix(1712345678, 987654321)
	block := pulltest.File{Name: "dev/sda", Type: tar.TypeBlock, Major: 8, Minor: 1, Mode: 0o660, GID: 6}
	link := pulltest.Symlink("bin/link", "setuid")
	link.UID, link.GID = 5, 6
	attributes := pulltest.Regular("attributes", "x")
	attributes.Xattrs = map[string]string{"user.empty": "", "user.binary": "\x00\x01\xff", "trusted.ours": "kept", "security.other": "kept"}
	return [][]pulltest.File{
		{
			pulltest.Directory("bin"), setuid, setgid, sticky, link, old, exact, attributes, pulltest.Directory("dev"), block,
			pulltest.CharDevice("dev/tty", 5, 0), pulltest.File{Name: "dev/fifo", Type: tar.TypeFifo, Mode: 0o640},
			pulltest.Regular("empty", ""), pulltest.Regular("long/"+longName()+"/"+longName(), "x"),
		},
		{setgid, pulltest.Hardlink("bin/twin", "bin/setgid")},
	}
}

func longName() string {
	return digest.FromString("a name").Encoded() + digest.FromString("goes on").Encoded() + "-and-on"
}
