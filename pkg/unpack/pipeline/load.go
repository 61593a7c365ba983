package pipeline

import (
	"io"
	"sync/atomic"
	"time"
)

// Load estimates the work that a layer still is.
type Load struct {
	size   int64                    // of the blob, in bytes
	behind time.Duration            // what follows the unpack of the layer
	read   atomic.Int64             // bytes of the blob that the inflater has read
	stages atomic.Pointer[[2]*Turn] // of the layer; nil before it has begun
}

// NewLoad returns the load of a layer whose blob has size bytes. behind is how
// long it takes to commit it and the layers above.
func NewLoad(size int64, behind time.Duration) *Load { return &Load{size: size, behind: behind} }

// To unpack a byte of a blob takes between 8 ns in large files and 40 in small
// ones. Unmeasured layers are assumed slow, so that a slow one is not started
// last; a measurement counts as much as the guess after trial bytes.
const (
	guess = 30 // ns
	trial = 256 << 10
)

// Left returns how long the pull still takes from this layer on, if nothing
// waits: the work of the slower stage, and the commits.
func (l *Load) Left() time.Duration {
	var worked int64
	if stages := l.stages.Load(); stages != nil {
		worked = max(stages[0].worked.Load(), stages[1].worked.Load())
	}
	read := l.read.Load()
	perByte := float64(worked+guess*trial) / float64(read+trial)
	return time.Duration(perByte*float64(l.size-read)) + l.behind
}

// Read returns how many bytes of the blob the inflater has read.
func (l *Load) Read() int64 { return l.read.Load() }

// first is Left for a stage that goes before the others of its layer.
func (l *Load) first() time.Duration { return l.Left() + slack + 1 }

// begin makes the turns of a layer's stages, which are at its first byte.
func (l *Load) begin(all *turns) (inflates, applies *Turn) {
	inflates, applies = all.of(l.Left), all.of(l.first) // what is inflated already is applied first
	l.read.Store(0)
	l.stages.Store(&[2]*Turn{inflates, applies})
	return inflates, applies
}

// counted counts what is read of a layer.
type counted struct {
	io.Reader
	load *Load
}

// Read implements io.Reader.
func (c counted) Read(p []byte) (int, error) {
	n, err := c.Reader.Read(p)
	c.load.read.Add(int64(n))
	return n, err
}
