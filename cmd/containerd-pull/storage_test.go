package main

import (
	"bytes"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// The databases of a root, and the folder of its blobs.
const (
	metaFile     = "io.containerd.metadata.v1.bolt/meta.db"
	snapshotFile = "io.containerd.snapshotter.v1.overlayfs/metadata.db"
	blobFolder   = "io.containerd.content.v1.content/blobs/sha256"
)

func needStrace(t *testing.T) {
	t.Helper()
	if _, err := exec.LookPath("strace"); err == nil && os.Geteuid() == 0 {
		return
	}
	if os.Getenv("CI") != "" {
		t.Fatal("this test needs strace and root")
	}
	t.Skip("this test needs strace and root")
}

// TestStorageErrors lets system calls fail in the middle of a pull into an
// embedded root. The pull ends with exit code 10 and registers nothing, or it
// succeeds, and the next one into the same root succeeds.
func TestStorageErrors(t *testing.T) {
	long(t)
	needStrace(t)
	w := newWorld(t)
	ref := w.host() + "/good:latest"
	files := unpackedFiles(t, ref)
	type fault struct {
		call, errno, when string
		paths             []string // below the root; none means all
		must              bool     // it cannot pass unnoticed
	}
	faults := []fault{
		{"fsync", "EIO", "", nil, true},
		{"fdatasync", "EIO", "", []string{metaFile}, true},
		{"fdatasync", "ENOSPC", "", []string{snapshotFile}, true},
		{"pwrite64", "ENOSPC", "2+", []string{metaFile}, true},
		{"write", "EIO", "", files, true},
		{"write", "EDQUOT", "", files, true},
		{"mkdirat", "ENOSPC", "4+", nil, true},
	}
	for n := 1; n <= 4; n++ {
		when := fmt.Sprint(n)
		faults = append(faults, fault{"fsync", "EIO", when, nil, false}, fault{"fdatasync", "EIO", when, nil, false},
			fault{"pwrite64", "EIO", when, []string{metaFile, snapshotFile}, false})
	}
	for _, f := range faults {
		t.Run(f.call+" "+f.errno+" "+f.when, func(t *testing.T) {
			t.Parallel()
			root := filepath.Join(t.TempDir(), "root")
			inject := fmt.Sprintf("inject=%s:error=%s", f.call, f.errno)
			if f.when != "" {
				inject += ":when=" + f.when
			}
			args := []string{"-f", "-qq", "-o", os.DevNull, "-e", "trace=" + f.call, "-e", inject}
			for _, p := range f.paths {
				args = append(args, "-P", filepath.Join(root, p))
			}
			code, text := pullInto(t, root, ref, append([]string{"strace"}, args...)...)
			if code != 10 && (code != 0 || f.must) {
				t.Errorf("got code %d, want 10: %s", code, text)
			}
			if got, text := pullInto(t, root, ref, programName, "--policy", "never"); (got == 0) != (code == 0) || got != 0 && got != 4 {
				t.Errorf("got code %d from the store after code %d: %s", got, code, text)
			}
			if got, text := pullInto(t, root, ref, programName); got != 0 {
				t.Errorf("got code %d from the next pull, want 0: %s", got, text)
			}
		})
	}
}

// TestUnreadableDocument lets the reads of each document of an image fail, and those
// of what is written in its place: the pull names the file and the disk. Those of
// another platform are not needed.
func TestUnreadableDocument(t *testing.T) {
	needStrace(t)
	ref := newWorld(t).host() + "/good:latest"
	root := filepath.Join(t.TempDir(), "root")
	if code, text := pullInto(t, root, ref, programName); code != 0 {
		t.Fatalf("got code %d, want 0: %s", code, text)
	}
	files, err := filepath.Glob(filepath.Join(root, blobFolder, "*"))
	if err != nil {
		t.Fatal(err)
	}
	needed := 0
	for _, file := range files {
		code, text := pullInto(t, root, ref, "strace", "-f", "-qq", "-o", os.DevNull, "-e", "trace=read,pread64", "-e", "inject=read,pread64:error=EIO", "-P", file)
		if code == 8 {
			needed++
		}
		if code == 8 && (!strings.Contains(text, file) || !strings.Contains(text, "dmesg")) || code != 0 && code != 8 {
			t.Errorf("got code %d, want 0, or 8 with %s and dmesg: %s", code, file, text)
		}
	}
	if want := 3; needed != want { // index, manifest and config
		t.Errorf("got %d files of %d without which the pull fails, want %d", needed, len(files), want)
	}
	if code, text := pullInto(t, root, ref, programName); code != 0 {
		t.Errorf("got code %d once the disk is right again, want 0: %s", code, text)
	}
}

// pullInto runs a pull and returns its exit code and standard error. The command
// may be one of strace that lacks only the program.
func pullInto(t *testing.T, root, ref string, command ...string) (int, string) {
	t.Helper()
	if !slices.Contains(command, programName) {
		command = append(command, programName)
	}
	command = append(command, "--root", root, "--quiet", ref)
	cmd := exec.CommandContext(t.Context(), command[0], command[1:]...)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	return exitCode(t, cmd.Run()), stderr.String()
}

// unpackedFiles pulls ref and returns a file of each snapshot, with every number
// that the snapshot may have in another pull.
func unpackedFiles(t *testing.T, ref string) []string {
	t.Helper()
	root := filepath.Join(t.TempDir(), "root")
	if code, text := pullInto(t, root, ref, programName); code != 0 {
		t.Fatalf("got code %d, want 0: %s", code, text)
	}
	dir := filepath.Join(root, "io.containerd.snapshotter.v1.overlayfs", "snapshots")
	all, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var files []string
	for _, sn := range all {
		top := filepath.Join(dir, sn.Name(), "fs")
		err := filepath.WalkDir(top, func(path string, d fs.DirEntry, err error) error {
			info, infoErr := d.Info()
			if err != nil || infoErr != nil || !info.Mode().IsRegular() || info.Size() == 0 {
				return err
			}
			for _, other := range all {
				files = append(files, filepath.Join("io.containerd.snapshotter.v1.overlayfs", "snapshots", other.Name(), "fs", strings.TrimPrefix(path, top)))
			}
			return filepath.SkipAll
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	if len(files) == 0 {
		t.Fatal("got no files in the snapshots")
	}
	return files
}
