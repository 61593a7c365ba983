package registry_test

import (
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/containerd/errdefs"
	"github.com/google/go-cmp/cmp"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/containerd-pull/containerd-pull/pkg/internal/pulltest"
	"github.com/containerd-pull/containerd-pull/pkg/progress"
	"github.com/containerd-pull/containerd-pull/pkg/registry"
	"github.com/containerd-pull/containerd-pull/pkg/registry/hosts"
	"github.com/containerd-pull/containerd-pull/pkg/source"
)

func TestResolveTag(t *testing.T) {
	body := indexJSON(t)
	srv := serve(t, manifest(body))
	got, err := open(t, registry.Options{}).Resolve(t.Context(), srv.ref(t, "team/app:v1"))
	if err != nil {
		t.Fatal(err)
	}
	want := source.Target{Desc: describe(ocispec.MediaTypeImageIndex, body), Body: body, Host: srv.host()}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("target (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]string{"GET /v2/team/app/manifests/v1"}, srv.seen()); diff != "" {
		t.Errorf("requests (-want +got):\n%s", diff)
	}
	if q := srv.last(t).URL.RawQuery; q != "" {
		t.Errorf("got query %q, want none: the registry itself is no mirror", q)
	}
}

func TestResolveAsksByDigestBesideTag(t *testing.T) {
	body := manifestJSON(t)
	srv := serve(t, manifest(body))
	dgst := digest.FromBytes(body).String()
	got, err := open(t, registry.Options{}).Resolve(t.Context(), srv.ref(t, "app:v1@"+dgst))
	if err != nil {
		t.Fatal(err)
	}
	if got.Desc.Digest.String() != dgst {
		t.Errorf("got %s, want %s", got.Desc.Digest, dgst)
	}
	if diff := cmp.Diff([]string{"GET /v2/app/manifests/" + dgst}, srv.seen()); diff != "" {
		t.Errorf("requests (-want +got):\n%s", diff)
	}
}

func TestResolveKeepsOtherAlgorithms(t *testing.T) {
	body := manifestJSON(t)
	srv := serve(t, manifest(body))
	want := digest.SHA512.FromBytes(body)
	got, err := open(t, registry.Options{}).Resolve(t.Context(), srv.ref(t, "app@"+want.String()))
	if err != nil || got.Desc.Digest != want {
		t.Errorf("got %s, %v, want %s", got.Desc.Digest, err, want)
	}
}

func TestResolveNoRegistry(t *testing.T) {
	srv := serve(t, func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "<html>Welcome!</html>") })
	_, err := open(t, registry.Options{}).Resolve(t.Context(), srv.ref(t, "app"))
	if !errdefs.IsInvalidArgument(err) || !strings.Contains(err.Error(), "text/html") || !strings.Contains(err.Error(), "is this a registry?") {
		t.Errorf("got %v, want what came instead and a question", err)
	}
}

func TestResolveWithoutDigestHeader(t *testing.T) {
	body := manifestJSON(t)
	srv := serve(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", ocispec.MediaTypeImageManifest+"; charset=utf-8")
		http.NewResponseController(w).Flush() // chunked: no length either
		w.Write(body)
	})
	got, err := open(t, registry.Options{}).Resolve(t.Context(), srv.ref(t, "app"))
	if err != nil || got.Desc.Digest != digest.FromBytes(body) {
		t.Errorf("got %s, %v, want %s", got.Desc.Digest, err, digest.FromBytes(body))
	}
}

func TestResolveWrongDigestIsAskedTwice(t *testing.T) {
	srv := serve(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", ocispec.MediaTypeImageManifest)
		w.Header().Set("Docker-Content-Digest", digest.FromString("something else").String())
		w.Write(manifestJSON(t))
	})
	_, err := open(t, registry.Options{}).Resolve(t.Context(), srv.ref(t, "app"))
	if !errdefs.IsDataLoss(err) {
		t.Errorf("got %v, want data loss", err)
	}
	if srv.count() != 2 {
		t.Errorf("got %d requests, want 2", srv.count())
	}
}

func TestResolveMalformedDigestHeader(t *testing.T) {
	srv := serve(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", ocispec.MediaTypeImageManifest)
		w.Header().Set("Docker-Content-Digest", "sha256:../../etc/passwd")
		w.Write(manifestJSON(t))
	})
	_, err := open(t, registry.Options{}).Resolve(t.Context(), srv.ref(t, "app"))
	if !errdefs.IsInvalidArgument(err) || srv.count() != 1 {
		t.Errorf("got %v after %d requests, want an invalid argument after 1", err, srv.count())
	}
}

func TestResolveNotFound(t *testing.T) {
	srv := serve(t, func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusNotFound)
		fmt.Fprint(w, `{"errors":[{"code":"NAME_UNKNOWN","message":"no such\u001b[31m\nrepository"}]}`)
	})
	_, err := open(t, registry.Options{}).Resolve(t.Context(), srv.ref(t, "app:v1"))
	var e *source.Error
	if !errdefs.IsNotFound(err) || !errors.As(err, &e) {
		t.Fatalf("got %v, want not found", err)
	}
	if e.Op != "resolve" || e.Host != srv.host() || e.Status != 404 || e.Code != "NAME_UNKNOWN" || e.Mirror {
		t.Errorf("got %+v, want resolve, %s, 404, NAME_UNKNOWN", e, srv.host())
	}
	if want := srv.host() + `: 404 Not Found: NAME_UNKNOWN: no such\x1b[31m repository: no such repository, or no permission to see it`; !strings.HasSuffix(err.Error(), want) {
		t.Errorf("got %q, want %q at its end, on one line and harmless", err, want)
	}
	if srv.count() != 1 {
		t.Errorf("got %d requests, want 1", srv.count())
	}
}

func TestResolveStatus(t *testing.T) {
	tests := []struct {
		code     int
		is       func(error) bool
		requests int
		reason   string
	}{
		{400, errdefs.IsInvalidArgument, 1, ""},
		{403, errdefs.IsPermissionDenied, 1, ""},
		{404, errdefs.IsNotFound, 2, ""}, // and the list of tags,
		{405, errdefs.IsInvalidArgument, 1, ""},
		{408, errdefs.IsUnavailable, 4, "status"},
		{410, errdefs.IsNotFound, 2, ""},
		{418, errdefs.IsInvalidArgument, 1, ""},
		{429, errdefs.IsResourceExhausted, 4, "rate-limit"},
		{500, errdefs.IsUnavailable, 4, "status"},
		{501, errdefs.IsUnavailable, 1, "status"},
		{502, errdefs.IsUnavailable, 4, "status"},
		{503, errdefs.IsUnavailable, 4, "status"},
		{504, errdefs.IsUnavailable, 4, "status"},
		{204, errdefs.IsInvalidArgument, 1, ""},
	}
	for _, tt := range tests {
		t.Run(fmt.Sprint(tt.code), func(t *testing.T) {
			srv := serve(t, status(tt.code))
			// Plain HTTP by the flag, or a 400 would lead to a try of HTTPS.
			_, err := open(t, registry.Options{Hosts: hosts.Options{PlainHTTP: true}}).Resolve(t.Context(), srv.ref(t, "app"))
			if !tt.is(err) {
				t.Errorf("got %v, want another class", err)
			}
			if srv.count() != tt.requests {
				t.Errorf("got %d requests, want %d", srv.count(), tt.requests)
			}
			if got := registry.Reason(err); got != tt.reason {
				t.Errorf("got reason %q, want %q", got, tt.reason)
			}
		})
	}
}

func TestResolveRetries(t *testing.T) {
	reset := func(w http.ResponseWriter, _ *http.Request) { panic(http.ErrAbortHandler) }
	for name, fault := range map[string]http.HandlerFunc{"500": status(500), "503": status(503), "429": status(429), "cut": reset} {
		t.Run(name, func(t *testing.T) {
			srv := serve(t, inTurn(fault, fault, fault, manifest(manifestJSON(t))))
			var e events
			r := open(t, registry.Options{Progress: e.add, Hosts: hosts.Options{PlainHTTP: true}})
			if _, err := r.Resolve(t.Context(), srv.ref(t, "app")); err != nil {
				t.Fatal(err)
			}
			if srv.count() != 4 || len(e.list) != 3 {
				t.Errorf("got %d requests and %d events, want 4 and 3", srv.count(), len(e.list))
			}
			if first := e.list[0]; first.Kind != progress.Retry || first.Attempt != 1 || first.Host != srv.host() || first.Wait <= 0 || first.Err == nil {
				t.Errorf("got %+v, want the first retry at %s", first, srv.host())
			}
		})
	}
}

func TestResolveWaitsAsTold(t *testing.T) {
	pulltest.Long(t) // no wait of Retry-After is shorter than a second
	limited := func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Retry-After", "1")
		w.WriteHeader(http.StatusTooManyRequests)
	}
	srv := serve(t, inTurn(limited, manifest(manifestJSON(t))))
	start := time.Now()
	if _, err := open(t, registry.Options{}).Resolve(t.Context(), srv.ref(t, "app")); err != nil {
		t.Fatal(err)
	}
	if waited := time.Since(start); waited < time.Second || srv.count() != 2 {
		t.Errorf("got %d requests within %s, want 2 at least 1s apart", srv.count(), waited)
	}
}

func TestResolveDoesNotWaitForADay(t *testing.T) {
	for _, code := range []int{429, 503} {
		srv := serve(t, func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Retry-After", "86400")
			w.WriteHeader(code)
		})
		r := open(t, registry.Options{})
		for range 2 {
			_, err := r.Resolve(t.Context(), srv.ref(t, "app"))
			var e *source.Error
			if !errdefs.IsResourceExhausted(err) || !errors.As(err, &e) || e.RetryAfter != 24*time.Hour {
				t.Errorf("%d: got %v, want a rate limit for a day", code, err)
			}
			if !strings.Contains(err.Error(), "retry in 24h0m0s") {
				t.Errorf("%d: got %q, want it to say when to come back", code, err)
			}
		}
		if srv.count() != 1 {
			t.Errorf("%d: got %d requests, want 1: the host is given up", code, srv.count())
		}
	}
}

func TestResolveStalledHeaders(t *testing.T) {
	release := make(chan struct{})
	srv := serve(t, func(http.ResponseWriter, *http.Request) { <-release })
	t.Cleanup(func() { close(release) })
	r := open(t, registry.Options{StallTimeout: 100 * time.Millisecond, Retry: registry.Retry{Count: -1}})
	_, err := r.Resolve(t.Context(), srv.ref(t, "app"))
	if !errdefs.IsUnavailable(err) || registry.Reason(err) != "stall" {
		t.Errorf("got %v, reason %q, want a stall", err, registry.Reason(err))
	}
}

func TestResolveStalledBody(t *testing.T) {
	srv := serve(t, func(w http.ResponseWriter, req *http.Request) {
		w.Header().Set("Content-Type", ocispec.MediaTypeImageManifest)
		fmt.Fprint(w, `{"schema`)
		http.NewResponseController(w).Flush()
		<-req.Context().Done()
	})
	r := open(t, registry.Options{StallTimeout: 100 * time.Millisecond, Retry: registry.Retry{Count: -1}})
	_, err := r.Resolve(t.Context(), srv.ref(t, "app"))
	if !errdefs.IsUnavailable(err) || registry.Reason(err) != "stall" {
		t.Errorf("got %v, reason %q, want a stall", err, registry.Reason(err))
	}
}

func TestResolveBoundsManifests(t *testing.T) {
	var sent atomic.Int64
	srv := serve(t, func(w http.ResponseWriter, req *http.Request) {
		w.Header().Set("Content-Type", ocispec.MediaTypeImageManifest)
		chunk := bytes.Repeat([]byte(" "), 64<<10)
		for range 100 << 20 / len(chunk) {
			n, err := w.Write(chunk)
			sent.Add(int64(n))
			if err != nil {
				return
			}
		}
	})
	_, err := open(t, registry.Options{}).Resolve(t.Context(), srv.ref(t, "app"))
	if !errdefs.IsInvalidArgument(err) || srv.count() != 1 {
		t.Errorf("got %v after %d requests, want an invalid argument after 1", err, srv.count())
	}
	srv.CloseClientConnections()
	if got := sent.Load(); got > 50<<20 {
		t.Errorf("got %d bytes sent, want the reader to stop after 4 MiB and buffers", got)
	}
}

func TestResolveDecodesGzip(t *testing.T) {
	body := manifestJSON(t)
	srv := serve(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", ocispec.MediaTypeImageManifest)
		w.Header().Set("Content-Encoding", "gzip")
		z := gzip.NewWriter(w)
		z.Write(body)
		z.Close()
	})
	got, err := open(t, registry.Options{}).Resolve(t.Context(), srv.ref(t, "app"))
	if err != nil || !bytes.Equal(got.Body, body) {
		t.Errorf("got %q, %v, want the decoded manifest", got.Body, err)
	}
	if got := srv.last(t).Header.Get("Accept-Encoding"); got != "identity" {
		t.Errorf("got Accept-Encoding %q, want identity", got)
	}
}

func TestResolveUnknownCoding(t *testing.T) {
	srv := serve(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Encoding", "br")
		writeManifest(w, []byte("\x0b\x02\x80 no JSON"))
	})
	_, err := open(t, registry.Options{}).Resolve(t.Context(), srv.ref(t, "app"))
	if !errdefs.IsInvalidArgument(err) {
		t.Errorf("got %v, want an invalid argument", err)
	}
}

func TestManifestIsHeldToItsDescriptor(t *testing.T) {
	body := manifestJSON(t)
	good := describe(ocispec.MediaTypeImageManifest, body)
	good.Platform = &ocispec.Platform{OS: "linux", Architecture: "arm64"}
	srv := serve(t, manifest(body))
	ref := srv.ref(t, "app")
	r := open(t, registry.Options{ManifestBytes: 10 << 10})

	got, err := r.Manifest(t.Context(), ref, good)
	if diff := cmp.Diff(good, got.Desc); err != nil || diff != "" {
		t.Errorf("got %v, descriptor (-want +got):\n%s", err, diff)
	}
	bad := map[string]struct {
		change func(*ocispec.Descriptor)
		is     func(error) bool
	}{
		"size":      {func(d *ocispec.Descriptor) { d.Size++ }, errdefs.IsDataLoss},
		"negative":  {func(d *ocispec.Descriptor) { d.Size = -1 }, errdefs.IsInvalidArgument},
		"too large": {func(d *ocispec.Descriptor) { d.Size = 10<<10 + 1 }, errdefs.IsInvalidArgument},
		"digest":    {func(d *ocispec.Descriptor) { d.Digest = digest.FromString("other") }, errdefs.IsDataLoss},
		"grammar":   {func(d *ocispec.Descriptor) { d.Digest = "sha256:.." }, errdefs.IsInvalidArgument},
		"type":      {func(d *ocispec.Descriptor) { d.MediaType = ocispec.MediaTypeImageIndex }, errdefs.IsInvalidArgument},
	}
	for name, tt := range bad {
		desc := good
		tt.change(&desc)
		if _, err := open(t, registry.Options{ManifestBytes: 10 << 10}).Manifest(t.Context(), ref, desc); !tt.is(err) {
			t.Errorf("%s: got %v, want another class", name, err)
		}
	}
}

func TestSchema1HasAHint(t *testing.T) {
	srv := serve(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/vnd.docker.distribution.manifest.v1+prettyjws")
		fmt.Fprint(w, `{"schemaVersion":1,"fsLayers":[]}`)
	})
	_, err := open(t, registry.Options{}).Resolve(t.Context(), srv.ref(t, "app"))
	if !errdefs.IsInvalidArgument(err) || !strings.Contains(err.Error(), "push the image again") {
		t.Errorf("got %v, want a hint", err)
	}
}

// TestOldAccept: a registry that compares whole lines of Accept gets one for each type
// when it has answered with schema 1, whose digest is not that of its bytes
// (containerd#5632), and from then on; any other registry one line.
func TestOldAccept(t *testing.T) {
	body := manifestJSON(t)
	old := func(w http.ResponseWriter, req *http.Request) {
		if slices.Contains(req.Header["Accept"], ocispec.MediaTypeImageManifest) {
			writeManifest(w, body)
			return
		}
		w.Header().Set("Docker-Content-Digest", digest.FromString("payload").String())
		w.Header().Set("Content-Type", "application/vnd.docker.distribution.manifest.v1+prettyjws")
		fmt.Fprint(w, `{"schemaVersion":1,"fsLayers":[]}`)
	}
	oldJSON := func(w http.ResponseWriter, req *http.Request) {
		old(w, req)
		if len(req.Header["Accept"]) == 1 {
			w.Header().Set("Content-Type", "application/json")
		}
	}
	for _, handler := range []http.HandlerFunc{old, oldJSON} {
		srv := serve(t, handler)
		r := open(t, registry.Options{})
		for _, tag := range []string{"1", "2"} {
			got, err := r.Resolve(t.Context(), srv.ref(t, "app:"+tag))
			if err != nil || !bytes.Equal(got.Body, body) {
				t.Errorf("got %q and %v, want the manifest", got.Body, err)
			}
		}
		if srv.count() != 3 {
			t.Errorf("got %d requests, want 3: the second image knows", srv.count())
		}
	}
	good := serve(t, manifest(body))
	if _, err := open(t, registry.Options{}).Resolve(t.Context(), good.ref(t, "app:1")); err != nil || len(good.last(t).Header["Accept"]) != 1 {
		t.Errorf("got %q and %v, want one line", good.last(t).Header["Accept"], err)
	}
	// An image that is of schema 1 changes nothing for others.
	mixed := serve(t, func(w http.ResponseWriter, req *http.Request) {
		if strings.HasSuffix(req.URL.Path, "/old") {
			w.Header().Set("Content-Type", "application/vnd.docker.distribution.manifest.v1+json")
			fmt.Fprint(w, `{"schemaVersion":1,"fsLayers":[]}`)
			return
		}
		writeManifest(w, body)
	})
	r := open(t, registry.Options{})
	if _, err := r.Resolve(t.Context(), mixed.ref(t, "app:old")); err == nil {
		t.Error("got no error for an image of schema 1")
	}
	if _, err := r.Resolve(t.Context(), mixed.ref(t, "app:1")); err != nil || len(mixed.last(t).Header["Accept"]) != 1 {
		t.Errorf("got %q and %v, want one line", mixed.last(t).Header["Accept"], err)
	}
}
