package pipeline

import (
	"hash"

	"github.com/opencontainers/go-digest"

	"github.com/containerd-pull/containerd-pull/pkg/internal/multibuffer"
)

// hashed is a queue that hashes what it is sent: whichever side would wait for
// the other does it.
type hashed struct {
	*queue
	sum sum
}

func (h *hashed) send(data, buf []byte) { h.sum.add(data, h.share(data, buf)) }

// sum is the digest of what it is given.
type sum struct {
	algorithm digest.Algorithm
	stream    *multibuffer.Stream // for SHA-256
	other     hash.Hash           // for other algorithms
}

func newSum(h *multibuffer.Hasher, algorithm digest.Algorithm) sum {
	if algorithm == digest.SHA256 {
		return sum{algorithm: algorithm, stream: h.Stream()}
	}
	return sum{algorithm: algorithm, other: algorithm.Hash()}
}

// add hashes p, now or later, and calls done when it has.
func (s sum) add(p []byte, done func()) {
	if s.stream != nil {
		s.stream.Add(p, done)
		return
	}
	s.other.Write(p)
	done()
}

// help hashes a little of what waits for it and reports whether there was any.
func (s sum) help() bool { return s.stream != nil && s.stream.Help() }

// drop releases what is not hashed yet.
func (s sum) drop() {
	if s.stream != nil {
		s.stream.Drop()
	}
}

func (s sum) digest() digest.Digest {
	if s.stream == nil {
		return digest.NewDigest(s.algorithm, s.other)
	}
	all := s.stream.Sum()
	return digest.NewDigestFromBytes(s.algorithm, all[:])
}
