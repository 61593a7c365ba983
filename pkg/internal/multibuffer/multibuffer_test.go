package multibuffer_test

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"

	"github.com/containerd-pull/containerd-pull/pkg/internal/multibuffer"
)

// hashers are all ways to hash, by name.
func hashers() map[string]*multibuffer.Hasher {
	return map[string]*multibuffer.Hasher{"best": multibuffer.New(), "plain": multibuffer.Plain()}
}

// bytesOf returns n bytes that depend on seed.
func bytesOf(seed uint64, n int) []byte {
	var key [32]byte
	binary.LittleEndian.PutUint64(key[:], seed)
	p := make([]byte, n)
	_, _ = rand.NewChaCha8(key).Read(p)
	return p
}

// feed gives data to s in pieces whose lengths come from r, some to keep and some
// not, and spoils what was released. It returns how often something was.
func feed(s *multibuffer.Stream, data []byte, r *rand.Rand) (added int, released *sync.WaitGroup) {
	released = new(sync.WaitGroup)
	for len(data) > 0 {
		n := min(1+r.IntN(1<<r.IntN(16)), len(data))
		piece := append([]byte(nil), data[:n]...)
		data = data[n:]
		if r.IntN(4) == 0 {
			_, _ = s.Write(piece)
			clear(piece)
			continue
		}
		added++
		released.Add(1)
		s.Add(piece, func() {
			clear(piece)
			released.Done()
		})
	}
	return added, released
}

func TestLengths(t *testing.T) {
	t.Parallel()
	for name, h := range hashers() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for n := range 4 * sha256.BlockSize {
				data := bytesOf(1, n)
				a, b := h.Stream(), h.Stream()
				a.Add(data, func() {})
				b.Add(data[n/2:], func() {})
				if got, want := a.Sum(), sha256.Sum256(data); got != want {
					t.Errorf("%d bytes: got %x, want %x", n, got, want)
				}
				if got, want := b.Sum(), sha256.Sum256(data[n/2:]); got != want {
					t.Errorf("%d bytes: got %x, want %x", n-n/2, got, want)
				}
			}
		})
	}
}

// TestConcurrent hashes many streams of all lengths at once.
func TestConcurrent(t *testing.T) {
	t.Parallel()
	for name, h := range hashers() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var all sync.WaitGroup
			for i := range uint64(24) {
				all.Go(func() {
					r := rand.New(rand.NewPCG(i, 1))
					data := bytesOf(i, r.IntN(1<<20))
					s := h.Stream()
					_, released := feed(s, data, r)
					if got, want := s.Sum(), sha256.Sum256(data); got != want {
						t.Errorf("stream %d: got %x, want %x", i, got, want)
					}
					released.Wait() // or the test times out
				})
			}
			all.Wait()
		})
	}
}

// TestSumGoesOn sums up a stream on its way.
func TestSumGoesOn(t *testing.T) {
	t.Parallel()
	for name, h := range hashers() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			data := bytesOf(2, 1000)
			s := h.Stream()
			for i := range data {
				s.Add(data[i:i+1], func() {})
				if got, want := s.Sum(), sha256.Sum256(data[:i+1]); got != want {
					t.Fatalf("after %d bytes: got %x, want %x", i+1, got, want)
				}
			}
			s.Reset()
			if got, want := s.Sum(), sha256.Sum256(nil); got != want {
				t.Errorf("after Reset: got %x, want %x", got, want)
			}
		})
	}
}

// TestDrop gives everything back that waits, and leaves nothing that others
// could pair with.
func TestDrop(t *testing.T) {
	t.Parallel()
	for name, h := range hashers() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var all sync.WaitGroup
			for i := range uint64(16) {
				all.Go(func() {
					r := rand.New(rand.NewPCG(i, 2))
					s := h.Stream()
					_, released := feed(s, bytesOf(i, 1<<18), r)
					s.Drop()
					released.Wait()
				})
			}
			all.Wait()
			data := bytesOf(3, 1<<16)
			s := h.Stream()
			s.Add(data, func() {})
			if got, want := s.Sum(), sha256.Sum256(data); got != want {
				t.Errorf("got %x, want %x", got, want)
			}
		})
	}
}

// TestHelp hashes for streams that others feed, until nothing waits.
func TestHelp(t *testing.T) {
	t.Parallel()
	for name, h := range hashers() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var all sync.WaitGroup
			for i := range uint64(8) {
				all.Go(func() {
					r := rand.New(rand.NewPCG(i, 3))
					data := bytesOf(i, 1<<19)
					s := h.Stream()
					fed := make(chan struct{})
					all.Go(func() {
						for {
							select {
							case <-fed:
								return
							default:
								s.Help()
							}
						}
					})
					_, released := feed(s, data, r)
					close(fed)
					for s.Help() {
					}
					if got, want := s.Sum(), sha256.Sum256(data); got != want {
						t.Errorf("stream %d: got %x, want %x", i, got, want)
					}
					released.Wait()
				})
			}
			all.Wait()
		})
	}
	s := multibuffer.New().Stream()
	kept := true
	s.Add(bytesOf(4, 1<<16), func() { kept = false })
	for s.Help() {
	}
	if kept {
		t.Error("got data that is kept after all help")
	}
}

// TestPairs: two streams share their work: the chunk of the first
// waits for the second to come.
func TestPairs(t *testing.T) {
	t.Parallel()
	if !multibuffer.Capable() {
		s := multibuffer.New().Stream()
		released := false
		s.Add(bytesOf(4, 1<<16), func() { released = true })
		if !released {
			t.Error("without SHA extensions, data should not be kept")
		}
		return
	}
	h := multibuffer.New()
	var released [2]bool
	a, b := h.Stream(), h.Stream()
	a.Add(bytesOf(4, 1<<16), func() { released[0] = true })
	if released[0] {
		t.Error("the first chunk was hashed alone")
	}
	b.Add(bytesOf(5, 1<<16), func() { released[1] = true })
	if released != [2]bool{true, true} {
		t.Errorf("released: %v, want both", released)
	}
}

// FuzzStreams cuts two streams anywhere.
func FuzzStreams(f *testing.F) {
	f.Add([]byte("abc"), []byte("def"), uint64(1))
	f.Add(bytesOf(6, 300), bytesOf(7, 64), uint64(2))
	f.Add(bytesOf(8, 119), []byte{}, uint64(3))
	f.Fuzz(func(t *testing.T, p, q []byte, cuts uint64) {
		for name, h := range hashers() {
			var both sync.WaitGroup
			for i, data := range [][]byte{p, q} {
				both.Go(func() {
					s := h.Stream()
					feed(s, data, rand.New(rand.NewPCG(cuts, uint64(i))))
					if got, want := s.Sum(), sha256.Sum256(data); got != want {
						t.Errorf("%s: got %x, want %x", name, got, want)
					}
				})
			}
			both.Wait()
		}
	})
}

// BenchmarkStreams is the time of one core for some streams at once, whose
// chunks take turns.
func BenchmarkStreams(b *testing.B) {
	for name, h := range hashers() {
		for _, n := range []int{1, 2, 4} {
			b.Run(fmt.Sprintf("%s/%d", name, n), func(b *testing.B) {
				data := bytesOf(9, 512<<10)
				streams := make([]*multibuffer.Stream, n)
				for i := range streams {
					streams[i] = h.Stream()
				}
				b.SetBytes(int64(n * len(data)))
				b.ReportAllocs()
				for b.Loop() {
					for _, s := range streams {
						s.Add(data, func() {})
					}
				}
			})
		}
	}
}
