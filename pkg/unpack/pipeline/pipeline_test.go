package pipeline_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"
	"testing/iotest"
	"testing/synctest"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/containerd-pull/containerd-pull/pkg/inflate"
	"github.com/containerd-pull/containerd-pull/pkg/internal/multibuffer"
	"github.com/containerd-pull/containerd-pull/pkg/progress"
	"github.com/containerd-pull/containerd-pull/pkg/unpack/pipeline"
)

const (
	bufferSize = inflate.BufferSize
	// tooMuch is more than two sides keep in their buffers.
	tooMuch = 20 * bufferSize
)

// noise are n bytes that do not repeat.
func noise(n int) []byte {
	p := make([]byte, n)
	rand.NewChaCha8([32]byte{byte(n)}).Read(p) // never fails
	return p
}

func newPipeline() *pipeline.Pipeline { return pipeline.New(2, multibuffer.New()) }

// layer is one that nothing is known of.
func layer() pipeline.Layer {
	return pipeline.Layer{
		Load: pipeline.NewLoad(0, 0), Algorithm: digest.SHA256,
		Phase: func(progress.Phase, time.Duration, int64) {},
	}
}

// inputs calls test for both kinds of Input. store writes what arrives to the
// file, if there is one.
func inputs(t *testing.T, test func(t *testing.T, file *os.File, store io.Writer)) {
	t.Run("in memory", func(t *testing.T) { test(t, nil, io.Discard) })
	t.Run("in a file", func(t *testing.T) {
		w, err := os.Create(filepath.Join(t.TempDir(), "data"))
		if err != nil {
			t.Fatal(err)
		}
		defer w.Close()
		r, err := os.Open(w.Name())
		if err != nil {
			t.Fatal(err)
		}
		test(t, r, w)
	})
}

// write stores p before it passes it on, in portions.
func write(store io.Writer, to pipeline.Input, p []byte, portion int) error {
	for len(p) > 0 {
		n := min(portion, len(p))
		if _, err := store.Write(p[:n]); err != nil {
			return err
		}
		if _, err := to.Write(p[:n]); err != nil {
			return err
		}
		p = p[n:]
	}
	return nil
}

// TestConnectPasses bytes in order, in whatever portions they come and go.
func TestConnectPasses(t *testing.T) {
	data := noise(3*4*bufferSize + 17)
	for _, portion := range []int{1000, bufferSize, bufferSize + 1, len(data)} {
		inputs(t, func(t *testing.T, file *os.File, store io.Writer) {
			var got []byte
			err := newPipeline().Connect(t.Context(), file,
				func(_ context.Context, to pipeline.Input) error { return write(store, to, data, portion) },
				func(_ context.Context, src io.Reader) (err error) {
					got, err = io.ReadAll(iotest.HalfReader(src))
					return err
				})
			if err != nil || !bytes.Equal(got, data) {
				t.Errorf("portions of %d: got %d bytes and %v, want the %d written", portion, len(got), err, len(data))
			}
		})
	}
}

// TestConnectFollowsWhatIsWritten before and after the reader has begun to wait.
func TestConnectFollowsWhatIsWritten(t *testing.T) {
	data := noise(1<<20 + 17)
	inputs(t, func(t *testing.T, file *os.File, store io.Writer) {
		synctest.Test(t, func(t *testing.T) {
			var got []byte
			receive := func(_ context.Context, to pipeline.Input) error {
				if err := write(store, to, data[:1<<19], 1<<19); err != nil {
					return err
				}
				for rest := data[1<<19:]; len(rest) > 0; {
					n := min(100_000, len(rest))
					synctest.Wait() // for the reader to wait
					if err := write(store, to, rest[:n], n); err != nil {
						return err
					}
					rest = rest[n:]
				}
				return nil
			}
			err := newPipeline().Connect(t.Context(), file, receive, func(_ context.Context, src io.Reader) (err error) {
				got, err = io.ReadAll(src)
				return err
			})
			if err != nil || !bytes.Equal(got, data) {
				t.Errorf("got %d bytes and %v, want the %d written", len(got), err, len(data))
			}
		})
	})
}

// TestConnectEndsWithTheFetch: its error comes behind everything that was
// written, and again from every other read.
func TestConnectEndsWithTheFetch(t *testing.T) {
	cut := errors.New("the connection was cut")
	inputs(t, func(t *testing.T, file *os.File, store io.Writer) {
		err := newPipeline().Connect(t.Context(), file,
			func(_ context.Context, to pipeline.Input) error {
				return errors.Join(write(store, to, []byte("so far"), 6), cut)
			},
			func(_ context.Context, src io.Reader) error {
				got, err := io.ReadAll(src)
				if string(got) != "so far" || !errors.Is(err, cut) {
					t.Errorf("got %q and %v, want what was written and then %v", got, err, cut)
				}
				if _, err := src.Read(make([]byte, 1)); !errors.Is(err, cut) {
					t.Errorf("got %v from another read, want %v again", err, cut)
				}
				return nil
			})
		if !errors.Is(err, cut) {
			t.Errorf("got %v, want %v", err, cut)
		}
	})
}

// TestConnectStopsTheFetch with the error of the reader, also one that waits
// for room.
func TestConnectStopsTheFetch(t *testing.T) {
	full := errors.New("the disk is full")
	for stop, want := range map[error]error{full: full, nil: io.ErrClosedPipe} {
		inputs(t, func(t *testing.T, file *os.File, store io.Writer) {
			synctest.Test(t, func(t *testing.T) {
				stopped := make(chan struct{})
				receive := func(_ context.Context, to pipeline.Input) error {
					err := write(store, to, noise(tooMuch), tooMuch)
					if err == nil { // no writer waits for one that reads from a file
						<-stopped
						synctest.Wait()
						_, err = to.Write([]byte("more"))
					}
					if !errors.Is(err, want) {
						t.Errorf("got %v from the writer after a stop with %v, want %v", err, stop, want)
					}
					return err
				}
				err := newPipeline().Connect(t.Context(), file, receive, func(_ context.Context, src io.Reader) error {
					if _, err := io.ReadFull(src, make([]byte, 10)); err != nil {
						return err
					}
					synctest.Wait() // for the writer to wait
					close(stopped)
					return stop
				})
				if !errors.Is(err, want) {
					t.Errorf("got %v, want %v", err, want)
				}
			})
		})
	}
}

// TestConnectStopsAtOnce even if there is room.
func TestConnectStopsAtOnce(t *testing.T) {
	inputs(t, func(t *testing.T, file *os.File, _ io.Writer) {
		synctest.Test(t, func(t *testing.T) {
			receive := func(_ context.Context, to pipeline.Input) error {
				synctest.Wait() // for the reader to stop
				n, err := to.Write([]byte("x"))
				if n != 0 {
					t.Errorf("got %d bytes taken, want none", n)
				}
				return err
			}
			err := newPipeline().Connect(t.Context(), file, receive, func(context.Context, io.Reader) error { return nil })
			if !errors.Is(err, io.ErrClosedPipe) {
				t.Errorf("got %v, want a closed pipe", err)
			}
		})
	})
}

// TestConnectEndsFromBothSides at random moments, for the race detector.
func TestConnectEndsFromBothSides(t *testing.T) {
	p := newPipeline()
	for range 200 {
		err := p.Connect(t.Context(), nil,
			func(_ context.Context, to pipeline.Input) error {
				for range rand.IntN(12) {
					if _, err := to.Write(make([]byte, 1+rand.IntN(bufferSize))); err != nil {
						return err
					}
				}
				return nil
			},
			func(_ context.Context, src io.Reader) error {
				_, err := io.CopyN(io.Discard, src, int64(rand.IntN(4*bufferSize)))
				if err != nil && err != io.EOF {
					t.Errorf("got %v, want bytes or the end", err)
				}
				return nil
			})
		if err != nil && !errors.Is(err, io.ErrClosedPipe) {
			t.Errorf("got %v, want nothing or a closed pipe", err)
		}
	}
}

// TestConnectOfAnEmptiedFile does not take that for the end.
func TestConnectOfAnEmptiedFile(t *testing.T) {
	inputs(t, func(t *testing.T, file *os.File, _ io.Writer) {
		if file == nil {
			return
		}
		err := newPipeline().Connect(t.Context(), file,
			func(_ context.Context, to pipeline.Input) error { return write(io.Discard, to, []byte("dropped"), 7) },
			func(_ context.Context, src io.Reader) error { _, err := io.ReadAll(src); return err })
		if !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Errorf("got %v, want %v", err, io.ErrUnexpectedEOF)
		}
	})
}

// TestConnectCancels the context of both sides when one fails.
func TestConnectCancels(t *testing.T) {
	full := errors.New("the disk is full")
	err := newPipeline().Connect(t.Context(), nil,
		func(ctx context.Context, _ pipeline.Input) error { <-ctx.Done(); return context.Cause(ctx) },
		func(context.Context, io.Reader) error { return full })
	if !errors.Is(err, full) {
		t.Errorf("got %v, want %v", err, full)
	}
}

// hungry is what a fetch asks an Input for (fetch.Hungry).
type hungry interface{ Waited() time.Duration }

// TestInputTellsHowLongItsReaderWaited, and how long the writer did.
func TestInputTellsHowLongItsReaderWaited(t *testing.T) {
	inputs(t, func(t *testing.T, file *os.File, store io.Writer) {
		synctest.Test(t, func(t *testing.T) {
			read := make(chan struct{})
			receive := func(_ context.Context, to pipeline.Input) error {
				defer close(read)
				h, ok := to.(hungry)
				if ok != (file != nil) {
					t.Errorf("got an input that tells how long it waited: %v", ok)
				}
				time.Sleep(10 * time.Millisecond)
				if ok && h.Waited() != 10*time.Millisecond {
					t.Errorf("got %v waited by a reader that waits, want 10ms", h.Waited())
				}
				if err := write(store, to, []byte("x"), 1); err != nil {
					return err
				}
				time.Sleep(time.Millisecond)
				if ok && h.Waited() != 10*time.Millisecond {
					t.Errorf("got %v waited by a reader that does not wait any more, want 10ms", h.Waited())
				}
				if to.Idle() != 0 {
					t.Errorf("got %v waited by the writer, want nothing", to.Idle())
				}
				return nil
			}
			err := newPipeline().Connect(t.Context(), file, receive, func(_ context.Context, src io.Reader) error {
				_, err := io.ReadFull(src, make([]byte, 1))
				<-read
				return err
			})
			if err != nil {
				t.Error(err)
			}
		})
	})
}

// TestWriterIdle is how long a writer waited for room.
func TestWriterIdle(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		err := newPipeline().Connect(t.Context(), nil,
			func(_ context.Context, to pipeline.Input) error {
				err := write(io.Discard, to, noise(5*bufferSize), bufferSize)
				if to.Idle() != time.Second {
					t.Errorf("got %v waited by the writer, want 1s", to.Idle())
				}
				return err
			},
			func(_ context.Context, src io.Reader) error {
				time.Sleep(time.Second)
				_, err := io.Copy(io.Discard, src)
				return err
			})
		if err != nil {
			t.Error(err)
		}
	})
}

// TestStagesGiveTheirTurns while they wait for bytes, and get them back.
func TestStagesGiveTheirTurns(t *testing.T) {
	inputs(t, func(t *testing.T, file *os.File, store io.Writer) {
		synctest.Test(t, func(t *testing.T) {
			p := pipeline.New(1, multibuffer.New())
			receive := func(_ context.Context, to pipeline.Input) error {
				other := p.Turn(pipeline.NewLoad(0, 0))
				other.Take() // only when both stages wait
				if err := write(store, to, []byte("plain"), 5); err != nil {
					return err
				}
				synctest.Wait() // for the inflater to want its turn
				other.Give()
				return nil
			}
			var got []byte
			err := p.Connect(t.Context(), file, receive, func(_ context.Context, src io.Reader) error {
				_, err := p.Run(src, layer(), func(plain *pipeline.Plain) (err error) {
					got, err = io.ReadAll(plain)
					return err
				})
				return err
			})
			if err != nil || string(got) != "plain" {
				t.Errorf("got %q and %v, want what was written", got, err)
			}
		})
	})
}

// TestEnterBoundsLargeLayers, and lets small ones pass.
func TestEnterBoundsLargeLayers(t *testing.T) {
	const most, large, small = 8, 2 << 20, 1 << 20
	p := newPipeline()
	var leave func()
	for range most {
		var err error
		if leave, err = p.Enter(t.Context(), large); err != nil {
			t.Fatal(err)
		}
	}
	out, err := p.Enter(t.Context(), small)
	if err != nil {
		t.Fatalf("got %v for a small layer", err)
	}
	out()
	enough := errors.New("enough")
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(enough)
	if _, err := p.Enter(ctx, large); !errors.Is(err, enough) {
		t.Errorf("got %v for one large layer more, want it to wait until %v", err, enough)
	}
	leave()
	if _, err := p.Enter(t.Context(), large); err != nil {
		t.Errorf("got %v when one has left", err)
	}
}

// TestRunTells how long its stages worked and waited, and what was read so far.
func TestRunTells(t *testing.T) {
	const reads = 10 // of a buffer each; the first ones come from the peek for the magic bytes
	synctest.Test(t, func(t *testing.T) {
		l := layer()
		phases := map[progress.Phase]time.Duration{}
		l.Phase = func(p progress.Phase, d time.Duration, n int64) {
			phases[p] = d
			if p == progress.Inflate && n != reads*bufferSize {
				t.Errorf("got %d bytes inflated, want %d", n, reads*bufferSize)
			}
		}
		var seen int64
		l.Progress = func(n int64) {
			if n <= seen || n > reads*bufferSize {
				t.Errorf("got progress %d after %d, want it to grow", n, seen)
			}
			seen = n
		}
		_, err := newPipeline().Run(&slow{bytes.NewReader(noise(reads * bufferSize)), time.Millisecond}, l, func(plain *pipeline.Plain) error {
			buf := make([]byte, bufferSize)
			for range reads {
				if _, err := io.ReadFull(plain, buf); err != nil {
					return err
				}
				time.Sleep(10 * time.Millisecond)
			}
			if plain.Busy() != reads*10*time.Millisecond || plain.Count() != reads*bufferSize {
				t.Errorf("got %d bytes in %v of work, want %d in 100ms", plain.Count(), plain.Busy(), reads*bufferSize)
			}
			return nil
		})
		if err != nil || seen != reads*bufferSize {
			t.Errorf("got %v and progress up to %d, want %d", err, seen, reads*bufferSize)
		}
		if busy := phases[progress.Inflate]; busy < reads*time.Millisecond || busy > 3*reads*time.Millisecond {
			t.Errorf("got %v of work by the inflater, want about %v", busy, reads*time.Millisecond)
		}
		if waited, ok := phases[progress.Wait]; waited != 0 || !ok {
			t.Errorf("got %v waited for a turn, told: %v, want 0 told", waited, ok)
		}
	})
}

// slow is a source that works for some time on each read.
type slow struct {
	io.Reader
	takes time.Duration
}

func (s *slow) Read(p []byte) (int, error) {
	time.Sleep(s.takes)
	return s.Reader.Read(p)
}

// TestRunConsumerFails with the consumer's error, whether or not the inflater
// waits for room.
func TestRunConsumerFails(t *testing.T) {
	full := errors.New("the disk is full")
	for _, size := range []int{0, 10, tooMuch} {
		src := bytes.NewReader(noise(size))
		_, err := newPipeline().Run(src, layer(), func(*pipeline.Plain) error { return full })
		if !errors.Is(err, full) {
			t.Errorf("of %d bytes: got %v, want %v", size, err, full)
		}
		if size == tooMuch && src.Len() < size/2 {
			t.Errorf("got all but %d of %d bytes read after the consumer failed", src.Len(), size)
		}
	}
}

// TestRunConsumerStopsEarly without an error: the digest is that of what was
// inflated before, so that it is that of no layer.
func TestRunConsumerStopsEarly(t *testing.T) {
	data := noise(tooMuch)
	sum, err := newPipeline().Run(bytes.NewReader(data), layer(), func(*pipeline.Plain) error { return nil })
	if err != nil || sum == digest.FromBytes(data) {
		t.Errorf("got %s and %v, want a digest of less than all", sum, err)
	}
}

// TestRunOtherAlgorithms of digests than that of the Hasher.
func TestRunOtherAlgorithms(t *testing.T) {
	data := noise(3 * bufferSize)
	for _, algorithm := range []digest.Algorithm{digest.SHA256, digest.SHA384, digest.SHA512} {
		l := layer()
		l.Algorithm = algorithm
		sum, err := newPipeline().Run(bytes.NewReader(data), l, func(plain *pipeline.Plain) error {
			_, err := io.Copy(io.Discard, plain)
			return err
		})
		if want := algorithm.FromBytes(data); err != nil || sum != want {
			t.Errorf("got %s and %v, want %s", sum, err, want)
		}
	}
}
