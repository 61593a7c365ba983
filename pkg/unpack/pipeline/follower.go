package pipeline

import (
	"io"
	"os"
	"sync"
	"time"
)

// follower reads the file the store is writing, at its own pace, so a slow unpack
// never delays the fetch or the commit; the page cache is the only buffer.
type follower struct {
	file *os.File
	turn *Turn
	pos  int64

	mu      sync.Mutex
	more    sync.Cond
	size    int64 // of what was written
	endErr  error // why the writer ended; io.EOF when it is done
	stopErr error // why the reader stopped
	waited  time.Duration
	since   time.Time // when the reader began to wait; zero if it does not
}

func newFollower(file *os.File) *follower {
	f := &follower{file: file}
	f.more.L = &f.mu
	return f
}

// Write implements io.Writer. p is in the file already.
func (f *follower) Write(p []byte) (int, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.stopErr != nil {
		return 0, f.stopErr
	}
	f.size += int64(len(p))
	f.more.Signal()
	return len(p), nil
}

// Read implements io.Reader.
func (f *follower) Read(p []byte) (int, error) {
	size, err := f.await()
	if size == f.pos {
		return 0, err
	}
	n, err := f.file.ReadAt(p[:min(int64(len(p)), size-f.pos)], f.pos)
	f.pos += int64(n)
	if err == io.EOF && n == 0 {
		err = io.ErrUnexpectedEOF // it was emptied
	} else if n > 0 {
		err = nil
	}
	return n, err
}

// await returns the size once there is more to read, or once there never will be,
// with the reason.
func (f *follower) await() (int64, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.size == f.pos && f.endErr == nil {
		f.turn.Give()
		f.since = time.Now()
		for f.size == f.pos && f.endErr == nil {
			f.more.Wait()
		}
		f.waited += time.Since(f.since)
		f.since = time.Time{}
		f.mu.Unlock()
		f.turn.Take()
		f.mu.Lock()
	}
	return f.size, f.endErr
}

func (f *follower) end(err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.endErr = err; err == nil {
		f.endErr = io.EOF
	}
	f.more.Signal()
}

func (f *follower) stop(err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.stopErr = err; err == nil {
		f.stopErr = io.ErrClosedPipe
	}
}

func (f *follower) readBy(t *Turn) { f.turn = t }

func (f *follower) Idle() time.Duration { return 0 }

func (f *follower) idleReader() time.Duration { return f.Waited() }

// Waited implements fetch.Hungry.
func (f *follower) Waited() time.Duration {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.since.IsZero() {
		return f.waited
	}
	return f.waited + time.Since(f.since)
}

func (f *follower) recycle() { _ = f.file.Close() } // it was only read
