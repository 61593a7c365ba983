package main

import (
	"crypto/sha256"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"syscall"
	"testing"

	"github.com/moby/sys/userns"
)

// TestM7LookingChangesNothing runs every command that only looks over a root: one
// that is whole, and ones whose databases are lost or empty. Not a byte, a mode or
// a time of the root and of the user's home may become another.
func TestM7LookingChangesNothing(t *testing.T) {
	long(t)
	if !withMounts(t) {
		return
	}
	w := newWorld(t)
	ref := w.host() + "/good:latest"
	for name, damage := range map[string]func(root string) error{
		"whole":           func(string) error { return nil },
		"records lost":    func(root string) error { return os.Remove(filepath.Join(root, metaFile)) },
		"records empty":   func(root string) error { return os.Truncate(filepath.Join(root, metaFile), 0) },
		"snapshots lost":  func(root string) error { return os.Remove(filepath.Join(root, snapshotFile)) },
		"snapshots empty": func(root string) error { return os.Truncate(filepath.Join(root, snapshotFile), 0) },
		"blobs not by name": func(root string) error {
			return os.Rename(filepath.Join(root, blobFolder), filepath.Join(root, blobFolder+"x"))
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			root, home := filepath.Join(t.TempDir(), "root"), t.TempDir()
			wantCode(t, 0, root, ref)
			if err := damage(root); err != nil {
				t.Fatal(err)
			}
			all := looksAt(root, ref)
			if name == "whole" {
				all = append(all, looks(ref)...)
			}
			before := everyFile(t, root, home)
			for _, args := range all {
				cmd := exec.CommandContext(t.Context(), programName, args...)
				cmd.Env = append(cmd.Environ(), "HOME="+home, "XDG_CONFIG_HOME=", "XDG_CACHE_HOME=", "DOCKER_CONFIG=")
				out, err := cmd.CombinedOutput()
				if code := exitCode(t, err); code == 1 || code == 2 || name == "whole" && code != 0 {
					t.Errorf("%q: got code %d: %s", args, code, out)
				}
				after := everyFile(t, root, home)
				if !maps.Equal(after, before) {
					t.Errorf("%q changed: %q", args, differences(before, after))
					before = after
				}
			}
		})
	}
}

// looksAt are the commands that look at a root.
func looksAt(root, ref string) [][]string {
	all := [][]string{
		{"gc", "--root", root, "--dry-run"},
		{"verify", "--root", root},
		{"verify", "--root", root, "--format", "json"},
		{"--root", root, "--policy", "never", ref},
		{"__complete", "verify", "--root", root, ""},
	}
	if !userns.RunningInUserNS() { // where files cannot be compared
		all = append(all, []string{"verify", "--root", root, "--deep", ref})
	}
	return all
}

// looks are the commands that look at something else.
func looks(ref string) [][]string {
	return [][]string{
		{"config", "show"}, {"completion", "bash"}, {"profile", "list"}, {"profile", "check"},
		{"profile", "check", "--migrate"}, {"hosts", "check", ref}, {"version"}, {"help", "exit-codes"}, {"shell-init", "bash"},
	}
}

// everyFile is what there is to know about each file below the folders, save when it
// was read.
func everyFile(t *testing.T, dirs ...string) map[string]string {
	t.Helper()
	all := map[string]string{}
	for _, dir := range dirs {
		err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
			if err != nil {
				return err
			}
			info, err := d.Info()
			if err != nil {
				return err
			}
			st := info.Sys().(*syscall.Stat_t)
			var data []byte
			if info.Mode().IsRegular() {
				data, err = os.ReadFile(path)
			}
			all[path] = fmt.Sprint(info.Mode(), st.Ino, st.Nlink, st.Uid, st.Gid, st.Size, st.Mtim, st.Ctim, sha256.Sum256(data))
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	return all
}

// differences names what is not the same in both.
func differences(before, after map[string]string) []string {
	all := maps.Clone(before)
	maps.Copy(all, after)
	maps.DeleteFunc(all, func(path, _ string) bool { return before[path] == after[path] })
	return slices.Sorted(maps.Keys(all))
}
