// Package multibuffer computes the SHA-256 of several streams at once, and no
// other digests.
//
// A processor with SHA extensions is idle half of the time while it hashes one
// stream, because each round waits for the result of the one before. Over two
// streams it goes on with the other meanwhile, so that two take the time of
// one. The streams of a Hasher are hashed in pairs when two have something to
// hash; a stream may leave a little of its data for that moment.
//
// On other processors, and where Go's cryptography runs in FIPS 140 mode, the
// standard library hashes each stream by itself.
//
// Read Stream.Add and Hasher.advance first; block_amd64.s has the rounds.
package multibuffer

import (
	"crypto/fips140"
	"crypto/sha256"
	"encoding/binary"
	"hash"
	"slices"
	"sync"
)

const (
	blockSize = sha256.BlockSize
	// maxChunks is how many chunks of a stream may wait to be hashed.
	maxChunks = 2
)

// Hasher brings streams together. It may be used from many goroutines.
type Hasher struct {
	capable bool
	mu      sync.Mutex
	settled *sync.Cond // signals that a stream is not busy any more
	waiting []*Stream  // those with chunks
}

// New returns a Hasher.
func New() *Hasher { return newHasher(capable() && !fips140.Enabled()) }

func newHasher(capable bool) *Hasher {
	h := &Hasher{capable: capable}
	h.settled = sync.NewCond(&h.mu)
	return h
}

// Stream is the hash of one sequence of bytes. It belongs to one goroutine.
type Stream struct {
	h     *Hasher
	plain hash.Hash // hashes everything if h is not capable, else nil

	length uint64 // of all that was added
	// What follows is guarded by h.mu.
	state  [8]uint32
	block  [blockSize]byte // the block that has begun
	filled int             // bytes of it
	chunks []chunk         // not hashed yet, oldest first
	busy   bool            // a goroutine hashes the first of chunks without holding h.mu
}

// chunk is data that waits to be hashed; release is called afterwards.
type chunk struct {
	data    []byte
	release func()
}

// Stream returns a new, empty stream.
func (h *Hasher) Stream() *Stream {
	s := &Stream{h: h}
	s.Reset()
	return s
}

// Reset makes the stream empty, dropping what waits.
func (s *Stream) Reset() {
	s.Drop()
	s.length, s.filled = 0, 0
	if !s.h.capable {
		s.plain = sha256.New()
		return
	}
	s.state = [8]uint32{ // FIPS 180-4, 5.3.3
		0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a, 0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19,
	}
}

// Add appends p, which must not change until release is called: now or later, by
// the goroutine that hashes it, or by Drop. release must not block.
func (s *Stream) Add(p []byte, release func()) {
	if s.plain != nil {
		s.plain.Write(p)
		release()
		return
	}
	s.h.mu.Lock()
	defer s.h.mu.Unlock()
	s.await(maxChunks - 1)
	s.append(p, release)
	if !s.busy && s.h.partner(s) != nil {
		s.h.advance(s)
	}
}

// Help hashes some of what waits, unless another goroutine does so, and reports
// whether it did. Unlike the rest of a Stream it may be called from any goroutine.
func (s *Stream) Help() bool {
	if s.plain != nil {
		return false
	}
	s.h.mu.Lock()
	defer s.h.mu.Unlock()
	if s.busy || len(s.chunks) == 0 {
		return false
	}
	s.h.advance(s)
	return true
}

// Write implements io.Writer. Everything is hashed when it returns.
func (s *Stream) Write(p []byte) (int, error) {
	if s.plain != nil {
		return s.plain.Write(p)
	}
	s.h.mu.Lock()
	defer s.h.mu.Unlock()
	s.append(p, func() {})
	s.await(0)
	return len(p), nil
}

// Sum returns the SHA-256 of all that was added so far; more may follow.
func (s *Stream) Sum() [sha256.Size]byte {
	if s.plain != nil {
		return [sha256.Size]byte(s.plain.Sum(nil))
	}
	s.h.mu.Lock()
	defer s.h.mu.Unlock()
	s.await(0)
	return s.finish()
}

// Drop releases what waits to be hashed. Afterwards the stream must be Reset to be
// used again.
func (s *Stream) Drop() {
	s.h.mu.Lock()
	defer s.h.mu.Unlock()
	for s.busy {
		s.h.settled.Wait()
	}
	for len(s.chunks) > 0 {
		s.done()
	}
}

// append queues p.
func (s *Stream) append(p []byte, release func()) {
	s.length += uint64(len(p))
	if len(s.chunks) == 0 {
		s.h.waiting = append(s.h.waiting, s)
	}
	s.chunks = append(s.chunks, chunk{p, release})
}

// await returns when at most n chunks wait.
func (s *Stream) await(n int) {
	for len(s.chunks) > n {
		if s.busy {
			s.h.settled.Wait()
		} else {
			s.h.advance(s)
		}
	}
}

// partner returns another stream that has something to hash, or nil.
func (h *Hasher) partner(s *Stream) *Stream {
	i := slices.IndexFunc(h.waiting, func(o *Stream) bool { return o != s && !o.busy })
	if i < 0 {
		return nil
	}
	return h.waiting[i]
}

// advance hashes as much of the first chunk of s as another stream has to hash
// too, or all of it if there is no other. It unlocks h.mu meanwhile.
func (h *Hasher) advance(s *Stream) {
	n := s.align()
	if n == 0 {
		return
	}
	var alone Stream
	o, q := &alone, s.chunks[0].data
	if p := h.partner(s); p != nil {
		m := p.align()
		if m == 0 {
			return
		}
		o, q, n = p, p.chunks[0].data, min(n, m)
	}
	p := s.chunks[0].data
	s.busy, o.busy = true, true
	h.mu.Unlock()
	block2(&s.state, &o.state, &p[0], &q[0], n)
	h.mu.Lock()
	s.busy, o.busy = false, false
	s.skip(n)
	if o != &alone {
		o.skip(n)
	}
	h.settled.Broadcast()
}

// align hashes what completes a block that has begun, and returns the size of the
// whole blocks that follow in the first chunk. If there are none, the chunk has
// been used up.
func (s *Stream) align() int {
	data := s.chunks[0].data
	if s.filled > 0 || len(data) < blockSize {
		n := copy(s.block[s.filled:], data)
		s.filled += n
		if s.filled == blockSize {
			s.filled = 0
			one(&s.state, &s.block)
		}
		s.skip(n)
		if n == len(data) {
			return 0
		}
		return s.align()
	}
	return len(data) / blockSize * blockSize
}

// skip removes n bytes of the first chunk.
func (s *Stream) skip(n int) {
	s.chunks[0].data = s.chunks[0].data[n:]
	if len(s.chunks[0].data) == 0 {
		s.done()
	}
}

// done releases and removes the first chunk.
func (s *Stream) done() {
	s.chunks[0].release()
	s.chunks = slices.Delete(s.chunks, 0, 1)
	if len(s.chunks) == 0 {
		s.h.waiting = slices.DeleteFunc(s.h.waiting, func(o *Stream) bool { return o == s })
	}
}

// one hashes a single block.
func one(state *[8]uint32, block *[blockSize]byte) {
	var unused [8]uint32
	block2(state, &unused, &block[0], &block[0], blockSize)
}

// finish pads a copy of the state (FIPS 180-4, 5.1.1).
func (s *Stream) finish() (sum [sha256.Size]byte) {
	state, block := s.state, s.block
	clear(block[s.filled:])
	block[s.filled] = 0x80
	if s.filled >= blockSize-8 {
		one(&state, &block)
		clear(block[:])
	}
	binary.BigEndian.PutUint64(block[blockSize-8:], s.length*8)
	one(&state, &block)
	for i, word := range state {
		binary.BigEndian.PutUint32(sum[4*i:], word)
	}
	return sum
}
