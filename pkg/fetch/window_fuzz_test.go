package fetch_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/containerd/containerd/v2/plugins/content/local"
	"github.com/containerd/errdefs"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/containerd-pull/containerd-pull/pkg/fetch"
	"github.com/containerd-pull/containerd-pull/pkg/internal/pulltest"
	"github.com/containerd-pull/containerd-pull/pkg/internal/pulltest/testregistry"
	"github.com/containerd-pull/containerd-pull/pkg/progress"
	"github.com/containerd-pull/containerd-pull/pkg/registry"
	"github.com/containerd-pull/containerd-pull/pkg/registry/hosts"
	"github.com/containerd-pull/containerd-pull/pkg/source"
)

// Each byte of a script is how one request is answered: what happens, in the
// lower half, and where in the answer, in the upper. Behind its end, answers are
// honest.
const (
	opHonest = iota
	opTruncate
	opReset
	opShort
	opEndless
	opCorrupt
	opStall
	opIgnoreRange
	opLimited
	opStatus500
	opStatus503
	opSlow
	opLess
	opElsewhere
	opMissing
	opForbidden
)

// answerOf reads a byte of a script.
func answerOf(b byte) testregistry.Behaviour {
	where := int64(b>>4) * (fetch.PieceSize / 12) // past a piece in the end
	fault := func(f testregistry.Fault) testregistry.Behaviour {
		return testregistry.Behaviour{Fault: f, After: where}
	}
	status := func(code int) testregistry.Behaviour { return testregistry.Behaviour{Status: code} }
	switch b & 15 {
	case opTruncate:
		return fault(testregistry.Truncate)
	case opReset:
		return fault(testregistry.Reset)
	case opShort:
		return fault(testregistry.Short)
	case opEndless:
		return fault(testregistry.Endless)
	case opCorrupt:
		return fault(testregistry.Corrupt)
	case opStall:
		return fault(testregistry.Stall)
	case opIgnoreRange:
		return testregistry.Behaviour{IgnoreRange: true}
	case opLimited:
		return status(http.StatusTooManyRequests)
	case opStatus500:
		return status(http.StatusInternalServerError)
	case opStatus503:
		return status(http.StatusServiceUnavailable)
	case opSlow:
		return testregistry.Behaviour{Delay: time.Duration(b>>4) * time.Millisecond}
	case opLess:
		return testregistry.Behaviour{Handler: lessThanAsked()}
	case opElsewhere:
		return testregistry.Behaviour{Header: http.Header{"Content-Range": {"bytes 1-2/3"}}}
	case opMissing:
		return status(http.StatusNotFound)
	case opForbidden:
		return status(http.StatusForbidden)
	}
	return testregistry.Behaviour{}
}

// windowSize is more than two pieces, and no multiple of them.
const windowSize = 2*fetch.PieceSize + 12345

var windowBlob = sync.OnceValue(func() []byte { return noise(windowSize) })

// lessThanAsked answers a range with its first thousand bytes.
func lessThanAsked() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var from int
		if _, err := fmt.Sscanf(r.Header.Get("Range"), "bytes=%d-", &from); err != nil {
			w.Write(windowBlob()) // fails for a client that has gone
			return
		}
		to := min(from+1000, windowSize)
		w.Header().Set("Content-Range", fmt.Sprintf("bytes %d-%d/%d", from, to-1, windowSize))
		w.WriteHeader(http.StatusPartialContent)
		w.Write(windowBlob()[from:to])
	})
}

// FuzzWindow fetches a blob over several connections from a registry that
// answers by a script. The consumer sees each byte once and in order, or the
// call fails with a class; what it took is given back, and the connections are
// bounded.
func FuzzWindow(f *testing.F) {
	at := func(op, where byte) byte { return where<<4 | op }
	scripts := [][]byte{
		{},
		{at(opTruncate, 3), at(opReset, 5), at(opReset, 0)},
		{opHonest, at(opShort, 4), opHonest, at(opShort, 4)},
		{opHonest, opHonest, at(opEndless, 1), at(opEndless, 1)},
		{opHonest, at(opCorrupt, 2), at(opCorrupt, 9)},
		{opHonest, opIgnoreRange, at(opReset, 1), opIgnoreRange},
		{opHonest, opLimited, opStatus500, opStatus503, opLimited, opStatus500, opStatus503},
		{opHonest, at(opSlow, 9), at(opSlow, 1), at(opStall, 2)},
		{opHonest, opLess, opLess, opElsewhere, opElsewhere},
		{opHonest, opMissing, opForbidden},
		bytes.Repeat([]byte{at(opReset, 0)}, 40),
	}
	if testing.Short() {
		scripts = scripts[:2]
	}
	for _, script := range scripts {
		f.Add(script, byte(len(script)))
	}
	store, err := local.NewStore(f.TempDir())
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, script []byte, conns byte) {
		script = script[:min(len(script), 64)]
		before := runtime.NumGoroutine()
		w := &scripted{script: script}
		reg, err := testregistry.New(testregistry.Options{Behave: w.behave})
		if err != nil {
			t.Fatal(err)
		}
		defer reg.Close()
		blob := pulltest.NewBlob(windowBlob())
		reg.AddBlob(blob)
		client, err := registry.New(registry.Options{
			Hosts: hosts.Options{PlainHTTP: true}, StallTimeout: 100 * time.Millisecond, Retry: registry.Retry{Count: 3, Delay: time.Millisecond},
		})
		if err != nil {
			t.Fatal(err)
		}
		fetcher := fetch.New(client, store, nil)
		fetcher.BeginWith(2 + int(conns%(fetch.MaxConns-1)))
		ref, err := source.ParseRef(reg.Ref("team/app:1"))
		if err != nil {
			t.Fatal(err)
		}
		in, err := fetcher.Open(t.Context(), fetch.Blob{
			Ref:  ref,
			Desc: ocispec.Descriptor{MediaType: ocispec.MediaTypeImageLayer, Digest: blob.Digest, Size: blob.Size}, Kind: progress.Layer,
		})
		if err != nil {
			t.Fatal(err)
		}
		var got bytes.Buffer
		err = in.Receive(t.Context(), &got)
		judge(t, got.Bytes(), err, slices.ContainsFunc(script, func(b byte) bool { return b&15 == opCorrupt }))
		if err := errors.Join(in.Close(), store.Abort(context.WithoutCancel(t.Context()), "layer-"+blob.Digest.String()), reg.Close()); err != nil {
			t.Error(err)
		}
		if !fetcher.PiecesReturned() {
			t.Error("the memory of some pieces was not given back")
		}
		if n := w.most.Load(); n > fetch.MaxConns+1 {
			t.Errorf("got %d requests at once, want %d at most, and the first", n, fetch.MaxConns)
		}
		if n := goroutines(before); n > before {
			t.Errorf("got %d goroutines after the call, want the %d of before", n, before)
		}
	})
}

// judge compares what the consumer saw.
func judge(t *testing.T, got []byte, err error, corrupt bool) {
	t.Helper()
	switch {
	case err == nil && !bytes.Equal(got, windowBlob()):
		t.Errorf("got success and %d bytes, want the %d of the blob", len(got), windowSize)
	case err != nil && !corrupt && !bytes.HasPrefix(windowBlob(), got):
		t.Errorf("got %d bytes that are no beginning of the blob, with %v", len(got), err)
	case err != nil && !errdefs.IsDataLoss(err) && !errdefs.IsUnavailable(err) && !errdefs.IsResourceExhausted(err) &&
		!errdefs.IsInvalidArgument(err) && !errdefs.IsNotFound(err) && !errdefs.IsPermissionDenied(err):
		t.Errorf("got %v, want an error with a class", err)
	}
}

// goroutines waits for those that are about to end.
func goroutines(want int) int {
	n := runtime.NumGoroutine()
	for deadline := time.Now().Add(5 * time.Second); n > want && time.Now().Before(deadline); n = runtime.NumGoroutine() {
		time.Sleep(time.Millisecond)
	}
	return n
}

// scripted answers requests in the order of their arrival.
type scripted struct {
	script    []byte
	n         atomic.Int64
	now, most atomic.Int64
}

func (s *scripted) behave(r *http.Request) testregistry.Behaviour {
	now := s.now.Add(1)
	for most := s.most.Load(); now > most && !s.most.CompareAndSwap(most, now); most = s.most.Load() {
	}
	context.AfterFunc(r.Context(), func() { s.now.Add(-1) }) // ends with the answer
	i := s.n.Add(1) - 1
	if i >= int64(len(s.script)) {
		return testregistry.Behaviour{}
	}
	return answerOf(s.script[i])
}
