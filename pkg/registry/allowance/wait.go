package allowance

import (
	"context"
	"sync"
	"time"
)

// Late is called when an answer has taken all its time: what is missing, how much time
// it was, and whether that was the last of its host.
type Late func(what string, limit time.Duration, last bool)

// Wait is the wait for one answer. Its methods may be called from many goroutines, and
// each of them more than once.
type Wait struct {
	host     string
	accounts *accounts
	limit    time.Duration
	last     bool // the account ends it

	connection, answer span
}

// span is a part of the wait: from when it runs, and what ends it if it does not end.
type span struct {
	late func()

	mu    sync.Mutex
	start time.Time   // zero if it does not run
	timer *time.Timer // nil until it began
}

// NewWait returns a wait for an answer of the host, in a context of Charge or another
// one, where the answer spends no time.
func (b *Book) NewWait(ctx context.Context, host string, late Late) *Wait {
	w := &Wait{host: host, limit: b.whole}
	w.accounts, _ = ctx.Value(contextKey{}).(*accounts)
	if w.accounts != nil {
		if left := w.accounts.take(host, 0); left <= w.limit {
			w.limit, w.last = left, true
		}
	}
	w.connection.late = func() { late("no connection", w.limit, w.last) }
	w.answer.late = func() { late("not complete", w.limit, w.last) }
	return w
}

// Connect begins the wait for a connection through a proxy.
func (w *Wait) Connect() { w.connection.begin(w.limit) }

// Connected ends the wait for a connection.
func (w *Wait) Connected() { w.spend(w.connection.end()) }

// Begin is called with the first byte of the answer.
func (w *Wait) Begin() { w.answer.begin(w.limit) }

// TakeTime lets the answer take as long as it likes, unless it is charged.
func (w *Wait) TakeTime() {
	if w.accounts == nil {
		w.answer.end()
	}
}

// End is called when the answer has come, or will not come any more.
func (w *Wait) End() {
	w.spend(w.connection.end())
	w.spend(w.answer.end())
}

func (w *Wait) spend(took time.Duration) {
	if w.accounts != nil {
		w.accounts.take(w.host, took)
	}
}

func (s *span) begin(limit time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.start.IsZero() {
		s.start, s.timer = time.Now(), time.AfterFunc(limit, s.late)
	}
}

// end returns how long the span took, 0 if it did not run.
func (s *span) end() (took time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.start.IsZero() {
		s.timer.Stop()
		took, s.start = time.Since(s.start), time.Time{}
	}
	return took
}
