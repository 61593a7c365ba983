package layer_test

import (
	"archive/tar"
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/containerd-pull/containerd-pull/pkg/layer"
)

// breakouts are archives that try to create, change, delete or read something
// outside the root. HOST is the folder around the root, as the host names it,
// and UP the way there from the root.
var breakouts = map[string][]entry{
	"name up":                    {file("UP/canary/file", "gone"), file("../canary", "gone"), file("a/../../canary", "gone")},
	"absolute name":              {file("HOST/canary/file", "gone")},
	"link up, write through":     {symlink("l", "UP/canary"), file("l/file", "gone"), dir("l/dir", mode(0o777))},
	"absolute link, write":       {symlink("l", "HOST/canary"), file("l/file", "gone")},
	"link chain":                 {symlink("a", "b"), symlink("b", "UP"), symlink("c", "a/canary"), file("c/file", "gone")},
	"link in a linked directory": {dir("d"), symlink("d/e", "UP/.."), symlink("f", "d/e"), file("f/canary/file", "gone")},
	"replace the target":         {symlink("l", "HOST/canary/file"), file("l", "mine")},
	"directory on a link":        {symlink("l", "HOST/canary/dir"), dir("l", mode(0o777), owner(9, 9), xattr("user.x", "1"))},
	"attributes of a link":       {symlink("l", "HOST/canary/file", mode(0o777), owner(9, 9), xattr("user.x", "1"))},
	"hard link up":               {hardlink("h", "UP/canary/file", mode(0o777), owner(9, 9)), file("h", "gone")},
	"hard link, absolute":        {hardlink("h", "HOST/canary/file", mode(0o777), owner(9, 9)), file("h", "gone")},
	"hard link through a link":   {symlink("l", "UP/canary"), hardlink("h", "l/file", mode(0o777), owner(9, 9)), file("h", "gone")},
	"hard link to a link":        {symlink("l", "HOST/canary/file"), hardlink("h", "l", mode(0o777), owner(9, 9)), file("h", "mine")},
	"hard link to a dead link":   {symlink("l", "HOST/canary/new"), hardlink("h", "l"), file("h/x", "gone")},
	"hard link down and out":     {dir("d"), symlink("d/up", "../UP"), hardlink("h", "d/up/canary/file", mode(0o777))},
	"device through a link":      {symlink("l", "UP/canary"), special(tar.TypeFifo, "l/fifo")},
	"link through a link":        {symlink("l", "UP/canary"), symlink("l/new", "x"), hardlink("l/hard", "l/new")},
	"parents through a link":     {symlink("l", "UP/canary"), file("l/dir/e/f", "gone")},
	"whiteout up":                {whiteout("UP/canary/.wh.file"), whiteout("../.wh.canary")},
	"whiteout through a link":    {symlink("l", "UP/canary"), whiteout("l/.wh.file"), whiteout("l/.wh.dir")},
	"whiteout of a link":         {symlink("l", "HOST/canary/dir"), whiteout(".wh.l")},
	"whiteout of dots":           {dir("d"), whiteout("d/.wh..."), whiteout(".wh...")},
	"whiteout of nothing":        {whiteout(".wh.")},
	"opaque through a link":      {symlink("l", "UP/canary"), whiteout("l/.wh..wh..opq")},
	"opaque with a link inside":  {dir("d"), symlink("d/l", "HOST/canary/dir"), whiteout("d/.wh..wh..opq")},
	"opaque up":                  {whiteout("UP/canary/.wh..wh..opq")},
	"times through a link":       {dir("d", at(stamp(1))), symlink("d", "HOST/canary/dir")},
	"times through a link above": {dir("d"), dir("d/dir", at(stamp(1))), symlink("d", "HOST/canary")},
	"remove through a link":      {symlink("l", "HOST/canary"), dir("x"), symlink("x/l", "HOST/canary"), file("x", "mine"), file("l", "mine")},
	"swap a directory":           {dir("d"), dir("d/dir"), file("d/dir/x", "1"), symlink("d", "HOST/canary"), file("d/dir/x", "gone"), file("d/file", "gone")},
	"proc":                       {symlink("l", "/proc/self/cwd"), file("l/breakout", "gone"), symlink("m", "/proc/self/root"), file("m/breakout", "gone")},
}

// place fills in where the stage is.
func (s stage) place(entries []entry) []entry {
	names := strings.NewReplacer("HOST", s.dir, "UP", "../..")
	placed := make([]entry, len(entries))
	for i, e := range entries {
		e.Name, e.Linkname = names.Replace(e.Name), names.Replace(e.Linkname)
		placed[i] = e
	}
	return placed
}

// TestBreakouts applies them entry by entry, since a refused entry must not
// keep the ones behind it from trying, and as a whole.
func TestBreakouts(t *testing.T) {
	needRoot(t)
	for _, name := range sample(breakouts) {
		entries := breakouts[name]
		for kind, apply := range appliers {
			for _, whiteouts := range []layer.Whiteouts{layer.InPlace, layer.Overlay} {
				t.Run(name+"/"+kind, func(t *testing.T) {
					s := newStage(t)
					before := s.around(t)
					entries := s.place(entries)
					for i := range entries {
						breakOut(t, s, apply, whiteouts, archive(t, entries[i]))
					}
					breakOut(t, s, apply, whiteouts, archive(t, entries...))
					for _, name := range []string{"breakout", "/breakout"} {
						if _, err := os.Lstat(name); err == nil {
							t.Errorf("got a file %q, want none", name)
						}
					}
					if diff := cmp.Diff(before, s.around(t)); diff != "" {
						t.Errorf("changes outside the root (-before +after):\n%s", diff)
					}
				})
			}
		}
	}
}

// breakOut applies data and completes its directories from a lower layer that
// is a trap too: its directories are links to the canary's.
func breakOut(t *testing.T, s stage, apply applyFunc, whiteouts layer.Whiteouts, data []byte) {
	t.Helper()
	lower := t.TempDir()
	for _, name := range []string{"l", "d", "canary"} {
		if err := os.Symlink(filepath.Join(s.dir, "canary"), filepath.Join(lower, name)); err != nil {
			t.Fatal(err)
		}
	}
	res, err := apply(t.Context(), s.root, bytes.NewReader(data), layer.Options{Whiteouts: whiteouts})
	if err != nil {
		return // refusing is as good
	}
	if err := layer.InheritTo(s.root, []string{lower}, res.Implicit); err != nil {
		t.Errorf("inheriting: %v", err)
	}
}

// TestInheritStaysInside: the attributes of what a lower layer's link points to
// on the host are not those of the layer.
func TestInheritStaysInside(t *testing.T) {
	needRoot(t)
	s := newStage(t)
	secret := filepath.Join(s.dir, "canary", "dir")
	if err := os.Chmod(secret, 0o700); err != nil {
		t.Fatal(err)
	}
	lower := t.TempDir()
	if err := os.Symlink(secret, filepath.Join(lower, "d")); err != nil {
		t.Fatal(err)
	}
	res, err := layer.ApplyTo(t.Context(), s.root, bytes.NewReader(archive(t, file("d/f", ""))), layer.Options{})
	if err != nil {
		t.Fatal(err)
	}
	if err := layer.InheritTo(s.root, []string{lower}, res.Implicit); err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(filepath.Join(s.root, "d"))
	if err != nil {
		t.Fatal(err)
	}
	if got, want := info.Mode().Perm(), os.FileMode(0o755); got != want {
		t.Errorf("got mode %v, want %v", got, want)
	}
}
