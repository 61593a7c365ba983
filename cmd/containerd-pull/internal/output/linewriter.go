package output

import (
	"bytes"
	"io"
	"sync"
)

// lineWriter writes in the background, so that a slow reader does not block
// writers.
type lineWriter struct {
	w    io.Writer
	wake chan struct{}
	done chan struct{}

	mu  sync.Mutex
	buf bytes.Buffer
	err error // of the first write that failed; nothing is written after it
}

func newLineWriter(w io.Writer) *lineWriter {
	l := &lineWriter{w: w, wake: make(chan struct{}, 1), done: make(chan struct{})}
	go l.run()
	return l
}

// put adds text to what is to be written. It never blocks.
func (l *lineWriter) put(text []byte) {
	l.mu.Lock()
	l.buf.Write(text)
	l.mu.Unlock()
	select {
	case l.wake <- struct{}{}:
	default: // it is awake
	}
}

// close writes what is left and returns the first error. put must not be called
// after it.
func (l *lineWriter) close() error {
	close(l.wake)
	<-l.done
	return l.err
}

func (l *lineWriter) run() {
	defer close(l.done)
	for range l.wake {
		l.flush()
	}
	l.flush()
}

func (l *lineWriter) flush() {
	l.mu.Lock()
	text := bytes.Clone(l.buf.Bytes())
	l.buf.Reset()
	l.mu.Unlock()
	if l.err == nil && len(text) > 0 {
		_, l.err = l.w.Write(text)
	}
}
