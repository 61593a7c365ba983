package allowance_test

import (
	"context"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/containerd-pull/containerd-pull/pkg/registry/allowance"
)

const stall = 30 * time.Second

// late is what a Wait has said of an answer.
type late struct {
	what  string
	limit time.Duration
	last  bool
}

// answer waits for an answer that takes so long from its first byte on.
func answer(ctx context.Context, b *allowance.Book, host string, takes time.Duration) (got []late) {
	w := b.NewWait(ctx, host, func(what string, limit time.Duration, last bool) { got = append(got, late{what, limit, last}) })
	time.Sleep(time.Hour) // which is silence, and costs nothing
	w.Begin()
	time.Sleep(takes)
	synctest.Wait()
	w.End()
	w.End()
	return got
}

// TestAnswersSpendOneTime has a host take its time for several answers.
func TestAnswersSpendOneTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := allowance.New(stall)
		charged := b.Charge(t.Context(), "a/b")
		for range 1000 {
			if got := answer(charged, b, "a", time.Second); got != nil {
				t.Fatalf("got %v, want ordinary answers to be free", got)
			}
		}
		for i, tt := range []struct {
			host  string
			takes time.Duration
			want  late
		}{
			{"a", 31 * time.Second, late{}},
			{"a", 14 * time.Second, late{}}, // 2 s are left
			{"a", 3 * time.Second, late{"not complete", 2 * time.Second, true}},
			{"b", 61 * time.Second, late{"not complete", 45 * time.Second, true}},
			{"a", 500 * time.Millisecond, late{}},
			{"a", 2 * time.Second, late{"not complete", time.Second, true}},
		} {
			got := answer(charged, b, tt.host, tt.takes)
			if len(got) > 1 || (tt.want != late{}) != (len(got) == 1) || len(got) == 1 && got[0] != tt.want {
				t.Errorf("answer %d: got %v, want %v", i, got, tt.want)
			}
		}
		b.Renew("a/b")
		if got := answer(b.Charge(t.Context(), "a/b"), b, "a", 44*time.Second); got != nil {
			t.Errorf("got %v, want the time of another pull", got)
		}
	})
}

// TestBlobsSpendNothing: an answer in another context is bounded by itself, until it is
// known to be a blob.
func TestBlobsSpendNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := allowance.New(stall)
		for range 3 {
			if got := answer(t.Context(), b, "a", 61*time.Second); len(got) != 1 || got[0] != (late{"not complete", time.Minute, false}) {
				t.Errorf("got %v, want a minute for each", got)
			}
		}
		for name, ctx := range map[string]context.Context{"blob": t.Context(), "document": b.Charge(t.Context(), "a/b")} {
			ended := false
			w := b.NewWait(ctx, "a", func(string, time.Duration, bool) { ended = true })
			w.Begin()
			w.TakeTime()
			time.Sleep(time.Hour)
			synctest.Wait()
			if w.End(); ended == (name == "blob") {
				t.Errorf("%s: got %v for its end, want that of documents alone", name, ended)
			}
		}
	})
}

// TestConnectionsSpendTime is about proxies that do not lead on.
func TestConnectionsSpendTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := allowance.New(stall)
		ctx := b.Charge(t.Context(), "a/b")
		var got []late
		connect := func(takes time.Duration) {
			w := b.NewWait(ctx, "a", func(what string, limit time.Duration, last bool) { got = append(got, late{what, limit, last}) })
			w.Connect()
			time.Sleep(takes)
			synctest.Wait()
			w.Connected()
			w.End()
		}
		connect(31 * time.Second)
		connect(14 * time.Second)
		if got != nil {
			t.Errorf("got %v, want connections in time", got)
		}
		if connect(3 * time.Second); len(got) != 1 || got[0] != (late{"no connection", 2 * time.Second, true}) {
			t.Errorf("got %v, want the end of the time", got)
		}
	})
}

// TestShortStalls: a busy machine has some seconds for all, whatever the stall
// time-out is.
func TestShortStalls(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := allowance.New(3 * time.Second)
		ctx := b.Charge(t.Context(), "a/b")
		if got := answer(ctx, b, "a", 7*time.Second); len(got) != 1 || got[0] != (late{"not complete", 6 * time.Second, false}) {
			t.Errorf("got %v, want another try", got)
		}
		if got := answer(ctx, b, "a", 7*time.Second); len(got) != 1 || !got[0].last {
			t.Errorf("got %v, want the last try", got)
		}
	})
}

// TestNothingIsLateBeforeItBegins has as little time for answers as there can be.
func TestNothingIsLateBeforeItBegins(t *testing.T) {
	b := allowance.New(1)
	var ended atomic.Bool
	for range 10_000 {
		w := b.NewWait(t.Context(), "a", func(string, time.Duration, bool) { ended.Store(true) })
		w.Connected()
		w.End()
	}
	if ended.Load() {
		t.Error("got the end of an answer that had not begun")
	}
}
