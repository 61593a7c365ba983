package pull_test

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/containerd-pull/containerd-pull/pkg/internal/pulltest/testregistry"
	"github.com/containerd-pull/containerd-pull/pkg/progress"
	"github.com/containerd-pull/containerd-pull/pkg/registry/hosts"
)

// locked is a buffer for many writers.
type locked struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *locked) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

// TestSecretsStayOutOfTheStore pulls with a password, a token, a header and a
// signed URL, once to an end and once to half, and looks for them in what a
// store and a daemon keep and write: files, databases with labels and leases,
// the daemon's log, and the client's own dumps and errors (case A3; the command's tests
// look at what it shows).
func TestSecretsStayOutOfTheStore(t *testing.T) {
	each(t, twoPlaces(), func(t *testing.T, s *site) {
		shown := &locked{}
		f := fault{guard: guarded(testregistry.Options{Token: &testregistry.TokenOptions{Credentials: me()}}), tune: knows}
		c := f.scene(t, s)
		c.options.Dump, c.options.Trace = shown, shown
		c.options.Hosts.Mirrors = []hosts.Mirror{{
			Host: c.reg.Host(), Endpoints: []string{c.other.URL()}, Headers: map[string]string{"X-Key": "canary-header"},
		}}
		signed := testregistry.Behaviour{Redirect: c.other.URL() + "/v2/team/app/blobs/" + c.layer.String() + "?sig=canary-signature"}
		inLayer(signed)(c)
		c.other.SetBehave(func(r *http.Request) testregistry.Behaviour {
			if r.URL.Query().Has("sig") {
				return testregistry.Behaviour{Fault: testregistry.Truncate, After: bulk / 2}
			}
			return testregistry.Behaviour{Status: http.StatusNotFound} // a mirror that has nothing
		})
		result, err := c.puller(func(e progress.Event) { fmt.Fprintf(shown, "%+v\n", e) }).Pull(t.Context(), c.request(c.ref))
		if fmt.Fprintln(shown, result, err); exitCode(err) != 0 {
			t.Errorf("got %v, want success by going on where it was cut", err)
		}
		c.halfWay(shown)
		c.close()
		if !strings.Contains(shown.b.String(), "> GET ") {
			t.Errorf("got no requests in the dump: %s", &shown.b)
		}
		hides(t, "what is shown", shown.b.Bytes())
		if c.daemon != nil {
			hides(t, "the daemon's log", []byte(c.daemon.Log()))
		}
		searchRoot(t, c.root)
	})
}

// halfWay pulls another image until the registry dies, so that a lease stays.
func (c *scene) halfWay(shown io.Writer) {
	c.t.Helper()
	next := noisyImage(c.t, bulk)
	ref := testregistry.Push(c.t, c.reg, "team/next:1", next)
	c.reg.SetBehave(testregistry.Always(testregistry.Object(next.Layers[1].Digest), testregistry.Behaviour{Status: http.StatusInternalServerError}))
	_, err := c.pull(ref)
	if fmt.Fprintln(shown, err); exitCode(err) != 7 || len(c.leases()) != 1 {
		c.t.Errorf("got %v and leases %+v, want a failure of the network and one lease", err, c.leases())
	}
}

// searchRoot looks into all files of a root, and at their names.
func searchRoot(t *testing.T, root string) {
	t.Helper()
	files := 0
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		files++
		data, err := os.ReadFile(path)
		hides(t, path, data)
		return err
	})
	if err != nil || files < 5 {
		t.Errorf("got %d files in the root and %v, want some", files, err)
	}
}

func hides(t *testing.T, what string, data []byte) {
	t.Helper()
	for _, needle := range []string{"canary", base64.StdEncoding.EncodeToString([]byte("me:" + secret))} {
		if i := bytes.Index(data, []byte(needle)); i >= 0 {
			t.Errorf("%s: got %q in …%q…, want no secret", what, needle, data[max(0, i-60):min(len(data), i+60)])
		}
	}
}
