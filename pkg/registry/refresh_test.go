package registry_test

import (
	"net/http"
	"strings"
	"testing"

	"github.com/containerd/errdefs"
	"github.com/google/go-cmp/cmp"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/containerd-pull/containerd-pull/pkg/registry"
	"github.com/containerd-pull/containerd-pull/pkg/source"
)

// methods lists the methods of the requests.
func (f *fake) methods() string {
	var list []string
	for _, line := range f.seen() {
		method, _, _ := strings.Cut(line, " ")
		list = append(list, method)
	}
	return strings.Join(list, " ")
}

// onHead answers HEAD with head, and all else with a manifest.
func onHead(body []byte, head http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, req *http.Request) {
		if req.Method == http.MethodHead {
			head(w, req)
			return
		}
		writeManifest(w, body)
	}
}

func target(body []byte) source.Target {
	return source.Target{Desc: describe(ocispec.MediaTypeImageManifest, body), Body: body}
}

// TestRefresh: a check for an update is one HEAD while nothing has changed, and no
// GET, which registries count; those without a HEAD still work (hub-feedback#2093,
// harbor#13112).
func TestRefresh(t *testing.T) {
	old := append(manifestJSON(t), ' ')
	now := manifestJSON(t)
	broken := func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }
	for name, tc := range map[string]struct {
		had     []byte
		answer  http.HandlerFunc
		methods string
	}{
		"unchanged":          {now, manifest(now), "HEAD"},
		"moved":              {old, manifest(now), "HEAD GET"},
		"405":                {now, onHead(now, status(http.StatusMethodNotAllowed)), "HEAD GET"},
		"404":                {now, onHead(now, status(http.StatusNotFound)), "HEAD GET"},
		"400":                {now, onHead(now, status(http.StatusBadRequest)), "HEAD GET"},
		"403":                {now, onHead(now, status(http.StatusForbidden)), "HEAD GET"},
		"501":                {now, onHead(now, status(http.StatusNotImplemented)), "HEAD GET"},
		"500":                {now, onHead(now, status(http.StatusInternalServerError)), "HEAD GET"},
		"no digest":          {now, onHead(now, status(http.StatusOK)), "HEAD GET"},
		"connection broken":  {now, onHead(now, broken), "HEAD GET"},
		"what is no digest":  {now, onHead(now, func(w http.ResponseWriter, _ *http.Request) { w.Header().Set("Docker-Content-Digest", "x") }), "HEAD GET"},
		"damaged in store":   {[]byte("{}"), manifest(now), "GET"},
		"fewer requests":     {now, onHead(now, status(http.StatusTooManyRequests)), "HEAD GET"},
		"moved, and no HEAD": {old, onHead(now, status(http.StatusMethodNotAllowed)), "HEAD GET"},
	} {
		t.Run(name, func(t *testing.T) {
			srv := serve(t, tc.answer)
			r := open(t, registry.Options{})
			had := target(tc.had)
			got, err := r.Refresh(t.Context(), srv.ref(t, "team/app:1"), had)
			if err != nil || got.Desc.Digest != target(now).Desc.Digest || string(got.Body) != string(now) || got.Unchanged != (tc.methods == "HEAD") {
				t.Errorf("got %s, unchanged %v, and %v", got.Desc.Digest, got.Unchanged, err)
			}
			if got := srv.methods(); got != tc.methods {
				t.Errorf("got requests %s, want %s", got, tc.methods)
			}
		})
	}
}

// TestRefreshOfManyImages: a registry without HEAD is asked for it once in a call;
// one that does not have one of the tags goes on being asked.
func TestRefreshOfManyImages(t *testing.T) {
	body := manifestJSON(t)
	for _, tc := range []struct {
		answer http.HandlerFunc
		want   string
	}{
		{onHead(body, status(http.StatusMethodNotAllowed)), "HEAD GET GET GET"},
		{inTurn(status(http.StatusNotFound), status(http.StatusNotFound), manifest(body)), "HEAD GET GET HEAD HEAD"}, // the second GET is for the tags,
		{manifest(body), "HEAD HEAD HEAD"},
	} {
		srv := serve(t, tc.answer)
		r := open(t, registry.Options{})
		for _, tag := range []string{"1", "2", "3"} {
			if _, err := r.Refresh(t.Context(), srv.ref(t, "team/app:"+tag), target(body)); err != nil && !errdefs.IsNotFound(err) {
				t.Error(err)
			}
		}
		if got := srv.methods(); got != tc.want {
			t.Errorf("got requests %s, want %s", got, tc.want)
		}
	}
}

// TestRefreshFails as a Resolve does, without asking twice for what cannot change.
func TestRefreshFails(t *testing.T) {
	body := manifestJSON(t)
	srv := serve(t, status(http.StatusNotFound))
	if _, err := open(t, registry.Options{}).Refresh(t.Context(), srv.ref(t, "team/app:1"), target(body)); !errdefs.IsNotFound(err) {
		t.Errorf("got %v, want that it is not there", err)
	}
	if got, want := srv.methods(), "HEAD GET GET"; got != want { // the last one for the tags
		t.Errorf("got %q, want %q", got, want)
	}
	srv.Close()
	_, err := open(t, registry.Options{}).Refresh(t.Context(), srv.ref(t, "team/app:1"), target(body))
	if registry.Reason(err) != "refused" {
		t.Errorf("got %v, want a refused connection", err)
	}
}

// TestRateLimit warns when few pulls are left, in whichever answer says so.
func TestRateLimit(t *testing.T) {
	body := manifestJSON(t)
	for name, tc := range map[string]struct{ left, of, says string }{
		"far":           {"76;w=21600", "100;w=21600", ""},
		"near":          {"10;w=21600", "100;w=21600", "10 of 100 pulls are left in a window of 6h0m0s"},
		"limit unknown": {"3", "", "3 pulls are left"},
		"none left":     {"0;w=60", "200;w=60", "0 of 200 pulls are left in a window of 1m0s"},
		"many left":     {"500", "", ""},
		"no number":     {"soon", "100", ""},
	} {
		srv := serve(t, func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("RateLimit-Remaining", tc.left)
			w.Header().Set("RateLimit-Limit", tc.of)
			writeManifest(w, body)
		})
		var e events
		r := open(t, registry.Options{Progress: e.add})
		ref := srv.ref(t, "team/app:1")
		if _, err := r.Resolve(t.Context(), ref); err != nil {
			t.Fatal(err)
		}
		if _, err := r.Refresh(t.Context(), ref, target(body)); err != nil {
			t.Fatal(err)
		}
		var want, got []string
		if tc.says != "" {
			line := ref.Name + ": the rate limit of " + srv.host() + " is near: " + tc.says
			want = []string{line, line}
		}
		for _, event := range e.list {
			got = append(got, event.Ref+": "+event.Message)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s: warnings (-want +got):\n%s", name, diff)
		}
	}
}
