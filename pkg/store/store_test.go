package store_test

import (
	"encoding/binary"
	"errors"
	"hash/crc32"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/containerd/containerd/v2/core/mount"
	"github.com/containerd/errdefs"
	"github.com/google/go-cmp/cmp"

	"github.com/containerd-pull/containerd-pull/pkg/failure"
	"github.com/containerd-pull/containerd-pull/pkg/internal/beneath"
	"github.com/containerd-pull/containerd-pull/pkg/internal/pulltest/teststore"
	"github.com/containerd-pull/containerd-pull/pkg/store"
)

// snapshotterRoot is a folder as overlayfs lays it out, with three snapshots.
func snapshotterRoot(t *testing.T) *os.File {
	t.Helper()
	dir := t.TempDir()
	for _, n := range []string{"1", "2", "3"} {
		if err := os.MkdirAll(filepath.Join(dir, "snapshots", n, "fs"), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	root, err := beneath.Root(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { root.Close() })
	return root
}

// names are those of open files beneath root, "" for one that is gone.
func names(root *os.File, files ...*os.File) []string {
	all := []string{}
	for _, f := range files {
		if f == nil {
			all = append(all, "")
			continue
		}
		all = append(all, strings.TrimPrefix(f.Name(), root.Name()+"/snapshots/"))
	}
	return all
}

// TestOpenUpper opens what snapshotters of plain folders name.
func TestOpenUpper(t *testing.T) {
	root := snapshotterRoot(t)
	in := func(options ...string) []string {
		for i := range options {
			options[i] = strings.ReplaceAll(options[i], "R/", root.Name()+"/snapshots/")
		}
		return options
	}
	for _, tt := range []struct {
		name   string
		mount  mount.Mount
		upper  []string
		lowers []string
	}{
		{"bind", mount.Mount{Type: "bind", Source: in("R/1/fs")[0], Options: []string{"rw", "rbind"}}, []string{"1/fs"}, []string{}},
		{"copy", mount.Mount{Type: "bind", Source: in("R/2")[0], Options: []string{"rw", "rbind"}}, []string{"2"}, []string{}},
		{"overlay", mount.Mount{Type: "overlay", Source: "overlay", Options: in("workdir=R/3/work", "upperdir=R/3/fs", "lowerdir=R/2/fs:R/1/fs")}, []string{"3/fs"}, []string{"2/fs", "1/fs"}},
		{"view", mount.Mount{Type: "overlay", Options: in("lowerdir=R/2/fs:R/1/fs")}, nil, []string{"2/fs", "1/fs"}},
		{"view of one", mount.Mount{Type: "bind", Source: in("R/2/fs")[0], Options: []string{"ro", "rbind"}}, nil, []string{"2/fs"}},
		{"one is gone", mount.Mount{Type: "overlay", Options: in("lowerdir=R/2/fs:R/9/fs")}, nil, []string{"2/fs", ""}},
	} {
		u, err := store.OpenUpper(root, "", []mount.Mount{tt.mount})
		if err != nil {
			t.Errorf("%s: got %v, want it open", tt.name, err)
			continue
		}
		lowers, err := u.Lowers()
		if diff := cmp.Diff(tt.lowers, names(root, lowers...)); diff != "" || err != nil {
			t.Errorf("%s: %v, lower folders (-want +got):\n%s", tt.name, err, diff)
		}
		if tt.upper == nil != (u.Dir == nil) || u.Dir != nil && names(root, u.Dir)[0] != tt.upper[0] {
			t.Errorf("%s: got %v, want %v", tt.name, u.Dir, tt.upper)
		}
		if u.Overlay != (tt.mount.Type == "overlay") || u.HasLowers != (len(tt.lowers) > 0) {
			t.Errorf("%s: got %+v", tt.name, u)
		}
		store.CloseAll(lowers)
		u.Close()
	}
}

// TestH3OpenUpperStaysBeneath: whatever mounts name, only folders of the snapshotter
// are opened, in folders that are the snapshotter's alone.
func TestH3OpenUpperStaysBeneath(t *testing.T) {
	root := snapshotterRoot(t)
	base := root.Name()
	outside := t.TempDir()
	for _, link := range []struct{ at, to string }{{"linked", outside}, {"snapshots/2/linked", outside}, {"snapshots/up", "../.."}, {"snapshots/proc", "/proc/self/cwd"}} {
		if err := os.Symlink(link.to, filepath.Join(base, link.at)); err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(os.Mkdir(base+"/snapshots/open", 0o700), os.Mkdir(base+"/snapshots/open/fs", 0o700), os.Chmod(base+"/snapshots/open", 0o777),
		os.WriteFile(base+"/snapshots/1/file", nil, 0o600)); err != nil {
		t.Fatal(err)
	}
	for _, dir := range []string{
		outside, "/", "", "relative", "/etc", base, base + "/", base + "/..", base + "/../" + filepath.Base(outside), base + "x/snapshots/1/fs",
		base + "/snapshots/../..", base + "/snapshots/1/../../../x", base + "/linked", base + "/linked/.", base + "/snapshots/2/linked",
		base + "/snapshots/up", base + "/snapshots/up/" + filepath.Base(base), base + "/snapshots/proc", base + "/snapshots/1/file",
		base + "/snapshots/open/fs", "/proc/self/root" + base + "/snapshots/1/fs", base + "/snapshots/absent/fs",
	} {
		for name, m := range map[string]mount.Mount{
			"bind":        {Type: "bind", Source: dir, Options: []string{"rw"}},
			"upper":       {Type: "overlay", Options: []string{"upperdir=" + dir, "lowerdir=" + base + "/snapshots/1/fs"}},
			"second word": {Type: "overlay", Options: []string{"upperdir=" + base + "/snapshots/1/fs", "upperdir=" + dir}},
		} {
			if u, err := store.OpenUpper(root, "", []mount.Mount{m}); err == nil && (u.Dir != nil || dir != "") {
				t.Errorf("%s %q: got %v open, want an error", name, dir, u.Dir)
			}
		}
		u, err := store.OpenUpper(root, "", []mount.Mount{{Type: "overlay", Options: []string{"lowerdir=" + base + "/snapshots/1/fs:" + dir}}})
		if err != nil {
			continue
		}
		if lowers, err := u.Lowers(); err == nil && lowers[1] != nil {
			t.Errorf("lower %q: got %v open, want an error", dir, lowers[1].Name())
		}
	}
	for name, mounts := range map[string][]mount.Mount{
		"nothing": nil, "two": {{Type: "bind", Source: base + "/snapshots/1/fs"}, {Type: "bind", Source: base + "/snapshots/2/fs"}},
		"a device": {{Type: "ext4", Source: "/dev/mapper/x"}}, "a bind mount of nothing": {{Type: "bind"}}, "an overlay without folders": {{Type: "overlay", Options: []string{"index=off"}}},
	} {
		if u, err := store.OpenUpper(root, "", mounts); err == nil {
			t.Errorf("%s: got %+v, want an error", name, u)
		}
	}
}

// TestH3EmptyFollowsNoLink, and works on the folder that was opened, wherever its
// path leads by then.
func TestH3EmptyFollowsNoLink(t *testing.T) {
	top := t.TempDir()
	in := func(name string) string { return filepath.Join(top, name) }
	if err := errors.Join(os.MkdirAll(in("full/d/e"), 0o755), os.MkdirAll(in("kept/d"), 0o755), os.WriteFile(in("full/d/f"), nil, 0o600),
		os.WriteFile(in("kept/d/f"), nil, 0o600), os.Symlink(in("kept"), in("full/link")), os.Symlink(in("kept/d"), in("full/d/link"))); err != nil {
		t.Fatal(err)
	}
	dir, err := os.Open(in("full"))
	if err != nil {
		t.Fatal(err)
	}
	defer dir.Close()
	if err := errors.Join(os.Rename(in("full"), in("moved")), os.Symlink("kept", in("full")), store.Empty(dir)); err != nil {
		t.Fatal(err)
	}
	if left, err := os.ReadDir(in("moved")); len(left) > 0 || err != nil {
		t.Errorf("got %v and %v left, want nothing", left, err)
	}
	if _, err := os.Stat(in("kept/d/f")); err != nil {
		t.Errorf("got %v for a file behind a link, want it kept", err)
	}
}

// TestNamespaces are apart from each other in one root.
func TestNamespaces(t *testing.T) {
	root := t.TempDir()
	s := teststore.Open(t, store.Options{Root: root, Namespace: "k8s.io"})
	if err := s.Register(s.Context(t.Context()), teststore.Image(teststore.Ref, "one", nil)); err != nil {
		t.Fatal(err)
	}
	s.Namespace = "default"
	if img, err := s.Image(s.Context(t.Context()), teststore.Ref); img != nil || err != nil {
		t.Errorf("got %v and %v in another namespace, want none", img, err)
	}
}

// TestOpenImages opens what snapshotter erofs names, in each of the forms of its mounts.
func TestOpenImages(t *testing.T) {
	root := snapshotterRoot(t)
	at := func(name string) string { return filepath.Join(root.Name(), "snapshots", name) }
	cache := t.TempDir()
	for _, name := range []string{at("1/layer.erofs"), at("2/layer.erofs"), at("2/fsmeta.erofs"), filepath.Join(cache, "x.erofs")} {
		if err := os.WriteFile(name, []byte("image"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	one, two := mount.Mount{Type: "erofs", Source: at("1/layer.erofs"), Options: []string{"ro", "loop"}}, mount.Mount{Type: "erofs", Source: at("2/layer.erofs")}
	merged := mount.Mount{Type: "erofs", Source: at("2/fsmeta.erofs"), Options: []string{"ro", "device=" + at("1/layer.erofs"), "device=" + at("2/layer.erofs")}}
	overlay := func(options ...string) mount.Mount {
		return mount.Mount{Type: "format/mkdir/overlay", Source: "overlay", Options: append(options, "lowerdir={{ overlay 0 1 }}")}
	}
	upper := "upperdir=" + at("3/fs")
	for name, tt := range map[string]struct {
		mounts []mount.Mount
		upper  string
		lowers []string // nil is an error
	}{
		"first":         {[]mount.Mount{{Type: "bind", Source: at("3/fs"), Options: []string{"rw", "rbind"}}}, "3/fs", []string{}},
		"above":         {[]mount.Mount{two, one, overlay(upper)}, "3/fs", []string{"2/layer.erofs", "1/layer.erofs"}},
		"view of one":   {[]mount.Mount{one}, "", []string{"1/layer.erofs"}},
		"view of two":   {[]mount.Mount{two, one, overlay("ro")}, "", []string{"2/layer.erofs", "1/layer.erofs"}},
		"merged":        {[]mount.Mount{merged, {Type: "format/bind", Source: "{{ mount 0 }}", Options: []string{"ro"}}}, "", []string{"2/layer.erofs", "1/layer.erofs"}},
		"above merged":  {[]mount.Mount{merged, overlay(upper)}, "3/fs", []string{"2/layer.erofs", "1/layer.erofs"}},
		"of a cache":    {[]mount.Mount{two, {Type: "erofs", Source: filepath.Join(cache, "x.erofs")}, overlay("ro")}, "", []string{"2/layer.erofs", filepath.Join(cache, "x.erofs")}},
		"one is gone":   {[]mount.Mount{{Type: "erofs", Source: at("3/layer.erofs")}, one, overlay("ro")}, "", []string{"", "1/layer.erofs"}},
		"nothing":       {nil, "", nil},
		"block device":  {[]mount.Mount{{Type: "mkfs/ext4", Source: at("3/rwlayer.img")}, {Type: "format/mkdir/bind", Source: "{{ mount 0 }}/upper"}}, "", nil},
		"block device ": {[]mount.Mount{{Type: "mkfs/ext4", Source: at("3/rwlayer.img")}, one, overlay("upperdir={{ mount 0 }}/upper")}, "", nil},
		"outside":       {[]mount.Mount{one, overlay("upperdir=" + cache)}, "", nil},
	} {
		u, err := store.OpenUpper(root, store.Erofs, tt.mounts)
		if (err == nil) != (tt.lowers != nil) {
			t.Errorf("%s: got %+v, %v", name, u, err)
		}
		if err != nil {
			continue
		}
		lowers, err := u.Lowers()
		if diff := cmp.Diff(tt.lowers, names(root, lowers...)); diff != "" || err != nil {
			t.Errorf("%s: %v, images below (-want +got):\n%s", name, err, diff)
		}
		if got := names(root, u.Dir)[0]; got != tt.upper {
			t.Errorf("%s: got folder %q, want %q", name, got, tt.upper)
		}
		store.CloseAll(lowers)
		u.Close()
	}
}

// TestImageOfALayer: an image is made under another name, and replaces one that was begun.
func TestImageOfALayer(t *testing.T) {
	root := snapshotterRoot(t)
	u, err := store.OpenUpper(root, store.Erofs, []mount.Mount{{Type: "bind", Source: root.Name() + "/snapshots/3/fs"}})
	if err != nil {
		t.Fatal(err)
	}
	defer u.Close()
	for _, content := range []string{imageOf("first"), imageOf("second")} {
		file, err := u.CreateImage()
		if err != nil {
			t.Fatal(err)
		}
		if _, err := file.WriteString(content); errors.Join(err, file.Close()) != nil {
			t.Fatal(err)
		}
	}
	damage := func(n, want string) {
		t.Helper()
		if got, err := store.ImageDamage(root, "snapshots/"+n+"/fs"); got != want || err != nil {
			t.Errorf("snapshot %s: got damage %q and %v, want %q", n, got, err, want)
		}
	}
	damage("3", "its EROFS image is gone")
	if err := u.FinishImage(); err != nil {
		t.Fatal(err)
	}
	damage("3", "")
	if err := os.WriteFile(root.Name()+"/snapshots/1/layer.erofs", nil, 0o644); err != nil {
		t.Fatal(err)
	}
	damage("1", "its EROFS image is empty")
	if err := os.Mkdir(root.Name()+"/snapshots/2/layer.erofs", 0o755); err != nil {
		t.Fatal(err)
	}
	damage("2", "there is something else in place of its EROFS image")
	if err := u.Move("snapshots/2/fs"); err != nil {
		t.Error(err)
	}
	damage("2", "")
	damage("3", "its EROFS image is gone")
	if data, err := os.ReadFile(root.Name() + "/snapshots/2/layer.erofs"); string(data) != imageOf("second") {
		t.Errorf("got an image of %.40q and %v, want what was written last", data, err)
	}
	if err := errors.Join(os.WriteFile(root.Name()+"/snapshots/3/layer.erofs", []byte(imageOf("other")), 0o644), u.Move("snapshots/2/fs"), u.Empty()); err != nil {
		t.Error(err)
	}
	damage("2", "")
	damage("3", "its EROFS image is gone")
}

// imageOf is a block with a superblock of EROFS and a text.
func imageOf(text string) string {
	b := make([]byte, 4096)
	copy(b, text)
	super := b[1024:]
	binary.LittleEndian.PutUint32(super, 0xe0f5e1e2)
	super[8], super[12], super[36] = 1, 12, 1 // a checksum, blocks of 4 KiB, one of them
	binary.LittleEndian.PutUint32(super[4:], ^crc32.Checksum(super, crc32.MakeTable(crc32.Castagnoli)))
	return string(b)
}

// TestDamageOfImages is seen in the superblock, and in the size.
func TestDamageOfImages(t *testing.T) {
	root := snapshotterRoot(t)
	changed := func(at int, to byte) string {
		b := []byte(imageOf("x"))
		b[at] = to
		return string(b)
	}
	for name, tt := range map[string]struct{ image, want string }{
		"whole":        {imageOf("x"), ""},
		"longer":       {imageOf("x") + "dm-verity", ""},
		"no checksum":  {changed(1024+8, 0), ""},
		"larger block": {changed(1024+12, 14), "cut off"},
		"more blocks":  {changed(1024+36, 2), "cut off"},
		"short":        {imageOf("x")[:1100], "cut off"},
		"half":         {imageOf("x")[:2048], "cut off"},
		"zeros":        {strings.Repeat("\x00", 4096), "no EROFS image"},
		"no blocks":    {changed(1024+12, 99), "no EROFS image"},
		"flipped":      {changed(1024+14, 1), "superblock"},
		"flipped end":  {changed(4095, 1), "superblock"},
	} {
		if err := os.WriteFile(root.Name()+"/snapshots/1/layer.erofs", []byte(tt.image), 0o644); err != nil {
			t.Fatal(err)
		}
		got, err := store.ImageDamage(root, "snapshots/1/fs")
		if !strings.Contains(got, tt.want) || (got == "") != (tt.want == "") || err != nil {
			t.Errorf("%s: got %q and %v, want %q", name, got, err, tt.want)
		}
	}
}

// TestNoImageBesideWhatDoesNotFit: what containerd has made of the image that is lost
// keeps another from taking its place.
func TestNoImageBesideWhatDoesNotFit(t *testing.T) {
	for name, refused := range map[string]bool{
		"2/layer.erofs.dmverity": true, "1/layer.erofs.dmverity": false, "2/fsmeta.erofs": true, "1/fsmeta.erofs": true, "2/other": false,
	} {
		root := snapshotterRoot(t)
		u, err := store.OpenUpper(root, store.Erofs, []mount.Mount{{Type: "bind", Source: root.Name() + "/snapshots/3/fs"}})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(u.Close)
		if err := errors.Join(os.WriteFile(root.Name()+"/snapshots/3/layer.erofs", []byte(imageOf("new")), 0o644),
			os.WriteFile(root.Name()+"/snapshots/"+name, []byte("derived"), 0o644)); err != nil {
			t.Fatal(err)
		}
		err = u.Move("snapshots/2/fs")
		if errdefs.IsDataLoss(err) != refused || (failure.HintOf(err) != "") != refused || err != nil && !refused {
			t.Errorf("%s: got %v, want it refused with a way out: %v", name, err, refused)
		}
	}
}
