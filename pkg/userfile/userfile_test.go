package userfile_test

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/containerd-pull/containerd-pull/pkg/userfile"
)

const (
	root  = 0
	alice = 4242
	bob   = 4243
)

// needRoot skips a test that has files of several users.
func needRoot(t *testing.T) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root")
	}
}

// home makes home/dir/file below a folder that is root's up to the root of the
// file system, and returns that folder.
func home(t *testing.T) string {
	t.Helper()
	needRoot(t)
	dir := t.TempDir()
	must(t, os.MkdirAll(filepath.Join(dir, "home/dir"), 0o755))
	must(t, os.WriteFile(filepath.Join(dir, "home/dir/file"), []byte("x"), 0o644))
	must(t, os.Chmod(dir, 0o755))
	must(t, userfile.Check(dir))
	return dir
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// change gives an entry below dir another owner and mode; 0 leaves the mode.
type change struct {
	name string
	uid  int
	mode uint32
}

func (c change) apply(t *testing.T, dir string) {
	t.Helper()
	path := filepath.Join(dir, c.name)
	must(t, os.Lchown(path, c.uid, c.uid))
	if c.mode != 0 {
		must(t, unix.Chmod(path, c.mode))
	}
}

// TestM6OwnersAndModes goes through owners and modes of a file and of the folders
// above it.
func TestM6OwnersAndModes(t *testing.T) {
	for name, c := range map[string]struct {
		changes []change
		uid     int    // of the reader
		found   string // what is to blame if the file is found; empty if it counts
		named   string // if it is named
	}{
		"all of root":                    {nil, root, "", ""},
		"all of root, read by alice":     {nil, alice, "", ""},
		"another's file":                 {[]change{{"home/dir/file", alice, 0}}, root, "home/dir/file", ""},
		"another's file, 0600":           {[]change{{"home/dir/file", alice, 0o600}}, root, "home/dir/file", ""},
		"file 0666":                      {[]change{{"home/dir/file", root, 0o666}}, root, "home/dir/file", "home/dir/file"},
		"file 0664":                      {[]change{{"home/dir/file", root, 0o664}}, root, "home/dir/file", "home/dir/file"},
		"file 0602":                      {[]change{{"home/dir/file", root, 0o602}}, root, "home/dir/file", "home/dir/file"},
		"another's folder":               {[]change{{"home/dir", alice, 0}}, root, "home/dir", ""},
		"another's home":                 {[]change{{"home", alice, 0}}, root, "home", ""},
		"folder 0777":                    {[]change{{"home/dir", root, 0o777}}, root, "home/dir", "home/dir"},
		"folder 0775":                    {[]change{{"home/dir", root, 0o775}}, root, "home/dir", ""},
		"home 0777":                      {[]change{{"home", root, 0o777}}, root, "home", "home"},
		"sticky folder of root":          {[]change{{"home/dir", root, 0o1777}}, root, "", ""},
		"sticky folder for a group":      {[]change{{"home/dir", root, 0o1775}}, root, "", ""},
		"sticky folder of another":       {[]change{{"home/dir", alice, 0o1777}}, root, "home/dir", ""},
		"another's file in sticky":       {[]change{{"home/dir", root, 0o1777}, {"home/dir/file", alice, 0}}, root, "home/dir/file", ""},
		"another's folder in sticky":     {[]change{{"home", root, 0o1777}, {"home/dir", alice, 0}}, root, "home/dir", ""},
		"alice: her own":                 {[]change{{"home/dir/file", alice, 0o600}, {"home/dir", alice, 0}}, alice, "", ""},
		"alice: her own for her group":   {[]change{{"home/dir/file", alice, 0o664}, {"home/dir", alice, 0o775}}, alice, "", ""},
		"alice: her own for all":         {[]change{{"home/dir/file", alice, 0o666}}, alice, "home/dir/file", "home/dir/file"},
		"alice: bob's file":              {[]change{{"home/dir/file", bob, 0o644}}, alice, "home/dir/file", ""},
		"alice: her file in bob's":       {[]change{{"home/dir", bob, 0}, {"home/dir/file", alice, 0}}, alice, "", ""},
		"alice: her file in sticky":      {[]change{{"home/dir", root, 0o1777}, {"home/dir/file", alice, 0}}, alice, "", ""},
		"alice: bob's folder in sticky":  {[]change{{"home", root, 0o1777}, {"home/dir", bob, 0}, {"home/dir/file", alice, 0}}, alice, "home/dir", ""},
		"alice: her folder for all":      {[]change{{"home/dir", alice, 0o777}, {"home/dir/file", alice, 0}}, alice, "", ""},
		"alice: bob's file in hers, 777": {[]change{{"home/dir", alice, 0o777}, {"home/dir/file", bob, 0}}, alice, "home/dir/file", ""},
	} {
		t.Run(name, func(t *testing.T) {
			dir := home(t)
			for _, ch := range c.changes {
				ch.apply(t, dir)
			}
			file := filepath.Join(dir, "home/dir/file")
			wantForeign(t, "found", userfile.AsUser(c.uid).Found(file), dir, c.found)
			wantForeign(t, "named", userfile.AsUser(c.uid).Named(file), dir, c.named)
		})
	}
}

// wantForeign wants an error that blames an entry below dir, or none for an empty
// name.
func wantForeign(t *testing.T, how string, err error, dir, name string) {
	t.Helper()
	foreign, ok := errors.AsType[*userfile.Foreign](err)
	switch {
	case name == "" && err != nil:
		t.Errorf("%s: got %v, want no error", how, err)
	case name != "" && (!ok || foreign.At != filepath.Join(dir, name)):
		t.Errorf("%s: got %v, want %s blamed", how, err, name)
	case name != "" && (!strings.Contains(foreign.Warning(), foreign.At) || foreign.Hint() == ""):
		t.Errorf("%s: got the warning %q and the hint %q, want what is to blame and a remedy", how, foreign.Warning(), foreign.Hint())
	}
}

// TestM6Links leads to a file by links at each level. Every folder of the way to a
// link, and of the real way, counts.
func TestM6Links(t *testing.T) {
	for name, c := range map[string]struct {
		link, to string
		changes  []change
		found    string
	}{
		"file, absolute":                {"home/link", "/home/dir/file", nil, ""},
		"file, relative":                {"home/link", "dir/file", nil, ""},
		"file, up and down":             {"home/dir/link", "../dir/./file", nil, ""},
		"to another's file":             {"home/link", "dir/file", []change{{"home/dir/file", alice, 0}}, "home/dir/file"},
		"through another's folder":      {"home/link", "dir/file", []change{{"home/dir", alice, 0}}, "home/dir"},
		"in another's folder":           {"other/link", "/home/dir/file", []change{{"other", alice, 0}}, "other"},
		"in a folder for all":           {"other/link", "/home/dir/file", []change{{"other", root, 0o777}}, "other"},
		"another's link in root's":      {"home/link", "dir/file", []change{{"home/link", alice, 0}}, ""},
		"another's link in sticky":      {"other/link", "/home/dir/file", []change{{"other", root, 0o1777}, {"other/link", alice, 0}}, "other/link"},
		"another's link to hers":        {"home/link", "dir/file", []change{{"home/link", alice, 0}, {"home/dir/file", alice, 0}}, "home/dir/file"},
		"another's link to a third's":   {"home/link", "../other/second", []change{{"home/link", alice, 0}, {"other/second", bob, 0}, {"home/dir/file", bob, 0}}, "home/dir/file"},
		"another's link to root's":      {"home/link", "../other/second", []change{{"home/link", alice, 0}, {"home/dir/file", alice, 0}}, "home/dir/file"},
		"root's link to another's":      {"home/link", "../other/second", []change{{"other/second", bob, 0}, {"home/dir/file", alice, 0}}, "home/dir/file"},
		"root's link in sticky":         {"other/link", "/home/dir/file", []change{{"other", root, 0o1777}}, ""},
		"out of another's folder again": {"other/link", "../home/dir/file", []change{{"other", alice, 0}}, "other"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := home(t)
			must(t, os.Mkdir(filepath.Join(dir, "other"), 0o755))
			must(t, os.Symlink(filepath.Join(dir, "home/dir/file"), filepath.Join(dir, "other/second")))
			to := c.to
			if filepath.IsAbs(to) {
				to = dir + to
			}
			must(t, os.Symlink(to, filepath.Join(dir, c.link)))
			for _, ch := range c.changes {
				ch.apply(t, dir)
			}
			wantForeign(t, "found", userfile.AsUser(root).Found(filepath.Join(dir, c.link)), dir, c.found)
			named := c.found
			if !strings.Contains(name, "for all") {
				named = foreignLinks()[name]
			}
			wantForeign(t, "named", userfile.AsUser(root).Named(filepath.Join(dir, c.link)), dir, named)
			// The same by a link to the folder of the link.
			must(t, os.Symlink(filepath.Dir(filepath.Join(dir, c.link)), filepath.Join(dir, "way")))
			wantForeign(t, "found by a linked folder", userfile.AsUser(root).Found(filepath.Join(dir, "way", filepath.Base(c.link))), dir, c.found)
		})
	}
}

// foreignLinks are the links that root does not follow even if they are named: those of
// another user to what is not that user's.
func foreignLinks() map[string]string {
	return map[string]string{
		"another's link in root's": "home/link", "another's link in sticky": "other/link",
		"another's link to a third's": "home/link", "root's link to another's": "other/second",
	}
}

// TestM6BindMounts: what is mounted over a file or folder is what is judged.
func TestM6BindMounts(t *testing.T) {
	for name, c := range map[string]struct {
		from, over string
		changes    []change
		found      string
	}{
		"another's file over root's":   {"other/file", "home/dir/file", []change{{"other/file", alice, 0}}, "home/dir/file"},
		"root's file out of another's": {"other/file", "home/dir/file", []change{{"other", alice, 0}}, ""},
		"another's folder over root's": {"other", "home/dir", []change{{"other", alice, 0}}, "home/dir"},
		"root's folder over another's": {"other", "home/dir", []change{{"home/dir", alice, 0}}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			dir := home(t)
			must(t, os.Mkdir(filepath.Join(dir, "other"), 0o755))
			must(t, os.WriteFile(filepath.Join(dir, "other/file"), nil, 0o644))
			for _, ch := range c.changes {
				ch.apply(t, dir)
			}
			over := filepath.Join(dir, c.over)
			if err := unix.Mount(filepath.Join(dir, c.from), over, "", unix.MS_BIND, ""); err != nil {
				t.Skipf("mounting: %v", err)
			}
			t.Cleanup(func() { must(t, unix.Unmount(over, unix.MNT_DETACH)) })
			wantForeign(t, "found", userfile.AsUser(root).Found(filepath.Join(dir, "home/dir/file")), dir, c.found)
		})
	}
}

// TestM6Namespaces: root of a user namespace is root of a container, or an ordinary
// user under RootlessKit. Owners without a number are taken for root of the machine
// only where that has no number.
func TestM6Namespaces(t *testing.T) {
	for name, c := range map[string]struct {
		ranges   [][3]int
		strict   bool
		unmapped int
		unclear  bool
	}{
		"machine":                      {[][3]int{{0, 0, 1 << 32}}, true, -1, false},
		"RootlessKit":                  {[][3]int{{0, 1000, 1}, {1, 100000, 65536}}, false, 65534, true},
		"one user alone":               {[][3]int{{0, 1000, 1}}, false, 65534, false},
		"container":                    {[][3]int{{0, 100000, 65536}}, true, 65534, true},
		"container, few IDs":           {[][3]int{{0, 100000, 1000}}, true, 65534, false},
		"root alone":                   {[][3]int{{0, 0, 1}}, true, -1, false},
		"root of the machine as 1":     {[][3]int{{0, 1000, 1}, {1, 0, 1}}, false, -1, false},
		"container of a user's, as -U": {[][3]int{{1000, 1000, 1}}, true, 65534, false},
	} {
		strict, unmapped, unclear := userfile.Namespace(c.ranges...)
		if os.Geteuid() != 0 && c.unclear {
			continue // what cannot be found out is not believed
		}
		if strict != c.strict || unmapped != c.unmapped || unclear != c.unclear {
			t.Errorf("%s: got %v, %d, %v; want %v, %d, %v", name, strict, unmapped, unclear, c.strict, c.unmapped, c.unclear)
		}
	}
}

// TestBounds: reading ends, whatever has the place of a file.
func TestBounds(t *testing.T) {
	dir := t.TempDir()
	at := func(name string) string { return filepath.Join(dir, name) }
	must(t, os.WriteFile(at("large"), make([]byte, 1<<20+1), 0o600))
	must(t, unix.Mkfifo(at("pipe"), 0o600))
	must(t, os.Symlink("/dev/zero", at("zero")))
	must(t, os.Symlink("/dev/null", at("null")))
	must(t, os.Symlink("loop", at("loop")))
	sock, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM, 0)
	must(t, err)
	defer unix.Close(sock)
	must(t, unix.Bind(sock, &unix.SockaddrUnix{Name: at("socket")}))
	for name, c := range map[string]struct{ found, named error }{
		"none":    {fs.ErrNotExist, fs.ErrNotExist},
		"null":    {nil, nil},
		"large":   {errTooLarge, errTooLarge},
		"zero":    {userfile.ErrNoFile, errTooLarge},
		"pipe":    {userfile.ErrNoFile, errSkip},
		"socket":  {userfile.ErrNoFile, userfile.ErrNoFile},
		".":       {userfile.ErrNoFile, userfile.ErrNoFile},
		"loop":    {unix.ELOOP, unix.ELOOP},
		"large/x": {unix.ENOTDIR, unix.ENOTDIR},
		"none/x":  {fs.ErrNotExist, fs.ErrNotExist},
	} {
		_, err := userfile.Found(at(name), 1<<20)
		wantError(t, "found "+name, err, c.found)
		if c.named == errSkip {
			continue
		}
		_, err = userfile.Named(at(name), 1<<20)
		wantError(t, "named "+name, err, c.named)
	}
}

var errSkip, errTooLarge = errors.New("skipped"), errors.New("has more than 1048576 bytes")

func wantError(t *testing.T, what string, got, want error) {
	t.Helper()
	if want == errTooLarge {
		if got == nil || !strings.Contains(got.Error(), want.Error()) {
			t.Errorf("%s: got %v, want one about its size", what, got)
		}
	} else if !errors.Is(got, want) {
		t.Errorf("%s: got error %v, want %v", what, got, want)
	}
}

// TestNamedPipe: a pipe that was named is read to its end, also if the other side
// is late.
func TestNamedPipe(t *testing.T) {
	pipe := filepath.Join(t.TempDir(), "pipe")
	must(t, unix.Mkfifo(pipe, 0o600))
	go func() {
		time.Sleep(50 * time.Millisecond)
		if f, err := os.OpenFile(pipe, os.O_WRONLY, 0); err == nil {
			f.WriteString("a = ")
			f.WriteString("1")
			f.Close()
		}
	}()
	got, err := userfile.Named(pipe, 1<<20)
	if err != nil || string(got.Data) != "a = 1" {
		t.Errorf("got %q, %v; want what was written", got.Data, err)
	}
}

// TestNamedDescriptor: shells name a pipe by its descriptor.
func TestNamedDescriptor(t *testing.T) {
	r, w, err := os.Pipe()
	must(t, err)
	defer r.Close()
	_, err = w.WriteString("x")
	must(t, errors.Join(err, w.Close()))
	for _, dir := range []string{"/dev/fd/", "/proc/self/fd/"} {
		got, err := userfile.Named(dir+itoa(r.Fd()), 1<<20)
		if err != nil {
			t.Errorf("%s: got %q, %v", dir, got.Data, err)
		}
	}
}

// TestMode: what a caller judges of a file is that of the handle.
func TestMode(t *testing.T) {
	path := filepath.Join(t.TempDir(), "file")
	must(t, os.WriteFile(path, []byte("x"), 0o640))
	got, err := userfile.Found(path, 1)
	if err != nil || got.Mode != 0o640 || got.UID != os.Geteuid() || string(got.Data) != "x" {
		t.Errorf("got %+v, %v", got, err)
	}
	if !errors.Is(userfile.Check(path+"x"), fs.ErrNotExist) || userfile.Check("/") != nil {
		t.Error("Check does not know what is there")
	}
}
