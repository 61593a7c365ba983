package main

import (
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// strace is a pull into an embedded root under the program of that name.
type strace struct {
	log  string   // where strace writes
	args []string // of strace
}

// newTrace traces system calls on paths below root.
func newTrace(t *testing.T, root, calls string, paths ...string) strace {
	log := filepath.Join(t.TempDir(), "trace")
	tr := strace{log, []string{"-f", "-qq", "-y", "-o", log, "-e", "trace=" + calls}}
	for _, p := range paths {
		tr.args = append(tr.args, "-P", filepath.Join(root, p))
	}
	return tr
}

// inject makes the calls fail with an error, or tampers with them in another
// way.
func (tr strace) inject(call, what string) strace {
	tr.args = append(tr.args, "-e", fmt.Sprintf("inject=%s:%s", call, what))
	return tr
}

func (tr strace) command() []string { return append([]string{"strace"}, tr.args...) }

func (tr strace) lines(t *testing.T) []string {
	t.Helper()
	text, err := os.ReadFile(tr.log)
	if err != nil && !os.IsNotExist(err) { // strace has not begun yet
		t.Fatal(err)
	}
	return strings.Split(string(text), "\n")
}

// TestPeriodicFlushFails lets the periodic flush fail while a layer is still
// being fetched. The kernel reports a lost write only once: if that error were
// dropped, the image would be registered without being on disk.
func TestPeriodicFlushFails(t *testing.T) {
	long(t)
	needStrace(t)
	for name, c := range map[string]struct {
		call, inject string
		path         func(blob string) string // below the root; blob is that of a small layer
		codes        []int
	}{
		"blob": {"fsync", "error=EIO", func(blob string) string { return filepath.Join(blobFolder, blob) }, []int{10}},
		// The blobs whose folder was not written are given up. The pull brings them
		// again where it finds that before the next flush.
		"folder of it": {"fsync", "error=EIO:when=1", func(string) string { return blobFolder }, []int{0, 10}},
		// The next flush writes what the failed one did not, unless it is the first
		// of its thread, which fails again.
		"metadata": {"fdatasync", "error=EIO:when=1", func(string) string { return metaFile }, []int{0, 10}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			blob := smallLayer(t, w.host()+"/good:latest")
			ref, root := w.host()+"/held:latest", filepath.Join(t.TempDir(), "root")
			makeRoot(t, root)
			tr := newTrace(t, root, c.call, c.path(blob)).inject(c.call, c.inject)
			go func() { // release the large layer once the flush has failed
				defer close(w.release)
				for deadline := time.Now().Add(30 * time.Second); time.Now().Before(deadline) && t.Context().Err() == nil; time.Sleep(20 * time.Millisecond) {
					if text, err := os.ReadFile(tr.log); err == nil && strings.Contains(string(text), "(INJECTED)") {
						return
					}
				}
			}()
			code, text := pullInto(t, root, ref, tr.command()...)
			if !slices.Contains(c.codes, code) {
				t.Errorf("got code %d, want one of %v: %s", code, c.codes, text)
			}
			if all := strings.Join(tr.lines(t), "\n"); !strings.Contains(all, "(INJECTED)") {
				t.Errorf("got no flush that failed while the layer was held back: %s", all)
			}
			if code != 0 {
				wantCode(t, 4, root, ref, "--policy", "never")
			}
			wantCode(t, 0, root, ref)
			wantWhole(t, root)
		})
	}
}

// makeRoot makes an embedded root with its databases.
func makeRoot(t *testing.T, root string) {
	t.Helper()
	if err := os.MkdirAll(root, 0o700); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.CommandContext(t.Context(), programName, "gc", "--root", root).CombinedOutput(); err != nil {
		t.Fatalf("making a root: %v: %s", err, out)
	}
}

// smallLayer returns the encoded digest of the smallest layer of an image.
func smallLayer(t *testing.T, ref string) string {
	t.Helper()
	root := filepath.Join(t.TempDir(), "root")
	wantCode(t, 0, root, ref)
	all, err := os.ReadDir(filepath.Join(root, blobFolder))
	if err != nil {
		t.Fatal(err)
	}
	name, least := "", int64(-1)
	for _, e := range all {
		path := filepath.Join(root, blobFolder, e.Name())
		body, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if isGzip := len(body) > 1 && body[0] == 0x1f && body[1] == 0x8b; isGzip && (least < 0 || int64(len(body)) < least) {
			name, least = e.Name(), int64(len(body))
		}
	}
	return name
}

// wantCode pulls ref into root and compares the exit code.
func wantCode(t *testing.T, want int, root, ref string, args ...string) {
	t.Helper()
	if got, text := pullInto(t, root, ref, append([]string{programName}, args...)...); got != want {
		t.Errorf("got code %d of %v, want %d: %s", got, append(args, ref), want, text)
	}
}

// wantWhole requires every image of root to be whole.
func wantWhole(t *testing.T, root string) {
	t.Helper()
	if out, err := exec.CommandContext(t.Context(), programName, "verify", "--root", root).CombinedOutput(); err != nil {
		t.Errorf("verifying: %v: %s", err, out)
	}
}

// TestDiscardedLayers lets a pull that discards layers fail, or be killed, at
// each step between the record and the removal of the last layer. No image may
// lack anything that it needs: neither the one that is pulled, nor one that
// shares its layers.
func TestDiscardedLayers(t *testing.T) {
	long(t)
	needStrace(t)
	w := newWorld(t)
	ref, other := w.host()+"/good:latest", w.host()+"/other:latest"
	base, empty := filepath.Join(t.TempDir(), "base"), filepath.Join(t.TempDir(), "empty")
	wantCode(t, 0, base, other)
	makeRoot(t, empty)
	var blobs []string
	all, err := filepath.Glob(filepath.Join(base, blobFolder, "*"))
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range all {
		blobs = append(blobs, filepath.Join(blobFolder, filepath.Base(path)))
	}
	for _, f := range []struct {
		call, what string
		steps      int
		before     string
		paths      []string
	}{
		{"fdatasync", "signal=KILL", 3, base, nil},
		{"fdatasync", "error=EIO", 3, base, nil},
		{"pwrite64", "error=ENOSPC", 2, base, nil},
		{"unlinkat", "signal=KILL", 2, empty, blobs},
		{"unlinkat", "error=EIO", 1, empty, blobs},
	} {
		for n := 1; n <= f.steps; n++ {
			t.Run(fmt.Sprintf("%s %d %s", f.call, n, f.what), func(t *testing.T) {
				t.Parallel()
				root := filepath.Join(t.TempDir(), "root")
				if out, err := exec.Command("cp", "-a", f.before, root).CombinedOutput(); err != nil {
					t.Fatalf("copying the root: %v: %s", err, out)
				}
				tr := newTrace(t, root, f.call, f.paths...).inject(f.call, fmt.Sprintf("%s:when=%d", f.what, n))
				code, text := pullInto(t, root, ref, append(tr.command(), programName, "--discard-layers")...)
				if code != 0 && code != 10 && code != -1 {
					t.Errorf("got code %d: %s", code, text)
				}
				if code == 0 {
					wantCode(t, 0, root, ref, "--policy", "never")
				}
				if f.before == base {
					wantCode(t, 0, root, other, "--policy", "never")
				} else if lines := strings.Join(tr.lines(t), "\n"); !strings.Contains(lines, blobFolder) {
					t.Errorf("got no removal of a blob: %s", lines)
				}
				wantWhole(t, root)
				wantCode(t, 0, root, ref, "--discard-layers")
				wantWhole(t, root)
			})
		}
	}
}

// TestFlushBeforeDiscard traces a pull that discards layers: the records that
// name them are removed and flushed before the first of them is removed.
func TestFlushBeforeDiscard(t *testing.T) {
	long(t)
	needStrace(t)
	w := newWorld(t)
	root := filepath.Join(t.TempDir(), "root")
	makeRoot(t, root)
	tr := newTrace(t, root, "pwrite64,fdatasync,unlinkat,rename,renameat,renameat2,fsync")
	code, text := pullInto(t, root, w.host()+"/good:latest", append(tr.command(), programName, "--discard-layers")...)
	if code != 0 {
		t.Fatalf("got code %d: %s", code, text)
	}
	written, synced, removed := false, false, 0
	unsynced := map[string]bool{} // blobs in their place that are not on stable storage
	due := map[string]bool{}      // those of them that the flush which is running may name
	syncing := false              // it has not written yet
	for _, line := range tr.lines(t) {
		blob := strings.Contains(line, blobFolder+"/")
		switch {
		case strings.Contains(line, "pwrite64(") && strings.Contains(line, metaFile):
			written, synced, syncing = true, false, false
			if len(due) > 0 {
				t.Errorf("got metadata written before the blobs %v were synced", due)
			}
		case strings.Contains(line, "fdatasync(") && strings.Contains(line, metaFile):
			synced = written
		case strings.Contains(line, "rename") && blob:
			unsynced[blobOf(line)] = true
		case strings.Contains(line, "fsync(") && blob:
			if !syncing { // a flush begins; what comes into its place from now on is the next one's
				syncing, due = true, maps.Clone(unsynced)
			}
			delete(unsynced, blobOf(line))
			delete(due, blobOf(line))
		case strings.Contains(line, "unlinkat(") && blob:
			removed++
			if !synced {
				t.Errorf("got a blob removed before the metadata was synced: %s", line)
			}
		}
	}
	if removed == 0 || !written {
		t.Errorf("got %d blobs removed, metadata written: %v; want some", removed, written)
	}
	if len(unsynced) > 0 || syncing {
		t.Errorf("got the blobs %v left unsynced, or no metadata after the last: %v", unsynced, syncing)
	}
}

// blobOf returns the name of the blob in a line of strace.
func blobOf(line string) string {
	_, rest, _ := strings.Cut(line, blobFolder+"/")
	return rest[:min(64, len(rest))]
}
