// Package display shows the events of a call while it runs: as a region that is
// redrawn on a terminal, as lines for a log, or as the JSON stream.
//
// One goroutine folds events into a progress.State and hands both to the
// renderer of the mode (tty, plain, json, quiet), so that a slow output never
// blocks the pull: what it has not taken yet waits in the queue, of the progress
// of a blob only the newest. The package reads neither the environment nor
// os.Stderr; the caller passes both. Start reading at Display, then view for the
// rows on a terminal and plain for the lines of a log.
package display

import (
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/containerd-pull/containerd-pull/pkg/progress"
)

// Display shows events. The caller closes it when the call is over, which draws
// the final frame.
type Display struct {
	out     io.Writer
	queue   *queue
	closing chan struct{}
	closed  sync.Once
	done    chan struct{}
	log     logWriter

	mu       sync.Mutex // guards what follows
	renderer renderer
	paused   int // how many Pauses have not ended
	state    progress.State
	err      error // of the first write that failed; nothing is written after it
}

// New starts a display.
func New(o Options) (*Display, error) {
	if err := o.Validate(); err != nil {
		return nil, err
	}
	r, period, woken := o.renderer()
	d := &Display{
		out:      o.Out,
		queue:    newQueue(),
		closing:  make(chan struct{}),
		done:     make(chan struct{}),
		renderer: r,
	}
	d.log.line = d.putLine
	var wake <-chan struct{}
	if woken {
		wake = d.queue.wake
	}
	go d.run(period, wake)
	return d, nil
}

// Sink takes the events to show. Events that come after Close are dropped.
func (d *Display) Sink() progress.Sink {
	return func(e progress.Event) { d.queue.put(item{event: e}) }
}

// Writer takes log lines. They appear above the region of a terminal, as events
// in the JSON stream, and as they are otherwise. After Close it still works.
func (d *Display) Writer() io.Writer { return &d.log }

// Close draws the final frame and returns the first error of writing. It may
// be called more than once.
func (d *Display) Close() error {
	d.closed.Do(func() {
		d.log.flush()
		d.queue.close()
		close(d.closing)
	})
	<-d.done
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.err
}

// run draws until the display is closed.
func (d *Display) run(period time.Duration, wake <-chan struct{}) {
	defer close(d.done)
	ticker := time.NewTicker(period)
	defer ticker.Stop()
	for {
		select {
		case <-wake:
		case <-ticker.C:
		case <-d.closing:
			d.draw(d.queue.take, true)
			return
		}
		d.draw(d.queue.take, false)
	}
}

// Pause takes the region off the terminal, and nothing is written until resume is
// called or the display closed: a program asks a question there. What happens
// meanwhile waits in the queue.
func (d *Display) Pause() (resume func()) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.paused++
	if t, ok := d.renderer.(*tty); ok {
		d.write(t.clear())
	}
	return sync.OnceFunc(func() {
		d.mu.Lock()
		defer d.mu.Unlock()
		d.paused--
		d.queue.rouse()
	})
}

func (d *Display) draw(take func() []item, final bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.paused > 0 && !final {
		return
	}
	for _, it := range take() {
		if it.line != nil {
			d.renderer.line(*it.line)
			continue
		}
		d.state.Apply(it.event)
		d.renderer.event(&d.state, it.event)
	}
	d.write(d.renderer.frame(&d.state, time.Now(), final))
}

// write is called with mu held.
func (d *Display) write(frame []byte) {
	if len(frame) == 0 || d.err != nil {
		return
	}
	if _, err := d.out.Write(frame); err != nil {
		d.err = fmt.Errorf("writing progress: %w", err)
	}
}

// putLine queues a log line; once the display is closed it writes it itself.
func (d *Display) putLine(text string) {
	it := item{line: &text}
	if d.queue.put(it) {
		return
	}
	<-d.done
	d.draw(func() []item { return []item{it} }, true)
}

// renderer turns events into text. It is used by one goroutine at a time.
type renderer interface {
	// event takes e, which has been applied to s.
	event(s *progress.State, e progress.Event)
	// line takes a log line without its newline.
	line(text string)
	// frame returns what is to be written now. The last frame is final.
	frame(s *progress.State, now time.Time, final bool) []byte
}
