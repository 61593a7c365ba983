package pipeline

import "time"

// Plain is what a layer inflates to, for the one goroutine that consumes it.
type Plain struct {
	q        *queue
	progress func(int64) // may be nil
	n        int64
	start    time.Time
	waited   time.Duration // for its turn, before start
}

// consumeInTurn is the stage of Run that reads q.
func consumeInTurn(q *queue, progress func(int64), consume func(*Plain) error) error {
	turn := q.readerTurn
	turn.Take()
	defer turn.Give()
	return consume(&Plain{q: q, progress: progress, start: time.Now(), waited: turn.waited})
}

// Read implements io.Reader.
func (p *Plain) Read(buf []byte) (int, error) {
	n, err := p.q.Read(buf)
	p.n += int64(n)
	if n > 0 && p.progress != nil && p.q.isChunkRead() {
		p.progress(p.n)
	}
	return n, err
}

// Count returns the number of bytes read so far.
func (p *Plain) Count() int64 { return p.n }

// Busy returns how long the consumer has worked so far, which is without the
// time that it waited for bytes or for its turn.
func (p *Plain) Busy() time.Duration {
	return time.Since(p.start) - p.q.readerIdle - (p.q.readerTurn.waited - p.waited)
}
