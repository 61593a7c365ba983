package unpack

import (
	"io"
	"os"
	"sync"
	"time"
)

// arrival passes the bytes of a blob from the fetch, the writer, to the
// inflater, the reader. Either side may end it; the other then gets its error.
type arrival interface {
	io.ReadWriter
	// end tells the reader that nothing follows, stop the writer that no more is
	// taken. A nil error is io.EOF, or io.ErrClosedPipe.
	end(err error)
	stop(err error)
	// readBy names the reader's turn, which is given up while there is nothing to
	// read.
	readBy(t *turn)
	// idleWriter and idleReader are how long each side waited for the other; only
	// that side may ask.
	idleWriter() time.Duration
	idleReader() time.Duration
	// recycle ends the use of it.
	recycle()
}

// follower reads back what the store has written to a file, as far behind as it
// likes: the fetch, and what the store has to do when a blob is whole, do not
// wait for the unpack. What a host would be kept waiting for is kept in memory
// by the kernel only.
type follower struct {
	file *os.File
	turn *turn
	pos  int64

	mu      sync.Mutex
	more    sync.Cond
	size    int64 // that was written
	endErr  error // why the writer ended; io.EOF when it is done
	stopErr error // why the reader stopped
	waited  time.Duration
	since   time.Time // the reader waits; zero if it does not
}

func newFollower(file *os.File) *follower {
	f := &follower{file: file}
	f.more.L = &f.mu
	return f
}

// Write implements io.Writer: p is in the file.
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

// await returns the size when there is more to read, or when there never will
// be, and why.
func (f *follower) await() (int64, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.size == f.pos && f.endErr == nil {
		f.turn.give()
		f.since = time.Now()
		for f.size == f.pos && f.endErr == nil {
			f.more.Wait()
		}
		f.waited += time.Since(f.since)
		f.since = time.Time{}
		f.mu.Unlock()
		f.turn.take()
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

func (f *follower) readBy(t *turn) { f.turn = t }

func (f *follower) idleWriter() time.Duration { return 0 }

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
