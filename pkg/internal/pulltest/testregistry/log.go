package testregistry

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/opencontainers/go-digest"
)

// Request is one line of a registry's log. Status and Bytes, of the body, may
// still change while the answer is under way.
type Request struct {
	Time   time.Time
	Method string
	Host   string
	Path   string
	Query  string
	Remote string // address of the client's socket: one for each connection
	Header http.Header
	Status int
	Bytes  int64
}

// Kind is what was asked for: blobs, manifests, tags, referrers, or empty.
func (r Request) Kind() string { kind, _ := target(r.Path); return kind }

// Target is the digest or tag that was asked for.
func (r Request) Target() string { _, target := target(r.Path); return target }

type requestLog struct {
	mu       sync.Mutex
	requests []*Request
	arrived  chan struct{} // closed by the next request; nil while none is awaited
}

func (l *requestLog) begin(req *http.Request) *Request {
	entry := &Request{
		Time: time.Now(), Method: req.Method, Host: req.Host, Path: req.URL.Path, Query: req.URL.RawQuery,
		Remote: req.RemoteAddr, Header: req.Header.Clone(),
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.requests = append(l.requests, entry)
	if l.arrived != nil {
		close(l.arrived)
		l.arrived = nil
	}
	return entry
}

// next gives the number of requests so far, and what the next one closes.
func (l *requestLog) next() (n int, arrived <-chan struct{}) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.arrived == nil {
		l.arrived = make(chan struct{})
	}
	return len(l.requests), l.arrived
}

func (l *requestLog) update(change func()) {
	l.mu.Lock()
	defer l.mu.Unlock()
	change()
}

func (l *requestLog) snapshot() []Request {
	l.mu.Lock()
	defer l.mu.Unlock()
	requests := make([]Request, 0, len(l.requests))
	for _, r := range l.requests {
		requests = append(requests, *r)
	}
	return requests
}

// Requests lists what the registry was asked since the start or ResetLog, in
// order of arrival.
func (r *Registry) Requests() []Request { return r.log.snapshot() }

// Await waits until the log holds n requests, whose answers may be under way.
func (r *Registry) Await(ctx context.Context, n int) error {
	for {
		have, arrived := r.log.next()
		if have >= n {
			return nil
		}
		select {
		case <-arrived:
		case <-ctx.Done():
			return fmt.Errorf("waiting for request %d: %w", n, context.Cause(ctx))
		}
	}
}

// ResetLog forgets the requests so far.
func (r *Registry) ResetLog() {
	r.log.update(func() { r.log.requests = nil })
}

// BlobGets counts the GETs of each blob, those refused and those of ranges
// included.
func (r *Registry) BlobGets() map[digest.Digest]int {
	gets := map[digest.Digest]int{}
	for _, req := range r.blobRequests() {
		gets[digest.Digest(req.Target())]++
	}
	return gets
}

// BlobBytes counts the bytes of blobs that were served.
func (r *Registry) BlobBytes() int64 {
	var n int64
	for _, req := range r.blobRequests() {
		if req.Status == http.StatusOK || req.Status == http.StatusPartialContent {
			n += req.Bytes
		}
	}
	return n
}

func (r *Registry) blobRequests() []Request {
	return slices.DeleteFunc(r.Requests(), func(req Request) bool {
		return req.Method != http.MethodGet || req.Kind() != "blobs"
	})
}

// countingWriter keeps the log true while the answer is written.
type countingWriter struct {
	http.ResponseWriter
	log   *requestLog
	entry *Request
}

func (w *countingWriter) WriteHeader(status int) {
	w.log.update(func() { w.entry.Status = status })
	w.ResponseWriter.WriteHeader(status)
}

// Write counts before it sends: a client that has read everything may look at
// the log before this goroutine runs again. An answer to HEAD has no body, which
// net/http would swallow however long it is.
func (w *countingWriter) Write(p []byte) (int, error) {
	if w.entry.Method == http.MethodHead {
		return 0, http.ErrBodyNotAllowed
	}
	w.log.update(func() {
		w.entry.Bytes += int64(len(p))
		if w.entry.Status == 0 {
			w.entry.Status = http.StatusOK
		}
	})
	n, err := w.ResponseWriter.Write(p)
	if n < len(p) {
		w.log.update(func() { w.entry.Bytes -= int64(len(p) - n) })
	}
	return n, err
}

// Unwrap gives http.ResponseController the writer below.
func (w *countingWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }
