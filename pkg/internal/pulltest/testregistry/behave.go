package testregistry

import (
	"context"
	"crypto/tls"
	"net"
	"net/http"
	"time"
)

// Behave decides how a request is answered. It is called from many goroutines
// at once and sees each request before credentials are asked for.
type Behave func(*http.Request) Behaviour

// Fault is what goes wrong with the body of an answer.
type Fault string

// The faults strike when After bytes of the body are sent, and before the
// header if After is 0. A body that is shorter than After is served whole.
const (
	Honest   Fault = ""
	Truncate Fault = "truncate" // the connection closes early; over HTTP/2 the stream
	Reset    Fault = "reset"    // the connection ends with a TCP RST
	Stall    Fault = "stall"    // nothing more comes, until the client leaves
	Corrupt  Fault = "corrupt"  // the byte at After has one bit flipped
	Short    Fault = "short"    // the body ends at After, and its length says so
	Endless  Fault = "endless"  // the body is followed by zeros without end
	GoAway   Fault = "go away"  // over HTTP/2 a GOAWAY for every stream; else as Truncate
)

// Behaviour says how one request is answered. The zero value is honest. Parts
// combine: a Status with a Header and a Delay, a Fault in what Handler writes.
type Behaviour struct {
	Delay       time.Duration // before anything is answered
	Status      int           // an error with this status instead of the answer
	Redirect    string        // a redirect there, with Status or 307
	Handler     http.Handler  // answers instead of the registry
	IgnoreRange bool          // the whole body with status 200
	Chunked     bool          // no length is announced
	Header      http.Header   // replaces fields of the answer; no value removes one
	Rate        int64         // of the body, bytes a second; 0 is unlimited
	Fault       Fault
	After       int64
}

func (b Behaviour) answer(w http.ResponseWriter, req *http.Request, honest http.Handler) {
	if !pause(req.Context(), b.Delay) {
		return
	}
	if b.IgnoreRange {
		req = req.Clone(req.Context())
		req.Header.Del("Range")
	}
	fw := &faultWriter{ResponseWriter: w, Behaviour: b, req: req}
	b.handler(honest).ServeHTTP(fw, req)
	fw.finish()
}

func (b Behaviour) handler(honest http.Handler) http.Handler {
	switch {
	case b.Redirect != "":
		status := b.Status
		if status == 0 {
			status = http.StatusTemporaryRedirect
		}
		return http.RedirectHandler(b.Redirect, status)
	case b.Status != 0:
		return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			writeError(w, b.Status, "UNKNOWN", "the test asked for this")
		})
	case b.Handler != nil:
		return b.Handler
	default:
		return honest
	}
}

// pause sleeps and reports whether the client is still there.
func pause(ctx context.Context, d time.Duration) bool {
	if d <= 0 {
		return true
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// faultWriter lets an honest answer go wrong on its way.
type faultWriter struct {
	http.ResponseWriter
	Behaviour
	req     *http.Request
	started bool
	sent    int64
}

func (w *faultWriter) WriteHeader(status int) {
	if w.started {
		return
	}
	w.started = true
	if w.cuts() && w.After == 0 {
		w.strike()
	}
	for name, values := range w.Behaviour.Header {
		w.Header()[http.CanonicalHeaderKey(name)] = values
		if len(values) == 0 {
			w.Header().Del(name)
		}
	}
	if w.Fault == Short || w.Fault == Endless || w.Chunked {
		w.Header().Del("Content-Length")
	}
	w.ResponseWriter.WriteHeader(status)
	if w.Chunked {
		w.flush() // otherwise net/http counts a small body
	}
}

// Header is that of the answer, not the Behaviour's field of the same name.
func (w *faultWriter) Header() http.Header { return w.ResponseWriter.Header() }

func (w *faultWriter) cuts() bool {
	return w.Fault == Truncate || w.Fault == Reset || w.Fault == Stall || w.Fault == GoAway
}

// Write reports all of p as written even if the fault swallowed some of it:
// the answer must not notice.
func (w *faultWriter) Write(p []byte) (int, error) {
	w.WriteHeader(http.StatusOK)
	out := p
	if left := w.After - w.sent; left <= int64(len(p)) {
		out = w.reach(p, max(left, 0))
	}
	n, err := w.send(out)
	w.sent += int64(n)
	if w.cuts() && w.sent >= w.After {
		w.strike()
	}
	if err != nil {
		return n, err
	}
	return len(p), nil
}

// reach is what is sent of p when the fault's place is left bytes into it.
func (w *faultWriter) reach(p []byte, left int64) []byte {
	switch {
	case w.cuts() || w.Fault == Short:
		return p[:left]
	case w.Fault == Corrupt && w.sent <= w.After && left < int64(len(p)):
		flipped := append([]byte(nil), p...)
		flipped[left] ^= 0x20
		return flipped
	default:
		return p
	}
}

// send writes at Rate, in portions of at most a twentieth of a second.
func (w *faultWriter) send(p []byte) (int, error) {
	if w.Rate <= 0 {
		return w.ResponseWriter.Write(p)
	}
	portion, total := max(w.Rate/20, 1), 0
	for len(p) > 0 {
		n, err := w.ResponseWriter.Write(p[:min(portion, int64(len(p)))])
		total += n
		if err != nil {
			return total, err
		}
		p = p[n:]
		w.flush()
		if !pause(w.req.Context(), time.Duration(n)*time.Second/time.Duration(w.Rate)) {
			return total, context.Cause(w.req.Context())
		}
	}
	return total, nil
}

// strike ends the connection as the fault says and never returns.
func (w *faultWriter) strike() {
	if w.sent > 0 {
		w.flush()
	}
	switch w.Fault {
	case Stall:
		<-w.req.Context().Done()
	case Reset:
		reset(connOf(w.req.Context()))
	case GoAway:
		if goAway(connOf(w.req.Context())) {
			<-w.req.Context().Done() // as the client leaves
		}
	}
	panic(http.ErrAbortHandler)
}

// finish adds what comes behind the answer.
func (w *faultWriter) finish() {
	if w.Fault != Endless || w.req.Method == http.MethodHead {
		return
	}
	zeros := make([]byte, 32<<10)
	for w.req.Context().Err() == nil {
		if _, err := w.send(zeros); err != nil {
			return
		}
	}
}

// flush sends what net/http still holds. An error means that the client has
// gone, which the next write reports.
func (w *faultWriter) flush() {
	_ = http.NewResponseController(w.ResponseWriter).Flush()
}

// reset closes the connection with RST instead of FIN. Errors mean that it has
// ended already.
func reset(c net.Conn) {
	if t, ok := c.(interface{ NetConn() net.Conn }); ok { // TLS would say goodbye first
		c = t.NetConn()
	}
	if t, ok := c.(*net.TCPConn); ok {
		_ = t.SetLinger(0)
		_ = t.Close()
	}
}

// goAway tells an HTTP/2 client that none of its streams were served and the
// connection is of no more use (RFC 9113, section 6.8). It returns false if the
// client speaks another protocol, or has gone.
func goAway(c net.Conn) bool {
	t, ok := c.(*tls.Conn)
	if !ok || t.ConnectionState().NegotiatedProtocol != "h2" {
		return false
	}
	_, err := t.Write([]byte{
		0, 0, 8, 7, 0, 0, 0, 0, 0, // a frame of 8 bytes, GOAWAY, no flags, no stream
		0, 0, 0, 0, 0, 0, 0, 0, // last stream 0, NO_ERROR
	})
	return err == nil
}
