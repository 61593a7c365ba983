package registry_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/containerd/errdefs"
	"github.com/google/go-cmp/cmp"

	"github.com/containerd-pull/containerd-pull/pkg/internal/pulltest"
	"github.com/containerd-pull/containerd-pull/pkg/internal/pulltest/testregistry"
	"github.com/containerd-pull/containerd-pull/pkg/registry"
	"github.com/containerd-pull/containerd-pull/pkg/registry/credential"
	"github.com/containerd-pull/containerd-pull/pkg/registry/hosts"
)

// TestListsOfDistribution lists what a real registry holds, behind each of its
// guards. Its catalog comes in pages of two, and it refuses to give more.
func TestListsOfDistribution(t *testing.T) {
	pulltest.Long(t)
	robot := &testregistry.Credentials{User: "robot", Password: "canary"}
	for name, o := range map[string]testregistry.DistributionOptions{
		"open":     {Page: 2},
		"htpasswd": {Page: 2, Basic: robot},
		"token":    {Page: 2, Token: &testregistry.TokenOptions{Credentials: robot}},
	} {
		t.Run(name, func(t *testing.T) {
			d := testregistry.StartDistribution(t, o)
			img := pulltest.SmallImage(pulltest.Gzip)
			for _, name := range []string{"a:1", "b/c:1", "d:1", "d:1.2", "d:latest", "e:1"} {
				if err := d.Push(t.Context(), name, img); err != nil {
					t.Fatal(err)
				}
			}
			r := open(t, registry.Options{Credentials: everywhere(credential.Credential{Username: "robot", Password: "canary"})})
			got, err := r.Tags(t.Context(), parse(t, d.Ref("d:1.2")))
			if diff := cmp.Diff([]string{"1", "1.2", "latest"}, got); err != nil || diff != "" {
				t.Errorf("tags: %v (-want +got):\n%s", err, diff)
			}
			got, err = r.Repositories(t.Context(), d.Host())
			if diff := cmp.Diff([]string{"a", "b/c", "d", "e"}, got); err != nil || diff != "" {
				t.Errorf("repositories: %v (-want +got):\n%s", err, diff)
			}
			if _, err := r.Tags(t.Context(), parse(t, d.Ref("none:1"))); !errdefs.IsNotFound(err) {
				t.Errorf("tags of a repository that is not there: got %v, want not found", err)
			}
		})
	}
}

// paged serves tags 1 to last in pages of two, with the Link headers that link
// makes of the query of the next page.
func paged(last int, link func(next string) string) http.HandlerFunc {
	return func(w http.ResponseWriter, req *http.Request) {
		from, _ := strconv.Atoi(req.URL.Query().Get("last"))
		var tags []string
		for i := from + 1; i <= min(from+2, last); i++ {
			tags = append(tags, strconv.Quote(strconv.Itoa(i)))
		}
		if from+2 < last {
			w.Header().Set("Link", link(fmt.Sprintf("n=2&last=%d", from+2)))
		}
		fmt.Fprintf(w, `{"name":"app","tags":[%s]}`, strings.Join(tags, ","))
	}
}

func TestTagsFollowTheirPages(t *testing.T) {
	for name, link := range map[string]func(string) string{
		"relative": func(next string) string { return `</v2/app/tags/list?` + next + `>; rel="next"` },
		"query":    func(next string) string { return `<?` + next + `>; rel=next` },
		"several": func(next string) string {
			return `<https://x.example/>; rel="help", <?` + next + `>; title="a"; rel="next"`
		},
	} {
		t.Run(name, func(t *testing.T) {
			srv := serve(t, paged(5, link))
			got, err := open(t, registry.Options{}).Tags(t.Context(), srv.ref(t, "app"))
			if diff := cmp.Diff([]string{"1", "2", "3", "4", "5"}, got); err != nil || diff != "" {
				t.Errorf("%v (-want +got):\n%s", err, diff)
			}
			if n := len(srv.seen()); n != 3 {
				t.Errorf("got %d requests, want 3", n)
			}
		})
	}
}

// TestTagsStayAtTheirHost: behind a proxy that ends TLS, links have the scheme or
// the name of the server inside. Neither requests nor credentials follow them
// away from the host; their path and query are asked for there.
func TestTagsStayAtTheirHost(t *testing.T) {
	thief := serveAt(t, "127.0.0.2", func(http.ResponseWriter, *http.Request) { t.Error("the other host was asked") })
	for _, target := range []string{thief.URL, "http://registry.internal:5000", "https://127.0.0.1", "//registry.internal"} {
		srv := serve(t, paged(5, func(next string) string { return "<" + target + "/v2/app/tags/list?" + next + `>; rel="next"` }))
		got, err := open(t, registry.Options{}).Tags(t.Context(), srv.ref(t, "app"))
		if diff := cmp.Diff([]string{"1", "2", "3", "4", "5"}, got); err != nil || diff != "" {
			t.Errorf("link to %s: %v (-want +got):\n%s", target, err, diff)
		}
	}
}

// TestTagsOfOneList gives up at a link to another list. What was listed comes
// with the error.
func TestTagsOfOneList(t *testing.T) {
	srv := serve(t, paged(5, func(next string) string { return "</v2/other/tags/list?" + next + `>; rel="next"` }))
	got, err := open(t, registry.Options{}).Tags(t.Context(), srv.ref(t, "app"))
	if !errdefs.IsInvalidArgument(err) || !strings.Contains(err.Error(), "another list") {
		t.Errorf("got %v, want a refusal", err)
	}
	if diff := cmp.Diff([]string{"1", "2"}, got); diff != "" {
		t.Errorf("tags (-want +got):\n%s", diff)
	}
}

func TestTagsEnd(t *testing.T) {
	endless := 0
	for name, tc := range map[string]struct {
		answer http.HandlerFunc
		least  int // tags that come nevertheless
		class  func(error) bool
	}{
		"a page that links to itself": {paged(9, func(string) string { return `<?n=1000>; rel="next"` }), 2, errdefs.IsInvalidArgument},
		"no JSON":                     {func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "<html>") }, 0, errdefs.IsInvalidArgument},
		"no list":                     {func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNotFound) }, 0, errdefs.IsNotFound},
		"a page too large": {func(w http.ResponseWriter, _ *http.Request) {
			w.Write([]byte(strings.Repeat(" ", 5<<20)))
		}, 0, errdefs.IsInvalidArgument},
		"pages without end": {func(w http.ResponseWriter, _ *http.Request) {
			endless++
			w.Header().Set("Link", fmt.Sprintf(`<?last=%d>; rel="next"`, endless))
			fmt.Fprint(w, `{"tags":["x"]}`)
		}, 100, func(err error) bool { return err == nil }},
	} {
		srv := serve(t, tc.answer)
		got, err := open(t, registry.Options{}).Tags(t.Context(), srv.ref(t, "app"))
		if !tc.class(err) || len(got) < tc.least {
			t.Errorf("%s: got %d tags and %v", name, len(got), err)
		}
	}
	if endless > 200 {
		t.Errorf("got %d requests for pages without end", endless)
	}
}

// TestTagsAreTags leaves out names that no registry may have: they would end
// up on a terminal.
func TestTagsAreTags(t *testing.T) {
	srv := serve(t, func(w http.ResponseWriter, req *http.Request) {
		if strings.Contains(req.URL.Path, "_catalog") {
			fmt.Fprint(w, `{"repositories":["good","a/b","UPPER","x\u001b[31m","","a//b","-"]}`)
			return
		}
		fmt.Fprint(w, `{"tags":["1.0","a b","\u001b]0;x\u0007","","-x","V_1.x-y"]}`)
	})
	r := open(t, registry.Options{})
	got, err := r.Tags(t.Context(), srv.ref(t, "app"))
	if diff := cmp.Diff([]string{"1.0", "V_1.x-y"}, got); err != nil || diff != "" {
		t.Errorf("tags: %v (-want +got):\n%s", err, diff)
	}
	got, err = r.Repositories(t.Context(), srv.host())
	if diff := cmp.Diff([]string{"good", "a/b"}, got); err != nil || diff != "" {
		t.Errorf("repositories: %v (-want +got):\n%s", err, diff)
	}
}

// TestTagsInTime gives what came before the context ended.
func TestTagsInTime(t *testing.T) {
	pages := paged(5, func(next string) string { return "<?" + next + `>; rel="next"` })
	stop := errors.New("the time is up")
	ctx, cancel := context.WithCancelCause(t.Context())
	srv := serve(t, func(w http.ResponseWriter, req *http.Request) {
		if req.URL.Query().Get("last") == "4" {
			cancel(stop)
			<-req.Context().Done()
			return
		}
		pages(w, req)
	})
	got, err := open(t, registry.Options{}).Tags(ctx, srv.ref(t, "app"))
	if !errors.Is(err, stop) || !slices.Equal(got, []string{"1", "2", "3", "4"}) {
		t.Errorf("got %v and %v, want four tags and the end of the time", got, err)
	}
}

// TestTagsOfMirror asks a mirror only if it may resolve, for the registry that
// it stands for, on every page.
func TestTagsOfMirror(t *testing.T) {
	srv := serve(t, paged(3, func(string) string { return `</v2/app/tags/list?last=2>; rel="next"` }))
	mirror := serveAt(t, "127.0.0.2", paged(3, func(string) string { return `</v2/app/tags/list?last=2>; rel="next"` }))
	for _, resolve := range []bool{false, true} {
		r := open(t, registry.Options{Hosts: hosts.Options{Mirrors: []hosts.Mirror{{Host: srv.host(), Endpoints: []string{mirror.URL}, Resolve: resolve}}}})
		if got, err := r.Tags(t.Context(), srv.ref(t, "app")); err != nil || len(got) != 3 {
			t.Errorf("got %v, %v; want three tags", got, err)
		}
	}
	want := []string{"GET /v2/app/tags/list", "GET /v2/app/tags/list"}
	if diff := cmp.Diff(want, mirror.seen()); diff != "" {
		t.Errorf("requests to the mirror (-want +got):\n%s", diff)
	}
	if got := mirror.last(t).URL.Query(); got.Get("ns") != srv.host() || got.Get("last") != "2" {
		t.Errorf("got query %v on the second page, want the registry and the place", got)
	}
}
