package registry_test

import (
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/containerd/errdefs"
	"github.com/google/go-cmp/cmp"
	"github.com/klauspost/compress/zstd"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/containerd-pull/containerd-pull/pkg/registry"
	"github.com/containerd-pull/containerd-pull/pkg/registry/credential"
	"github.com/containerd-pull/containerd-pull/pkg/source"
)

const layerType = ocispec.MediaTypeImageLayerGzip

// blobBytes are bytes whose place can be told from their value.
func blobBytes(n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(i ^ i>>8 ^ i>>16)
	}
	return b
}

// content serves blob like a good registry: with ranges.
func content(blob []byte) http.HandlerFunc {
	return func(w http.ResponseWriter, req *http.Request) {
		w.Header().Set("Content-Type", "application/octet-stream")
		http.ServeContent(w, req, "", time.Time{}, bytes.NewReader(blob))
	}
}

// whole serves blob without ranges.
func whole(blob []byte) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Length", fmt.Sprint(len(blob)))
		w.Write(blob)
	}
}

// read opens a part of blob and reads it to its end.
func read(t *testing.T, r *registry.Registry, ref source.Ref, blob []byte, rng source.Range) ([]byte, *source.Body, error) {
	t.Helper()
	b, err := r.Open(t.Context(), ref, describe(layerType, blob), rng)
	if err != nil {
		return nil, nil, err
	}
	got, err := io.ReadAll(b)
	return got, b, errors.Join(err, b.Close())
}

func TestOpen(t *testing.T) {
	blob := blobBytes(100_000)
	tests := []struct {
		name    string
		rng     source.Range
		handler http.HandlerFunc
		header  string // Range that is asked for
		ranged  bool
	}{
		{"whole", source.Range{}, content(blob), "", true},
		{"whole without ranges", source.Range{}, whole(blob), "", false},
		{"length of all", source.Range{Length: 100_000}, content(blob), "", true},
		{"rest", source.Range{Offset: 70_000}, content(blob), "bytes=70000-", true},
		{"part", source.Range{Offset: 10, Length: 20}, content(blob), "bytes=10-29", true},
		{"beginning", source.Range{Length: 50_000}, content(blob), "bytes=0-49999", true},
		{"last byte", source.Range{Offset: 99_999, Length: 1}, content(blob), "bytes=99999-99999", true},
		{"ignored rest", source.Range{Offset: 70_000}, whole(blob), "bytes=70000-", false},
		{"ignored part", source.Range{Offset: 10, Length: 20}, whole(blob), "bytes=10-29", false},
		{"ignored beginning", source.Range{Length: 50_000}, whole(blob), "bytes=0-49999", false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			srv := serve(t, tt.handler)
			got, b, err := read(t, open(t, registry.Options{}), srv.ref(t, "a/b"), blob, tt.rng)
			if err != nil {
				t.Fatal(err)
			}
			end := len(blob)
			if tt.rng.Length > 0 {
				end = int(tt.rng.Offset + tt.rng.Length)
			}
			if !bytes.Equal(got, blob[tt.rng.Offset:end]) {
				t.Errorf("got %d other bytes, want %d from %d", len(got), end-int(tt.rng.Offset), tt.rng.Offset)
			}
			if b.Ranged != tt.ranged || b.Host != srv.host() {
				t.Errorf("got ranged %v from %s, want %v from %s", b.Ranged, b.Host, tt.ranged, srv.host())
			}
			if h := srv.last(t).Header.Get("Range"); h != tt.header {
				t.Errorf("got Range %q, want %q", h, tt.header)
			}
			if diff := cmp.Diff([]string{"GET /v2/a/b/blobs/" + digest.FromBytes(blob).String()}, srv.seen()); diff != "" {
				t.Errorf("requests (-want +got):\n%s", diff)
			}
		})
	}
}

func TestOpenEmptyBlob(t *testing.T) {
	srv := serve(t, whole(nil))
	got, _, err := read(t, open(t, registry.Options{}), srv.ref(t, "a"), nil, source.Range{})
	if err != nil || len(got) != 0 {
		t.Errorf("got %d bytes, %v, want none", len(got), err)
	}
}

func TestOpenRefusesNonsense(t *testing.T) {
	srv := serve(t, whole([]byte("abc")))
	r := open(t, registry.Options{})
	good := describe(layerType, []byte("abc"))
	bad := good
	bad.Digest = "sha256:../../../etc/passwd"
	negative := good
	negative.Size = -1
	for _, tt := range []struct {
		desc ocispec.Descriptor
		rng  source.Range
	}{
		{bad, source.Range{}}, {negative, source.Range{}}, {good, source.Range{Offset: -1}},
		{good, source.Range{Offset: 3}}, {good, source.Range{Offset: 1, Length: 3}}, {good, source.Range{Length: -1}},
		{good, source.Range{Offset: 1, Length: 1<<63 - 1}},
	} {
		if _, err := r.Open(t.Context(), srv.ref(t, "a"), tt.desc, tt.rng); !errdefs.IsInvalidArgument(err) {
			t.Errorf("%+v of %+v: got %v, want an invalid argument", tt.rng, tt.desc, err)
		}
	}
	if srv.count() != 0 {
		t.Errorf("got %d requests, want none", srv.count())
	}
}

// A registry that misunderstands a range is asked for the whole blob, and what
// the caller holds is skipped.
func TestOpenDistrustsRanges(t *testing.T) {
	blob := blobBytes(1000)
	answer := func(code int, contentRange string, body []byte) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) {
			if contentRange != "" {
				w.Header().Set("Content-Range", contentRange)
			}
			w.WriteHeader(code)
			w.Write(body)
		}
	}
	zipped := func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Range", "bytes 400-999/1000")
		w.Header().Set("Content-Encoding", "gzip")
		w.WriteHeader(http.StatusPartialContent)
		io.WriteString(w, "what part of what?")
	}
	for name, first := range map[string]http.HandlerFunc{
		"refused":      answer(416, "", nil),
		"no place":     answer(206, "", blob[400:]),
		"other place":  answer(206, "bytes 0-599/1000", blob[:600]),
		"too long":     answer(206, "bytes 400-1000/1001", append(blob[400:], 'x')),
		"broken place": answer(206, "bytes 400-", blob[400:]),
		"encoded part": zipped,
	} {
		t.Run(name, func(t *testing.T) {
			srv := serve(t, inTurn(first, whole(blob)))
			got, b, err := read(t, open(t, registry.Options{}), srv.ref(t, "a"), blob, source.Range{Offset: 400})
			if err != nil || !bytes.Equal(got, blob[400:]) {
				t.Fatalf("got %d bytes, %v, want the last 600", len(got), err)
			}
			if b.Ranged || srv.count() != 2 || srv.last(t).Header.Get("Range") != "" {
				t.Errorf("got ranged %v after %d requests, want a second request without a range", b.Ranged, srv.count())
			}
		})
	}
}

func TestOpenTakesLessThanAsked(t *testing.T) {
	blob := blobBytes(1000)
	srv := serve(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Range", "bytes 400-499/*")
		w.WriteHeader(http.StatusPartialContent)
		w.Write(blob[400:500])
	})
	got, b, err := read(t, open(t, registry.Options{}), srv.ref(t, "a"), blob, source.Range{Offset: 400})
	if b == nil || !b.Ranged || !bytes.Equal(got, blob[400:500]) || err == nil {
		t.Errorf("got %d bytes, %v, want 100 bytes and an error for those missing", len(got), err)
	}
}

// TestLessThanAskedIsNoBlame keeps a host that answers with small parts.
func TestLessThanAskedIsNoBlame(t *testing.T) {
	blob := blobBytes(1000)
	srv := serve(t, func(w http.ResponseWriter, r *http.Request) {
		var from, to int
		if n, _ := fmt.Sscanf(r.Header.Get("Range"), "bytes=%d-%d", &from, &to); n == 0 {
			from, to = 0, 999
		}
		to = min(from+99, 999)
		w.Header().Set("Content-Range", fmt.Sprintf("bytes %d-%d/1000", from, to))
		w.WriteHeader(http.StatusPartialContent)
		w.Write(blob[from : to+1])
	})
	reg := open(t, registry.Options{})
	for from := int64(100); from < 900; from += 100 {
		got, _, err := read(t, reg, srv.ref(t, "a"), blob, source.Range{Offset: from})
		if !bytes.Equal(got, blob[from:from+100]) || !errdefs.IsUnavailable(err) || !registry.Retryable(err) {
			t.Fatalf("got %d bytes from offset %d and %v, want 100 and an error that more may be had", len(got), from, err)
		}
	}
}

func TestOpenWrongTotalIsWrongBytes(t *testing.T) {
	blob := blobBytes(1000)
	srv := serve(t, content(blob[:900]))
	_, _, err := read(t, open(t, registry.Options{}), srv.ref(t, "a"), blob, source.Range{Offset: 400})
	if !errdefs.IsDataLoss(err) {
		t.Errorf("got %v, want data loss", err)
	}
}

func TestOpenWrongLengthOfPart(t *testing.T) {
	blob := blobBytes(1000)
	srv := serve(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Range", "bytes 400-999/1000")
		w.Header().Set("Content-Length", "10")
		w.WriteHeader(http.StatusPartialContent)
		w.Write(blob[:10])
	})
	_, _, err := read(t, open(t, registry.Options{}), srv.ref(t, "a"), blob, source.Range{Offset: 400})
	if !errdefs.IsInvalidArgument(err) {
		t.Errorf("got %v, want an invalid argument", err)
	}
}

func TestOpenPartThatWasNotAskedFor(t *testing.T) {
	blob := blobBytes(1000)
	srv := serve(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Range", "bytes 0-999/1000")
		w.WriteHeader(http.StatusPartialContent)
		w.Write(blob)
	})
	_, _, err := read(t, open(t, registry.Options{}), srv.ref(t, "a"), blob, source.Range{})
	if !errdefs.IsInvalidArgument(err) {
		t.Errorf("got %v, want an invalid argument", err)
	}
}

func TestBodyFaults(t *testing.T) {
	blob := blobBytes(200_000)
	copy(blob, "\x1f\x8b")
	chunked := func(w http.ResponseWriter, n int) {
		http.NewResponseController(w).Flush()
		w.Write(blob[:n])
	}
	tests := []struct {
		name    string
		handler http.HandlerFunc
		is      func(error) bool
		reason  string
		bytes   int
		retry   bool
	}{
		{"shorter by its own word", whole(blob[:1000]), errdefs.IsDataLoss, "short", 0, true},
		{"longer by its own word", whole(append(blob, 'x')), errdefs.IsDataLoss, "short", 0, true},
		{"chunked and short", func(w http.ResponseWriter, _ *http.Request) { chunked(w, 1000) }, errdefs.IsDataLoss, "short", 1000, true},
		{"closed in the middle", func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", "200000")
			w.Write(blob[:100_000])
			panic(http.ErrAbortHandler)
		}, errdefs.IsUnavailable, "reset", 100_000, true},
		{"chunked and closed", func(w http.ResponseWriter, _ *http.Request) {
			chunked(w, 100_000)
			http.NewResponseController(w).Flush()
			panic(http.ErrAbortHandler)
		}, errdefs.IsUnavailable, "reset", 100_000, true},
		{"ends with the connection", func(w http.ResponseWriter, _ *http.Request) {
			c, buf, err := http.NewResponseController(w).Hijack()
			if err != nil {
				panic(err)
			}
			fmt.Fprint(buf, "HTTP/1.0 200 OK\r\n\r\n")
			buf.Write(blob[:500])
			buf.Flush()
			c.Close()
		}, errdefs.IsUnavailable, "reset", 500, true},
		{"endless", func(w http.ResponseWriter, _ *http.Request) {
			for {
				if _, err := w.Write(blob); err != nil {
					return
				}
			}
		}, errdefs.IsDataLoss, "short", len(blob), true},
		{"stalled", func(w http.ResponseWriter, req *http.Request) {
			chunked(w, 1000)
			http.NewResponseController(w).Flush()
			<-req.Context().Done()
		}, errdefs.IsUnavailable, "stall", 1000, true},
		{"encoded and broken", func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Encoding", "gzip")
			http.NewResponseController(w).Flush()
			io.WriteString(w, zipped(blob[:1000])+"this is no member")
		}, errdefs.IsDataLoss, "digest", 1000, true},
		{"unknown coding", func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Encoding", "compress")
			w.Write(blob[:900])
		}, errdefs.IsInvalidArgument, "", 0, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			srv := serve(t, tt.handler)
			r := open(t, registry.Options{StallTimeout: 200 * time.Millisecond})
			got, _, err := read(t, r, srv.ref(t, "a"), blob, source.Range{})
			if !tt.is(err) || registry.Reason(err) != tt.reason || registry.Retryable(err) != tt.retry {
				t.Errorf("got %v, reason %q, retryable %v, want reason %q, retryable %v", err, registry.Reason(err), registry.Retryable(err), tt.reason, tt.retry)
			}
			if len(got) != tt.bytes || !bytes.HasPrefix(blob, got) {
				t.Errorf("got %d bytes, want the first %d of the blob", len(got), tt.bytes)
			}
			var e *source.Error
			if !errors.As(err, &e) || e.Op != "blob" || e.Host != srv.host() || e.Digest != digest.FromBytes(blob) {
				t.Errorf("got %+v, want a blob's error that names host and digest", e)
			}
		})
	}
}

func TestBodyBelowMinRate(t *testing.T) {
	blob := blobBytes(10_000)
	srv := serve(t, func(w http.ResponseWriter, req *http.Request) {
		w.Header().Set("Content-Length", "10000")
		for i := 0; i < len(blob) && req.Context().Err() == nil; i += 10 {
			w.Write(blob[i : i+10])
			http.NewResponseController(w).Flush()
			time.Sleep(10 * time.Millisecond)
		}
	})
	r := open(t, registry.Options{StallTimeout: 200 * time.Millisecond, MinRate: 1 << 20})
	got, _, err := read(t, r, srv.ref(t, "a"), blob, source.Range{})
	if registry.Reason(err) != "stall" || len(got) == len(blob) {
		t.Errorf("got %d bytes, %v, want a stall", len(got), err)
	}
}

func TestSlowReaderIsNoStall(t *testing.T) {
	blob := blobBytes(64 << 10)
	srv := serve(t, content(blob))
	r := open(t, registry.Options{StallTimeout: 100 * time.Millisecond, MinRate: 1 << 20})
	b, err := r.Open(t.Context(), srv.ref(t, "a"), describe(layerType, blob), source.Range{})
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	time.Sleep(300 * time.Millisecond)
	if got, err := io.ReadAll(b); err != nil || !bytes.Equal(got, blob) {
		t.Errorf("got %d bytes, %v, want all", len(got), err)
	}
}

func TestBodyUndoesCoding(t *testing.T) {
	blob := blobBytes(50_000)
	copy(blob, "\x1f\x8b") // what a gzipped layer begins with
	zip := func(w io.Writer, name string) io.WriteCloser {
		if name == "zstd" {
			z, err := zstd.NewWriter(w)
			if err != nil {
				t.Fatal(err)
			}
			return z
		}
		return gzip.NewWriter(w)
	}
	for _, coding := range []string{"gzip", "zstd"} {
		srv := serve(t, func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Encoding", coding)
			z := zip(w, coding)
			z.Write(blob)
			z.Close()
		})
		got, b, err := read(t, open(t, registry.Options{}), srv.ref(t, "a"), blob, source.Range{Offset: 30_000})
		if err != nil || !bytes.Equal(got, blob[30_000:]) || b.Ranged {
			t.Errorf("%s: got %d bytes, %v, want the last 20000, without ranges", coding, len(got), err)
		}
	}
}

// TestMislabelledCoding: size and digest decide what the bytes are, not the label that
// storage has put on an object (moby#17595, distribution#3754). A gzipped layer may
// be labelled as gzip, a proxy may really have coded it once more, and neither has to
// say how long the answer is.
func TestMislabelledCoding(t *testing.T) {
	coded := func(name string, b []byte) []byte {
		var buf bytes.Buffer
		z := io.WriteCloser(gzip.NewWriter(&buf))
		if name == "zstd" {
			z, _ = zstd.NewWriter(&buf)
		}
		z.Write(b)
		z.Close()
		return buf.Bytes()
	}
	random := make([]byte, 300_000)
	for i := range random {
		random[i] = byte(i*i>>3 ^ i*2654435761>>13)
	}
	blobs := map[string][]byte{
		ocispec.MediaTypeImageLayerGzip:                     coded("gzip", random),
		"application/vnd.docker.image.rootfs.diff.tar.gzip": coded("gzip", []byte("small")),
		ocispec.MediaTypeImageLayerZstd:                     coded("zstd", random),
		ocispec.MediaTypeImageLayer:                         random,
		ocispec.MediaTypeImageConfig:                        []byte("{}"),
	}
	for mediaType, blob := range blobs {
		for _, label := range []string{"gzip", "x-gzip", "zstd", "aws-chunked", "identity", "br"} {
			for _, really := range []bool{false, true} {
				body := blob
				if really {
					if label != "gzip" && label != "zstd" {
						continue
					}
					body = coded(label, blob)
				}
				for _, length := range []bool{false, true} {
					srv := serve(t, func(w http.ResponseWriter, _ *http.Request) {
						w.Header().Set("Content-Encoding", label)
						if length {
							w.Header().Set("Content-Length", fmt.Sprint(len(body)))
						}
						w.WriteHeader(http.StatusOK)
						w.Write(body[:len(body)/2])
						http.NewResponseController(w).Flush()
						w.Write(body[len(body)/2:])
					})
					b, err := open(t, registry.Options{}).Open(t.Context(), srv.ref(t, "a"), describe(mediaType, blob), source.Range{})
					if err != nil {
						t.Errorf("%s as %s, coded %v, with length %v: got %v", mediaType, label, really, length, err)
						continue
					}
					got, err := io.ReadAll(b)
					if err := errors.Join(err, b.Close()); err != nil || !bytes.Equal(got, blob) || srv.count() != 1 {
						t.Errorf("%s as %s, coded %v, with length %v: got %d of %d bytes and %v", mediaType, label, really, length, len(got), len(blob), err)
					}
				}
			}
		}
	}
}

// TestMislabelledPart: a part of a blob with a label that is wrong is that part.
func TestMislabelledPart(t *testing.T) {
	blob := blobBytes(1000)
	srv := serve(t, func(w http.ResponseWriter, req *http.Request) {
		w.Header().Set("Content-Encoding", "gzip")
		http.ServeContent(w, req, "", time.Time{}, bytes.NewReader(blob))
	})
	for _, rng := range []source.Range{{Offset: 400}, {Offset: 400, Length: 100}} {
		got, _, err := read(t, open(t, registry.Options{}), srv.ref(t, "a"), blob, rng)
		if want := blob[400 : 400+rng.Of(1000)]; err != nil || !bytes.Equal(got, want) {
			t.Errorf("%+v: got %d bytes and %v, want %d", rng, len(got), err, len(want))
		}
	}
}

// TestMislabelledManifest is read by what it begins with.
func TestMislabelledManifest(t *testing.T) {
	doc := manifestJSON(t)
	for _, label := range []string{"gzip", "zstd", "br", "aws-chunked"} {
		srv := serve(t, func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Encoding", label)
			writeManifest(w, doc)
		})
		if got, err := open(t, registry.Options{}).Resolve(t.Context(), srv.ref(t, "a:1")); err != nil || !bytes.Equal(got.Body, doc) {
			t.Errorf("%s: got %q and %v", label, got.Body, err)
		}
	}
}

func TestCodingBombIsBounded(t *testing.T) {
	blob := make([]byte, 1000) // zeros, as the bomb's
	srv := serve(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Encoding", "gzip")
		z := gzip.NewWriter(w)
		for range 1000 {
			if _, err := z.Write(make([]byte, 1<<20)); err != nil || z.Flush() != nil {
				return
			}
			http.NewResponseController(w).Flush()
		}
	})
	got, _, err := read(t, open(t, registry.Options{}), srv.ref(t, "a"), blob, source.Range{})
	if !errdefs.IsDataLoss(err) || len(got) != len(blob) {
		t.Errorf("got %d bytes, %v, want 1000 and data loss", len(got), err)
	}
}

// A caller that knows the size does not read behind the last byte, and the
// connection must be free again all the same.
func TestConnectionsAreUsedAgain(t *testing.T) {
	blob := blobBytes(100_000)
	srv := serve(t, content(blob))
	r := open(t, registry.Options{})
	for i := range 5 {
		rng := source.Range{Offset: int64(i) * 20_000, Length: 20_000}
		b, err := r.Open(t.Context(), srv.ref(t, "a"), describe(layerType, blob), rng)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.ReadFull(b, make([]byte, rng.Length)); err != nil {
			t.Fatal(err)
		}
		b.Close()
	}
	if srv.conns != 1 {
		t.Errorf("got %d connections for 5 parts, want 1", srv.conns)
	}
}

func TestBlameOfTheOnlyHost(t *testing.T) {
	blob := blobBytes(100)
	srv := serve(t, whole(make([]byte, 100)))
	ref, desc := srv.ref(t, "a"), describe(layerType, blob)
	r := open(t, registry.Options{})
	for range 2 {
		_, b, err := read(t, r, ref, blob, source.Range{})
		if err != nil {
			t.Fatal(err)
		}
		r.Blame(ref, desc, b.Host, errors.New("digest: got something, want something else"))
	}
	_, err := r.Open(t.Context(), ref, desc, source.Range{})
	if !errdefs.IsDataLoss(err) || registry.Retryable(err) {
		t.Errorf("got %v, retryable %v, want final data loss", err, registry.Retryable(err))
	}
	if srv.count() != 2 {
		t.Errorf("got %d requests, want 2", srv.count())
	}
	other := describe(layerType, []byte("other"))
	if _, err := r.Open(t.Context(), ref, other, source.Range{}); err == nil || srv.count() != 3 {
		t.Errorf("got %v after %d requests, want the host asked for other blobs", err, srv.count())
	}
}

func TestOpenForeignURLs(t *testing.T) {
	blob := blobBytes(5000)
	const secret = "canary-foreign"
	foreign := serveAt(t, "127.0.0.2", content(blob))
	own := serve(t, func(w http.ResponseWriter, req *http.Request) {
		if _, p, _ := req.BasicAuth(); p != secret {
			w.Header().Set("WWW-Authenticate", "Basic realm=x")
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		content(blob)(w, req)
	})
	desc := describe(layerType, blob)
	desc.URLs = []string{"ftp://127.0.0.2/x", foreign.URL + "/layer?sig=1"}
	creds := onlyAt(own.host(), credential.Credential{Username: "u", Password: secret})
	fetch := func(r *registry.Registry) string {
		t.Helper()
		b, err := r.Open(t.Context(), own.ref(t, "a"), desc, source.Range{Offset: 10})
		if err != nil {
			t.Fatal(err)
		}
		defer b.Close()
		if got, err := io.ReadAll(b); err != nil || !bytes.Equal(got, blob[10:]) {
			t.Fatalf("got %d bytes, %v, want all but ten", len(got), err)
		}
		return b.Host
	}
	if got := fetch(open(t, registry.Options{Credentials: creds})); got != own.host() || foreign.count() != 0 {
		t.Errorf("got the blob from %s after %d foreign requests, want the registry alone", got, foreign.count())
	}
	allowed := open(t, registry.Options{Credentials: creds, AllowForeignURLs: true})
	if got := fetch(allowed); got != foreign.host() {
		t.Errorf("got the blob from %s, want %s", got, foreign.host())
	}
	foreign.mustNotHold(t, secret)
	allowed.Blame(own.ref(t, "a"), desc, foreign.host(), errors.New("wrong"))
	if got := fetch(allowed); got != own.host() {
		t.Errorf("got the blob from %s, want the registry after blame", got)
	}
}

// A url that fails is told of and not tried again for the blob; one that may
// not be contacted is not contacted.
func TestForeignURLThatFails(t *testing.T) {
	blob := blobBytes(50)
	foreign, own := serveAt(t, "127.0.0.2", status(http.StatusForbidden)), serve(t, content(blob))
	desc := describe(layerType, blob)
	desc.URLs = []string{"http://169.254.169.254/x", foreign.URL}
	var e events
	r := open(t, registry.Options{AllowForeignURLs: true, Progress: e.add})
	for range 2 {
		b, err := r.Open(t.Context(), own.ref(t, "a"), desc, source.Range{})
		if err != nil {
			t.Fatal(err)
		}
		if b.Host != own.host() {
			t.Errorf("got the blob from %s, want %s", b.Host, own.host())
		}
		b.Close()
	}
	if foreign.count() != 1 || len(e.list) != 1 || e.list[0].Host != foreign.host() {
		t.Errorf("got %d requests and events %+v, want one each about %s", foreign.count(), e.list, foreign.host())
	}
}

func TestErrorOfABodyStays(t *testing.T) {
	blob := blobBytes(100)
	srv := serve(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Length", "100")
		w.Write(blob[:10])
		http.NewResponseController(w).Flush()
		panic(http.ErrAbortHandler)
	})
	b, err := open(t, registry.Options{}).Open(t.Context(), srv.ref(t, "a"), describe(layerType, blob), source.Range{})
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	_, first := io.ReadAll(b)
	if _, err := b.Read(make([]byte, 1)); err == nil || err != first {
		t.Errorf("got %v, want %v again", err, first)
	}
}

func TestBlameOfAnUnknownReference(t *testing.T) {
	srv := serve(t, content([]byte("x")))
	desc := describe(layerType, []byte("x"))
	r := open(t, registry.Options{})
	r.Blame(srv.ref(t, "a"), desc, srv.host(), errors.New("from an earlier run"))
	if _, _, err := read(t, r, srv.ref(t, "a"), []byte("x"), source.Range{}); err != nil {
		t.Errorf("got %v, want the host asked", err)
	}
}

func TestManyBlobsAtOnce(t *testing.T) {
	blob := blobBytes(300_000)
	srv := serve(t, content(blob))
	r := open(t, registry.Options{})
	ref, desc := srv.ref(t, "a"), describe(layerType, blob)
	var wg sync.WaitGroup
	for i := range 16 {
		wg.Go(func() {
			b, err := r.Open(t.Context(), ref, desc, source.Range{Offset: int64(i)})
			if err != nil {
				t.Error(err)
				return
			}
			defer b.Close()
			if got, err := io.ReadAll(b); err != nil || !bytes.Equal(got, blob[i:]) {
				t.Errorf("got %d bytes, %v, want all from %d", len(got), err, i)
			}
		})
	}
	wg.Wait()
}

func TestRequestsPerSecond(t *testing.T) {
	srv := serve(t, manifest(manifestJSON(t)))
	r := open(t, registry.Options{RequestsPerSecond: 20})
	start := time.Now()
	for range 4 {
		if _, err := r.Resolve(t.Context(), srv.ref(t, "a")); err != nil {
			t.Fatal(err)
		}
	}
	if took := time.Since(start); took < 140*time.Millisecond {
		t.Errorf("got 4 requests in %s, want at least 150ms at 20 a second", took)
	}
}

func TestCancelIsNoFault(t *testing.T) {
	blob := blobBytes(100_000)
	srv := serve(t, func(w http.ResponseWriter, req *http.Request) {
		w.Header().Set("Content-Length", "100000")
		w.Write(blob[:10])
		http.NewResponseController(w).Flush()
		<-req.Context().Done()
	})
	ctx, cancel := contextWithCause(t)
	why := errors.New("the user has had enough")
	r := open(t, registry.Options{})
	b, err := r.Open(ctx, srv.ref(t, "a"), describe(layerType, blob), source.Range{})
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	time.AfterFunc(50*time.Millisecond, func() { cancel(why) })
	if _, err := io.ReadAll(b); !errors.Is(err, why) {
		t.Errorf("got %v, want %v", err, why)
	}
	if _, err := r.Resolve(ctx, srv.ref(t, "a")); !errors.Is(err, why) || srv.count() != 1 {
		t.Errorf("got %v after %d requests, want %v without another one", err, srv.count(), why)
	}
}
