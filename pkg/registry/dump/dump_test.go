package dump_test

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"net/http/httptrace"
	"net/url"
	"strings"
	"testing"

	"github.com/containerd-pull/containerd-pull/pkg/registry/dump"
)

// TestWriter shows an exchange without what could be a secret: headers that are not
// known to hold none, queries, and every secret of the masks, wherever it stands.
func TestWriter(t *testing.T) {
	var out strings.Builder
	masks := &dump.Masks{}
	masks.Add("canary-token", "")
	masks.AddHeader("Bearer canary-header")
	d := dump.New(&out, masks)

	u, err := url.Parse("https://r.example.com/v2/a/manifests/1?sig=canary-query")
	if err != nil {
		t.Fatal(err)
	}
	req := &http.Request{Method: http.MethodGet, URL: u, Host: u.Host, Header: http.Header{"Authorization": {"Bearer canary-token"}, "Accept": {"text/plain"}}}
	d.Request(req)
	d.Response(&http.Response{Status: "401 canary-header\x1b[2J", Request: req, Header: http.Header{
		"Www-Authenticate": {`Bearer realm="canary-realm"`}, "Location": {"https://cdn.example.com/x?sig=canary-query"}, "X-Echo": {"canary-echo"},
	}})
	d.Failure(req, errors.New("refused canary-token"))
	d.Document([]byte(`{"a":"canary-token"}`))
	for _, want := range []string{"> GET ", "r.example.com", "Accept: text/plain", "< 401", "Bearer [masked]", "cdn.example.com", "refused"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("got\n%s\nwant %q in it", out.String(), want)
		}
	}
	if strings.Contains(out.String(), "canary") || strings.Contains(out.String(), "\x1b") {
		t.Errorf("got a secret, or a control character, in\n%s", out.String())
	}
}

// TestConnection traces a connection to its first byte, and a name that is none.
func TestConnection(t *testing.T) {
	srv := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	defer srv.Close()
	var out strings.Builder
	d := dump.New(&out, &dump.Masks{})
	for _, target := range []string{srv.URL, "http://name.invalid"} {
		ctx := httptrace.WithClientTrace(t.Context(), d.Connection("r.example.com"))
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, target, nil)
		if err != nil {
			t.Fatal(err)
		}
		resp, err := (&http.Transport{}).RoundTrip(req)
		if err == nil {
			resp.Body.Close()
		}
	}
	for _, want := range []string{"* r.example.com: connecting to ", "connected to ", ": ok", "first byte of the answer", "looking up name.invalid"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("got\n%s\nwant %q in it", out.String(), want)
		}
	}
}

// TestNoWriter: without a place to write to, nothing is done.
func TestNoWriter(t *testing.T) {
	d := dump.New(nil, &dump.Masks{})
	d.Request(nil)
	d.Response(nil)
	d.Failure(nil, nil)
	d.Document(nil)
	if d.Connection("r.example.com") != nil {
		t.Error("got hooks, want none")
	}
}
