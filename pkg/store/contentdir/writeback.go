package contentdir

import (
	"os"

	"golang.org/x/sys/unix"
)

// writebackSize is how many bytes are written before the kernel is asked to begin
// putting them on disk. Little is then left to wait for at the end, and less
// is dirty meanwhile: above a share of the memory the kernel writes everything.
const writebackSize = 8 << 20

// Writeback begins to put a growing file on disk while it is written.
type Writeback struct {
	File  *os.File
	Find  func() *os.File // finds File once there is enough to write; nil if this process cannot see it
	begun int64           // up to here
}

// Grown says how long the file is now. What has not been written back by the end
// is left to the sync that follows.
func (w *Writeback) Grown(size int64) {
	w.begun = min(w.begun, size) // it may have been emptied
	if size-w.begun < writebackSize {
		return
	}
	if w.Find != nil {
		w.File, w.Find = w.Find(), nil
	}
	if w.File != nil {
		_ = unix.SyncFileRange(int(w.File.Fd()), w.begun, size-w.begun, unix.SYNC_FILE_RANGE_WRITE)
	}
	w.begun = size
}

// Release closes a file that Find returned.
func (w *Writeback) Release() {
	if w.File != nil {
		_ = w.File.Close() // it was only read
	}
}
