package unpack_test

import (
	"bytes"
	"errors"
	"io"
	"os"
	"path/filepath"
	"testing"
	"testing/iotest"
	"time"

	"github.com/containerd-pull/containerd-pull/pkg/internal/pulltest"
	"github.com/containerd-pull/containerd-pull/pkg/unpack"
)

// following is a follower and the file that it reads.
func following(t *testing.T) (unpack.Follower, *os.File) {
	t.Helper()
	file := pulltest.Must(os.Create(filepath.Join(t.TempDir(), "data")))(t)
	t.Cleanup(func() { _ = file.Close() })
	return unpack.NewFollower(pulltest.Must(os.Open(file.Name()))(t)), file
}

// TestFollows what is in the file already, and what comes later.
func TestFollows(t *testing.T) {
	data := noise(1<<20 + 17)
	f, file := following(t)
	write := func(p []byte) {
		if _, err := file.Write(p); err != nil {
			t.Error(err)
		}
		if _, err := f.Write(p); err != nil {
			t.Error(err)
		}
	}
	write(data[:1<<19])
	go func() {
		for rest := data[1<<19:]; len(rest) > 0; {
			n := min(100_000, len(rest))
			write(rest[:n])
			rest = rest[n:]
			time.Sleep(time.Millisecond)
		}
		f.End(nil)
	}()
	got, err := io.ReadAll(iotest.HalfReader(f))
	if err != nil || !bytes.Equal(got, data) {
		t.Errorf("got %d bytes and %v, want the %d written", len(got), err, len(data))
	}
}

// TestFollowerEnds with the error of the other side.
func TestFollowerEnds(t *testing.T) {
	cut := errors.New("cut")
	f, file := following(t)
	_, err := file.WriteString("so far")
	if _, err := f.Write([]byte("so far")); err != nil {
		t.Fatal(err)
	}
	f.End(cut)
	got, read := io.ReadAll(f)
	if err != nil || string(got) != "so far" || !errors.Is(read, cut) {
		t.Errorf("got %q and %v, want what was written and then %v", got, read, cut)
	}
	f.Stop(cut)
	if _, err := f.Write([]byte("more")); !errors.Is(err, cut) {
		t.Errorf("got %v for a write after the reader stopped, want %v", err, cut)
	}
}

// TestFollowerOfAnEmptiedFile does not take that for the end.
func TestFollowerOfAnEmptiedFile(t *testing.T) {
	f, _ := following(t)
	if _, err := f.Write([]byte("dropped")); err != nil {
		t.Fatal(err)
	}
	f.End(nil)
	if got, err := io.ReadAll(f); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("got %q and %v, want %v", got, err, io.ErrUnexpectedEOF)
	}
}

// TestFollowerGivesItsTurn while there is nothing to read, and tells how long
// that was.
func TestFollowerGivesItsTurn(t *testing.T) {
	turn := unpack.NewTurns(1)
	mine, other := turn(1), turn(0)
	f, file := following(t)
	f.ReadBy(mine)
	mine.Take()
	read := make(chan error)
	go func() {
		_, err := io.ReadFull(f, make([]byte, 1))
		mine.Give()
		read <- err
	}()
	other.Take() // only when the reader waits
	time.Sleep(10 * time.Millisecond)
	if f.Waited() == 0 {
		t.Error("got no time waited by a reader that waits")
	}
	_, err := file.WriteString("x")
	if _, err := f.Write([]byte("x")); err != nil {
		t.Fatal(err)
	}
	other.Give()
	if err := errors.Join(err, <-read); err != nil {
		t.Error(err)
	}
	before := f.Waited()
	time.Sleep(time.Millisecond)
	if got := f.Waited(); got != before {
		t.Errorf("got %v, then %v waited although nobody waits", before, got)
	}
}
