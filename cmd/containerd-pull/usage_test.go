package main

import (
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
)

// TestCommitDoesNotWalk traces a pull into an embedded root: the folders that it
// unpacks are not listed to find the size of snapshots.
func TestCommitDoesNotWalk(t *testing.T) {
	long(t)
	needStrace(t)
	w := newWorld(t)
	root := t.TempDir()
	if err := syscall.Mount("tmpfs", root, "tmpfs", 0, ""); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(root, syscall.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	tr := newTrace(t, root, "getdents64")
	if code, text := pullInto(t, root, w.host()+"/good:latest", append(tr.command(), programName)...); code != 0 {
		t.Fatalf("got code %d: %s", code, text)
	}
	if all, err := filepath.Glob(filepath.Join(root, "*overlayfs", "snapshots", "*", "fs", "*", "*")); len(all) == 0 {
		t.Fatalf("got no folder with files in a snapshot, error %v", err)
	}
	listed := regexp.MustCompile(`/snapshots/\d+/fs(/[^>]*)?>`)
	roots := 0
	for _, line := range tr.lines(t) {
		switch m := listed.FindStringSubmatch(line); {
		case m == nil:
		case m[1] == "": // it is empty, as is checked before anything is unpacked
			roots++
		default:
			t.Errorf("got a folder listed: %s", strings.TrimSpace(line))
		}
	}
	if roots == 0 {
		t.Error("got no listing of a snapshot, want one of each before it is unpacked")
	}
}
