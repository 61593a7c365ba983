package store

import (
	"os"

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
