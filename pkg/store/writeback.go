package store

import (
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// writebackSize is how many bytes are written before the kernel is asked to begin
// putting them on disk. Little is then left to wait for at the end, and less
// is dirty meanwhile: above a share of the memory the kernel writes everything.
const writebackSize = 8 << 20

// writeback begins to put a growing file on disk.
type writeback struct {
	file  *os.File
	find  func() *os.File // for file, once it is worth it; nil means that it cannot be seen
	begun int64           // up to here
}

// grown is told how long the file is. What it does not do, the sync at the end
// does.
func (w *writeback) grown(size int64) {
	w.begun = min(w.begun, size) // it may have been emptied
	if size-w.begun < writebackSize {
		return
	}
	if w.find != nil {
		w.file, w.find = w.find(), nil
	}
	if w.file != nil {
		_ = unix.SyncFileRange(int(w.file.Fd()), w.begun, size-w.begun, unix.SYNC_FILE_RANGE_WRITE)
	}
	w.begun = size
}

// release closes a file that was found.
func (w *writeback) release() {
	if w.file != nil {
		_ = w.file.Close() // it was only read
	}
}

// ingestData opens the file in which a daemon, whose content folder is root,
// collects the ingest ref of namespace ns, to read. It is nil if that is not to
// be seen from here.
func ingestData(root, ns, ref string) *os.File {
	dirs, err := ingestsIn(root)
	if err != nil {
		return nil
	}
	for _, dir := range dirs {
		// A daemon puts the namespace and a number before the ref.
		status, err := statusIn(dir)
		if err != nil || !strings.HasPrefix(status.Ref, ns+"/") || !strings.HasSuffix(status.Ref, "/"+ref) {
			continue
		}
		if file, err := os.Open(filepath.Join(dir, "data")); err == nil {
			return file
		}
	}
	return nil
}
