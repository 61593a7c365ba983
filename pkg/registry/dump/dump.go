// Package dump writes what is sent to registries and what comes back, for a person who
// looks for a mistake: without secrets and the bodies of blobs.
//
// It decides nothing and changes no message. Start reading at Writer; Masks holds the
// secrets that are never shown.
package dump

import (
	"crypto/tls"
	"encoding/base64"
	"fmt"
	"io"
	"net/http"
	"net/http/httptrace"
	"net/url"
	"slices"
	"strings"
	"sync"

	"github.com/containerd-pull/containerd-pull/pkg/printable"
)

// Writer writes the messages to and from the hosts, one at a time. A nil Writer
// writes nothing.
type Writer struct {
	mu    sync.Mutex
	w     io.Writer
	masks *Masks
}

// New returns a Writer to w, nil for nil, that shows no secret of m.
func New(w io.Writer, m *Masks) *Writer {
	if w == nil {
		return nil
	}
	return &Writer{w: w, masks: m}
}

const masked = "[masked]"

// write writes text in one piece. A dump that cannot be written is no reason to
// fail a pull.
func (d *Writer) write(text string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	_, _ = io.WriteString(d.w, d.masks.Hide(text))
}

// Request shows a request before it is sent.
func (d *Writer) Request(req *http.Request) {
	if d == nil {
		return
	}
	d.write(fmt.Sprintf("> %s %s\n%s\n", req.Method, plainURL(req.URL), headerText("> ", req.Header)))
}

// Response shows status and headers of an answer.
func (d *Writer) Response(resp *http.Response) {
	if d == nil {
		return
	}
	d.write(fmt.Sprintf("< %s %s\n%s\n", printable.Line(resp.Status), plainURL(resp.Request.URL), headerText("< ", resp.Header)))
}

// Failure shows why there was no answer.
func (d *Writer) Failure(req *http.Request, err error) {
	if d == nil {
		return
	}
	d.write(fmt.Sprintf("< %s: %v\n\n", plainURL(req.URL), err))
}

// Document shows a manifest; bodies of blobs and of token servers are never
// shown.
func (d *Writer) Document(body []byte) {
	if d == nil {
		return
	}
	d.write(printable.Text(string(body)) + "\n\n")
}

// plainURL leaves out user and query, which may be secrets. The namespace that
// a mirror is told is none.
func plainURL(u *url.URL) string {
	text := u.Scheme + "://" + u.Host + u.EscapedPath()
	query := u.Query()
	if ns := query.Get("ns"); ns != "" && len(query) == 1 {
		return text + "?ns=" + url.QueryEscape(ns)
	}
	if u.RawQuery != "" {
		return text + "?" + masked
	}
	return text
}

// headerText shows the values of headers that are known to be harmless and no
// others, because any header may be the one that carries a secret.
func headerText(prefix string, header http.Header) string {
	var b strings.Builder
	names := make([]string, 0, len(header))
	for name := range header {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		for _, value := range header[name] {
			fmt.Fprintf(&b, "%s%s: %s\n", prefix, printable.Line(name), printable.Line(shownValue(name, value)))
		}
	}
	return b.String()
}

func shownValue(name, value string) string {
	switch http.CanonicalHeaderKey(name) {
	case "Accept", "Accept-Encoding", "Accept-Ranges", "Age", "Cache-Control", "Connection",
		"Content-Encoding", "Content-Length", "Content-Range", "Content-Type", "Date",
		"Docker-Content-Digest", "Docker-Distribution-Api-Version", "Etag", "Last-Modified",
		"Range", "Ratelimit-Limit", "Ratelimit-Remaining", "Retry-After", "Server",
		"Transfer-Encoding", "User-Agent", "Vary", "Via":
		return value
	case "Location":
		if u, err := url.Parse(value); err == nil {
			return plainURL(u)
		}
	case "Www-Authenticate":
		scheme, _, _ := strings.Cut(value, " ")
		return scheme + " " + masked
	}
	return masked
}

// Connection returns hooks that trace the connections to host, nil for a nil
// dump.
func (d *Writer) Connection(host string) *httptrace.ClientTrace {
	if d == nil {
		return nil
	}
	say := func(format string, args ...any) {
		d.write("* " + host + ": " + fmt.Sprintf(format, args...) + "\n")
	}
	return &httptrace.ClientTrace{
		DNSStart:          func(i httptrace.DNSStartInfo) { say("looking up %s", i.Host) },
		DNSDone:           func(i httptrace.DNSDoneInfo) { say("looked up: %v, %s", i.Addrs, outcome(i.Err)) },
		ConnectStart:      func(_, addr string) { say("connecting to %s", addr) },
		ConnectDone:       func(_, addr string, err error) { say("connected to %s: %s", addr, outcome(err)) },
		TLSHandshakeStart: func() { say("TLS handshake") },
		TLSHandshakeDone: func(s tls.ConnectionState, err error) {
			say("TLS handshake: %s %s", tls.VersionName(s.Version), outcome(err))
		},
		GotConn:              func(i httptrace.GotConnInfo) { say("connection ready, reused: %v, idle for %s", i.Reused, i.IdleTime) },
		WroteRequest:         func(i httptrace.WroteRequestInfo) { say("request sent: %s", outcome(i.Err)) },
		GotFirstResponseByte: func() { say("first byte of the answer") },
	}
}

func outcome(err error) string {
	if err == nil {
		return "ok"
	}
	return err.Error()
}

// Masks are the secrets of this run. They are taken out of what is shown even
// where no secret should be, for a host may echo what it was sent.
type Masks struct {
	mu      sync.RWMutex
	secrets []string
}

// shortestSecret, in bytes: shorter secrets are not masked, or nearly all output
// would be.
const shortestSecret = 4

// Add notes secrets, those that are long enough to be told from other text.
func (m *Masks) Add(secrets ...string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, s := range secrets {
		if len(s) >= shortestSecret && !slices.Contains(m.secrets, s) {
			m.secrets = append(m.secrets, s)
		}
	}
	// A secret may be a part of another, whose rest would be left to see.
	slices.SortStableFunc(m.secrets, func(a, b string) int { return len(b) - len(a) })
}

// AddHeader adds the value of a header, and what follows the scheme of one like
// Authorization: with Basic, the password in it.
func (m *Masks) AddHeader(value string) {
	m.Add(value)
	scheme, rest, _ := strings.Cut(value, " ")
	m.Add(rest)
	if text, err := base64.StdEncoding.DecodeString(rest); err == nil && strings.EqualFold(scheme, "Basic") {
		_, password, _ := strings.Cut(string(text), ":")
		m.Add(password)
	}
}

// Hide takes the secrets out of text.
func (m *Masks) Hide(text string) string {
	m.mu.RLock()
	defer m.mu.RUnlock()
	for _, s := range m.secrets {
		text = strings.ReplaceAll(text, s, masked)
	}
	return text
}
