package testregistry_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/containerd-pull/containerd-pull/pkg/internal/pulltest"
	"github.com/containerd-pull/containerd-pull/pkg/internal/pulltest/testregistry"
)

// small starts a registry with the small image in it and names its first layer.
func small(t *testing.T, o testregistry.Options) (*testregistry.Registry, pulltest.Layer) {
	t.Helper()
	r := testregistry.Start(t, o)
	img := pulltest.SmallImage(pulltest.Gzip)
	testregistry.Push(t, r, "team/small:1", img)
	return r, img.Layers[0]
}

type answer struct {
	status int
	header http.Header
	body   []byte
	err    error // of reading the body
}

func get(t *testing.T, client *http.Client, url string, header ...string) answer {
	t.Helper()
	a, err := try(t, client, url, header...)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func try(t *testing.T, client *http.Client, url string, header ...string) (answer, error) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	resp, err := client.Do(req)
	if err != nil {
		return answer{}, err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	return answer{resp.StatusCode, resp.Header, body, err}, nil
}

func blobURL(r *testregistry.Registry, l pulltest.Layer) string {
	return r.URL() + "/v2/team/small/blobs/" + l.Digest.String()
}

func TestRegistryServesRanges(t *testing.T) {
	r, layer := small(t, testregistry.Options{})
	want, err := layer.Bytes()
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name, header string
		status       int
		body         []byte
	}{
		{"whole", "", http.StatusOK, want},
		{"closed", "bytes=10-19", http.StatusPartialContent, want[10:20]},
		{"open", "bytes=10-", http.StatusPartialContent, want[10:]},
		{"suffix", "bytes=-7", http.StatusPartialContent, want[len(want)-7:]},
	} {
		t.Run(c.name, func(t *testing.T) {
			header := []string{}
			if c.header != "" {
				header = append(header, "Range", c.header)
			}
			got := get(t, r.Client(), blobURL(r, layer), header...)
			if got.status != c.status || !bytes.Equal(got.body, c.body) {
				t.Errorf("got status %d and %d bytes, want %d and %d", got.status, len(got.body), c.status, len(c.body))
			}
		})
	}
	if got := get(t, r.Client(), blobURL(r, layer), "Range", "bytes=99999999-"); got.status != http.StatusRequestedRangeNotSatisfiable {
		t.Errorf("got status %d for a range behind the end, want 416", got.status)
	}
}

func TestRegistryCountsWhatItServes(t *testing.T) {
	r, layer := small(t, testregistry.Options{})
	get(t, r.Client(), r.URL()+"/v2/team/small/manifests/1", "X-Test", "yes")
	get(t, r.Client(), blobURL(r, layer))
	get(t, r.Client(), blobURL(r, layer), "Range", "bytes=0-9")
	if got, want := r.BlobGets()[layer.Digest], 2; got != want {
		t.Errorf("got %d GETs of the blob, want %d", got, want)
	}
	if got, want := r.BlobBytes(), layer.Size+10; got != want {
		t.Errorf("got %d bytes of blobs, want %d", got, want)
	}
	requests := r.Requests()
	if got := requests[0]; got.Kind() != "manifests" || got.Target() != "1" || got.Header.Get("X-Test") != "yes" || got.Status != 200 {
		t.Errorf("got %+v, want a GET of manifest 1 with its header and status 200", got)
	}
	r.ResetLog()
	if got := r.Requests(); len(got) != 0 {
		t.Errorf("got %d requests after ResetLog, want none", len(got))
	}
}

func TestAwait(t *testing.T) {
	r, layer := small(t, testregistry.Options{})
	for n := range 3 {
		go func() {
			if resp, err := r.Client().Get(blobURL(r, layer)); err == nil {
				resp.Body.Close()
			}
		}()
		if err := r.Await(t.Context(), n+1); err != nil || len(r.Requests()) != n+1 {
			t.Errorf("got %d requests and %v, want %d", len(r.Requests()), err, n+1)
		}
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if err := r.Await(ended, 4); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v for a request that does not come, want the context's error", err)
	}
}

func TestMirrorHasItsOwnAddressAndLog(t *testing.T) {
	r, layer := small(t, testregistry.Options{})
	m := testregistry.StartMirror(t, r, testregistry.Options{Addr: "127.0.0.2:0"})
	if !strings.HasPrefix(m.Host(), "127.0.0.2:") {
		t.Errorf("got host %s, want one at 127.0.0.2", m.Host())
	}
	get(t, m.Client(), blobURL(m, layer))
	if len(m.BlobGets()) != 1 || len(r.BlobGets()) != 0 {
		t.Errorf("got %v and %v, want the GET at the mirror alone", m.BlobGets(), r.BlobGets())
	}
}

func TestRegistryDiesAndReturns(t *testing.T) {
	r, layer := small(t, testregistry.Options{})
	if err := r.Stop(); err != nil {
		t.Fatal(err)
	}
	if _, err := try(t, r.Client(), blobURL(r, layer)); !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("got %v from a stopped registry, want connection refused", err)
	}
	if err := r.Start(); err != nil {
		t.Fatal(err)
	}
	if got := get(t, r.Client(), blobURL(r, layer)); int64(len(got.body)) != layer.Size {
		t.Errorf("got %d bytes after the return, want %d", len(got.body), layer.Size)
	}
}

func TestRegistryTLS(t *testing.T) {
	r, layer := small(t, testregistry.Options{ClientCert: true})
	if _, err := try(t, http.DefaultClient, blobURL(r, layer)); err == nil {
		t.Error("got an answer without trusting the CA, want an error")
	}
	if got := get(t, r.Client(), blobURL(r, layer)); got.status != http.StatusOK {
		t.Errorf("got status %d with the client certificate, want 200", got.status)
	}
	bare := r.Client()
	bare.Transport.(*http.Transport).TLSClientConfig.Certificates = nil
	if _, err := try(t, bare, blobURL(r, layer)); err == nil {
		t.Error("got an answer without a client certificate, want an error")
	}
	cert, key, err := r.ClientPair()
	if err != nil || !bytes.Contains(cert, []byte("CERTIFICATE")) || !bytes.Contains(key, []byte("PRIVATE KEY")) {
		t.Errorf("got %q, %q, %v, want PEM", cert, key, err)
	}
	if !bytes.Contains(r.CA(), []byte("CERTIFICATE")) {
		t.Errorf("got CA %q, want PEM", r.CA())
	}
}

func TestBehaviours(t *testing.T) {
	r, layer := small(t, testregistry.Options{})
	want, err := layer.Bytes()
	if err != nil {
		t.Fatal(err)
	}
	corrupt := bytes.Clone(want)
	corrupt[50] ^= 0x20
	isEOF := func(err error) bool { return errors.Is(err, io.ErrUnexpectedEOF) }
	isReset := func(err error) bool { return errors.Is(err, syscall.ECONNRESET) }
	none := func(err error) bool { return err == nil }
	for _, c := range []struct {
		name   string
		do     testregistry.Behaviour
		header []string
		status int
		body   []byte
		err    func(error) bool
	}{
		{"honest", testregistry.Behaviour{}, nil, 200, want, none},
		{"truncate", testregistry.Behaviour{Fault: testregistry.Truncate, After: 100}, nil, 200, want[:100], isEOF},
		{"reset", testregistry.Behaviour{Fault: testregistry.Reset, After: 100}, nil, 200, nil, isReset},
		{"corrupt", testregistry.Behaviour{Fault: testregistry.Corrupt, After: 50}, nil, 200, corrupt, none},
		{"short", testregistry.Behaviour{Fault: testregistry.Short, After: 60}, nil, 200, want[:60], none},
		{"ignored range", testregistry.Behaviour{IgnoreRange: true}, []string{"Range", "bytes=10-"}, 200, want, none},
	} {
		t.Run(c.name, func(t *testing.T) {
			r.SetBehave(func(*http.Request) testregistry.Behaviour { return c.do })
			got := get(t, r.Client(), blobURL(r, layer), c.header...)
			if got.status != c.status || !c.err(got.err) {
				t.Errorf("got status %d and error %v, want status %d and another error", got.status, got.err, c.status)
			}
			if c.body != nil && !bytes.Equal(got.body, c.body) {
				t.Errorf("got another body: %d bytes, want %d", len(got.body), len(c.body))
			}
		})
	}
}

func TestDelayAndRateTakeTime(t *testing.T) {
	r, layer := small(t, testregistry.Options{})
	for name, do := range map[string]testregistry.Behaviour{
		"delay": {Delay: 150 * time.Millisecond},
		"rate":  {Rate: layer.Size * 5}, // a fifth of a second for the whole
	} {
		r.SetBehave(func(*http.Request) testregistry.Behaviour { return do })
		start := time.Now()
		got := get(t, r.Client(), blobURL(r, layer))
		if took := time.Since(start); int64(len(got.body)) != layer.Size || took < 150*time.Millisecond {
			t.Errorf("got %d bytes in %s with a %s, want %d in at least 150 ms", len(got.body), took, name, layer.Size)
		}
	}
}

func TestBehavioursBeforeTheHeader(t *testing.T) {
	r, layer := small(t, testregistry.Options{})
	for fault, want := range map[testregistry.Fault]error{
		testregistry.Truncate: io.EOF,
		testregistry.Reset:    syscall.ECONNRESET,
	} {
		r.SetBehave(func(*http.Request) testregistry.Behaviour { return testregistry.Behaviour{Fault: fault} })
		if _, err := try(t, r.Client(), blobURL(r, layer)); !errors.Is(err, want) {
			t.Errorf("got %v from %s, want %v", err, fault, want)
		}
	}
}

func TestResetEndsTheConnectionUnderTLS(t *testing.T) {
	for _, http2 := range []bool{false, true} {
		r, layer := small(t, testregistry.Options{TLS: true})
		client := r.Client()
		client.Transport.(*http.Transport).ForceAttemptHTTP2 = http2
		get(t, client, blobURL(r, layer))
		r.SetBehave(func(*http.Request) testregistry.Behaviour {
			return testregistry.Behaviour{Fault: testregistry.Reset, After: 10}
		})
		if got := get(t, client, blobURL(r, layer)); !errors.Is(got.err, syscall.ECONNRESET) {
			t.Errorf("got %v with HTTP/2 %t, want connection reset", got.err, http2)
		}
	}
}

func TestRegistryServesDocumentsThatLie(t *testing.T) {
	r := testregistry.Start(t, testregistry.Options{})
	orphan := pulltest.MultiPlatform(pulltest.Gzip)
	orphan.Children = nil
	for name, img := range map[string]*pulltest.Image{
		"index without its children": orphan,
		"index that is none":         pulltest.RawImage(ocispec.MediaTypeImageIndex, []byte("[]")),
		"manifest of another type":   pulltest.RawImage("text/html", []byte("<html>")),
	} {
		testregistry.Push(t, r, "team/liar:1", img)
		got := get(t, r.Client(), r.URL()+"/v2/team/liar/manifests/1")
		if got.header.Get("Content-Type") != img.Desc.MediaType || !bytes.Equal(got.body, img.Raw) {
			t.Errorf("got %q of type %s for an %s, want it as it was pushed", got.body, got.header.Get("Content-Type"), name)
		}
	}
}

func TestStallSendsNothingMore(t *testing.T) {
	r, layer := small(t, testregistry.Options{Behave: func(*http.Request) testregistry.Behaviour {
		return testregistry.Behaviour{Fault: testregistry.Stall, After: 40}
	}})
	client := r.Client()
	client.Timeout = 200 * time.Millisecond
	got := get(t, client, blobURL(r, layer))
	var timeout interface{ Timeout() bool }
	if len(got.body) != 40 || !errors.As(got.err, &timeout) || !timeout.Timeout() {
		t.Errorf("got %d bytes and %v, want 40 and a time-out", len(got.body), got.err)
	}
}

func TestEndlessBodyHasNoLength(t *testing.T) {
	r, layer := small(t, testregistry.Options{Behave: func(*http.Request) testregistry.Behaviour {
		return testregistry.Behaviour{Fault: testregistry.Endless}
	}})
	resp, err := r.Client().Get(blobURL(r, layer))
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	n, err := io.CopyN(io.Discard, resp.Body, layer.Size+1<<20)
	if err != nil || resp.ContentLength != -1 {
		t.Errorf("got %d bytes, length %d and %v, want more than the blob and no length", n, resp.ContentLength, err)
	}
}

func TestStatusHeaderAndRedirect(t *testing.T) {
	r, layer := small(t, testregistry.Options{})
	r.SetBehave(func(*http.Request) testregistry.Behaviour {
		return testregistry.Behaviour{Status: 429, Header: http.Header{"Retry-After": {"2"}}}
	})
	if got := get(t, r.Client(), blobURL(r, layer)); got.status != 429 || got.header.Get("Retry-After") != "2" {
		t.Errorf("got status %d and header %v, want 429 with Retry-After", got.status, got.header)
	}
	r.SetBehave(func(*http.Request) testregistry.Behaviour {
		return testregistry.Behaviour{Header: http.Header{"Content-Type": {"text/html"}, "Docker-Content-Digest": nil}}
	})
	got := get(t, r.Client(), r.URL()+"/v2/team/small/manifests/1").header
	if got.Get("Content-Type") != "text/html" || got.Get("Docker-Content-Digest") != "" {
		t.Errorf("got header %v, want a false type and no digest", got)
	}
	other := testregistry.StartMirror(t, r, testregistry.Options{Addr: "127.0.0.2:0"})
	r.SetBehave(func(*http.Request) testregistry.Behaviour {
		return testregistry.Behaviour{Redirect: blobURL(other, layer)}
	})
	get(t, r.Client(), blobURL(r, layer))
	if got := other.BlobGets()[layer.Digest]; got != 1 {
		t.Errorf("got %d GETs at the redirect's target, want 1", got)
	}
}

func TestHandlerAnswersInstead(t *testing.T) {
	r, layer := small(t, testregistry.Options{Behave: func(*http.Request) testregistry.Behaviour {
		return testregistry.Behaviour{Handler: http.NotFoundHandler()}
	}})
	if got := get(t, r.Client(), blobURL(r, layer)); got.status != http.StatusNotFound {
		t.Errorf("got status %d, want the handler's 404", got.status)
	}
}

func TestPushOverHTTP(t *testing.T) {
	r := testregistry.Start(t, testregistry.Options{TLS: true})
	img := pulltest.MultiPlatform(pulltest.Zstd)
	if err := testregistry.PushHTTP(t.Context(), r.Client(), r.URL(), "team/multi:1", img); err != nil {
		t.Fatal(err)
	}
	got := get(t, r.Client(), r.URL()+"/v2/team/multi/manifests/1")
	if diff := cmp.Diff(string(img.Raw), string(got.body)); diff != "" {
		t.Errorf("index (-want +got):\n%s", diff)
	}
	for _, b := range img.Blobs() {
		got := get(t, r.Client(), r.URL()+"/v2/team/multi/blobs/"+b.Digest.String())
		data, err := b.Bytes()
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(got.body, data) {
			t.Errorf("got another blob %s than pushed", b.Digest)
		}
	}
}

// TestGoAway reaches clients of both protocols in the middle of a body.
func TestGoAway(t *testing.T) {
	for _, http2 := range []bool{false, true} {
		r, layer := small(t, testregistry.Options{TLS: true})
		client := r.Client()
		client.Transport.(*http.Transport).ForceAttemptHTTP2 = http2
		r.SetBehave(testregistry.Always(testregistry.Blobs, testregistry.Behaviour{Fault: testregistry.GoAway, After: 10}))
		got := get(t, client, blobURL(r, layer))
		if got.err == nil || len(got.body) > 10 || http2 && !strings.Contains(got.err.Error(), "GOAWAY") {
			t.Errorf("got %d bytes and %v with HTTP/2 %t, want 10 at most and to be sent away", len(got.body), got.err, http2)
		}
	}
}

func TestChunkedHasNoLength(t *testing.T) {
	r, _ := small(t, testregistry.Options{Behave: testregistry.Always(testregistry.Everything, testregistry.Behaviour{Chunked: true})})
	got := get(t, r.Client(), r.URL()+"/v2/team/small/manifests/1")
	if got.status != http.StatusOK || got.header.Get("Content-Length") != "" || len(got.body) == 0 {
		t.Errorf("got status %d, header %v and %d bytes, want a body without a length", got.status, got.header, len(got.body))
	}
}

// TestOutages are over when the registry starts again.
func TestOutages(t *testing.T) {
	r, layer := small(t, testregistry.Options{})
	for name, begin := range map[string]func() error{"deaf": r.Deafen, "vanished": r.Vanish} {
		if err := begin(); err != nil {
			t.Fatal(err)
		}
		client := &http.Client{Timeout: 200 * time.Millisecond, Transport: &http.Transport{DialContext: (&net.Dialer{Timeout: 100 * time.Millisecond}).DialContext}}
		_, err := try(t, client, blobURL(r, layer))
		op, dialing := errors.AsType[*net.OpError](err)
		if timeout, ok := errors.AsType[net.Error](err); !ok || !timeout.Timeout() || (name == "vanished") != (dialing && op.Op == "dial") {
			t.Errorf("got %v from a registry that is %s, want a time-out, of the connect if it vanished", err, name)
		}
		if err := r.Start(); err != nil {
			t.Fatal(err)
		}
		if got := get(t, r.Client(), blobURL(r, layer)); got.status != http.StatusOK {
			t.Errorf("got status %d after the outage, want 200", got.status)
		}
	}
}

func TestScripts(t *testing.T) {
	r, layer := small(t, testregistry.Options{})
	down := testregistry.Behaviour{Status: http.StatusServiceUnavailable}
	r.SetBehave(testregistry.Times(2, testregistry.Method(http.MethodGet, testregistry.Object(layer.Digest)), down))
	var got []int
	get(t, r.Client(), r.URL()+"/v2/team/small/manifests/1") // does not count
	for range 3 {
		got = append(got, get(t, r.Client(), blobURL(r, layer)).status)
	}
	if diff := cmp.Diff([]int{503, 503, 200}, got); diff != "" {
		t.Errorf("statuses (-want +got):\n%s", diff)
	}
}

// TestFloods end when the client leaves, or at their size.
func TestFloods(t *testing.T) {
	r, layer := small(t, testregistry.Options{})
	r.SetBehave(testregistry.Always(testregistry.Blobs, testregistry.Behaviour{Handler: testregistry.Bomb()}))
	resp, err := r.Client().Get(blobURL(r, layer)) // inflates
	if err != nil {
		t.Fatal(err)
	}
	if n, err := io.CopyN(io.Discard, resp.Body, 8<<20); err != nil || !resp.Uncompressed || resp.Body.Close() != nil {
		t.Errorf("got %d bytes and %v, want 8 MB out of a coded body", n, err)
	}
	r.SetBehave(testregistry.Always(testregistry.Manifests, testregistry.Behaviour{Handler: testregistry.Flood("text/x", 1<<20)}))
	got := get(t, r.Client(), r.URL()+"/v2/team/small/manifests/1")
	if len(got.body) < 1<<20 || got.header.Get("Content-Length") != "" {
		t.Errorf("got %d bytes and header %v, want a megabyte without a length", len(got.body), got.header)
	}
}

func TestRegistryLacksWhatTheImageLeavesOut(t *testing.T) {
	missing := pulltest.MissingLayer(1)
	r := testregistry.Start(t, testregistry.Options{})
	testregistry.Push(t, r, "team/small:1", missing)
	for i, want := range []int{http.StatusOK, http.StatusNotFound, http.StatusOK} {
		if got := get(t, r.Client(), blobURL(r, missing.Layers[i])); got.status != want {
			t.Errorf("got status %d for layer %d, want %d", got.status, i, want)
		}
	}
}
