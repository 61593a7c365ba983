package watch_test

import (
	"context"
	"crypto/sha256"
	"errors"
	"math/rand/v2"
	"net/http"
	"path"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/opencontainers/go-digest"
	"golang.org/x/sync/errgroup"

	"github.com/containerd-pull/containerd-pull/pkg/internal/pulltest"
	"github.com/containerd-pull/containerd-pull/pkg/internal/pulltest/testdaemon"
	"github.com/containerd-pull/containerd-pull/pkg/internal/pulltest/testregistry"
	"github.com/containerd-pull/containerd-pull/pkg/internal/pulltest/teststore"
	"github.com/containerd-pull/containerd-pull/pkg/progress"
	"github.com/containerd-pull/containerd-pull/pkg/pull"
	"github.com/containerd-pull/containerd-pull/pkg/registry"
	"github.com/containerd-pull/containerd-pull/pkg/source"
	"github.com/containerd-pull/containerd-pull/pkg/store"
	"github.com/containerd-pull/containerd-pull/pkg/store/daemon"
	"github.com/containerd-pull/containerd-pull/pkg/watch"
)

// errSeen ends a watch that has seen what it should.
var errSeen = errors.New("seen")

// site is a daemon, and a registry that holds back the end of large layers.
type site struct {
	*testing.T
	daemon   *testdaemon.Daemon
	registry *testregistry.Registry
	large    map[digest.Digest][]byte // layers
	release  chan struct{}            // closed when their ends may come
}

func newSite(t *testing.T, version string) *site {
	t.Helper()
	d := testdaemon.Start(t, testdaemon.Options{Version: version})
	return &site{t, d, testregistry.Start(t, testregistry.Options{}), map[digest.Digest][]byte{}, make(chan struct{})}
}

// piece is what containerd's clients write at once, at least.
const piece = 512 << 10

// behave answers for large layers with a piece now and then until they are released,
// the last of them not before.
func (s *site) behave(r *http.Request) testregistry.Behaviour {
	body, ok := s.large[digest.Digest(path.Base(r.URL.Path))]
	if !ok || r.Method != http.MethodGet || r.Header.Get("Range") != "" {
		return testregistry.Behaviour{}
	}
	return testregistry.Behaviour{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Length", strconv.Itoa(len(body)))
		for released := false; !released; {
			if len(body) > piece {
				_, _ = w.Write(body[:piece])
				_ = http.NewResponseController(w).Flush()
				body = body[piece:]
			}
			select {
			case <-s.release:
				released = true
			case <-r.Context().Done():
				return
			case <-time.After(400 * time.Millisecond):
			}
		}
		_, _ = w.Write(body)
	})}
}

func (s *site) watcher() *watch.Watcher {
	s.Helper()
	o, err := daemon.Observe(s.Context(), store.Options{Address: "unix://" + s.daemon.Address})
	if err != nil {
		s.Fatal(err)
	}
	s.Cleanup(func() { o.Close() })
	return &watch.Watcher{Daemon: o, Interval: 100 * time.Millisecond, Timeout: 20 * time.Second}
}

// push makes an image of an index with two layers of its own, of which one is large.
func (s *site) push(name string) string {
	s.Helper()
	random := rand.NewChaCha8(sha256.Sum256([]byte(name)))
	layer := func(n int) pulltest.Layer {
		text := make([]byte, n)
		_, _ = random.Read(text)
		return pulltest.NewLayer(pulltest.Uncompressed, pulltest.Regular("file", string(text)))
	}
	large := layer(30 * piece)
	body, err := large.Bytes()
	if err != nil {
		s.Fatal(err)
	}
	s.large[large.Digest] = body
	img := pulltest.NewImage(pulltest.Spec{Layers: []pulltest.Layer{large, layer(piece)}})
	return testregistry.Push(s.T, s.registry, name+":1", pulltest.NewIndex(img))
}

// client is one that pulls, and what is to be seen of it.
type client struct {
	name, namespace string
	own             bool // its lease tells the name
	pull            func(ctx context.Context, ref string) error
}

// TestPullsOfAll: every client's pulls are seen in every version of containerd, with
// what they need, how fast they are, and their end.
func TestPullsOfAll(t *testing.T) {
	pulltest.Long(t)
	for _, version := range testdaemon.Versions() {
		t.Run(version, func(t *testing.T) {
			s := newSite(t, version)
			clients := []client{{"ctr", "k8s.io", false, s.ctr("k8s.io")}, {"this", "default", true, s.program("default", pull.EngineClient)}}
			if version == testdaemon.Versions()[0] {
				clients = append(clients,
					client{"local", "default", false, s.ctr("default", "--local")},
					client{"transfer", "other", false, s.program("other", pull.EngineTransfer)})
			}
			s.watch(clients)
		})
	}
}

// watch checks what is seen of pulls that run at the same time.
func (s *site) watch(clients []client) {
	s.Helper()
	ctx, cancel := context.WithTimeout(s.Context(), time.Minute)
	defer cancel()
	refs := map[string]string{}
	for _, c := range clients {
		refs[c.name] = s.push(c.name)
	}
	s.registry.SetBehave(s.behave)
	var pulling errgroup.Group
	for _, c := range clients {
		pulling.Go(func() error { return c.pull(ctx, refs[c.name]) })
	}
	w := s.watcher()
	var ended []string
	w.Progress = func(e progress.Event) {
		if e.Kind == progress.Ended && e.Message != "" {
			ended = append(ended, e.Message)
		}
	}
	running, over := map[string]watch.Pull{}, map[string]watch.Pull{}
	err := w.Run(ctx, func(all []watch.Pull) error {
		for _, p := range all {
			for _, c := range clients {
				switch {
				case p.Namespace != c.namespace || !strings.Contains(p.Title(), "/"+c.name):
				case p.State == watch.Fetching && p.Listed && p.ETA > 0:
					running[c.name] = p
				case p.State == watch.Done && p.Layers > 0:
					over[c.name] = p
				}
			}
		}
		if len(running) == len(clients) {
			s.releaseAll()
		}
		if len(over) == len(clients) {
			return errSeen
		}
		return nil
	})
	s.releaseAll()
	if perr := pulling.Wait(); perr != nil || !errors.Is(err, errSeen) {
		s.Fatalf("got %v and %v; seen: %+v and %+v", err, perr, running, over)
	}
	for _, c := range clients {
		s.judge(c, refs[c.name], running[c.name], over[c.name])
	}
	for _, message := range ended {
		if !strings.HasPrefix(message, "all of it is here, ") {
			s.Errorf("got %q", message)
		}
	}
}

func (s *site) releaseAll() {
	select {
	case <-s.release:
	default:
		close(s.release)
	}
}

// judge checks what was seen of the pull of a client while it ran, and in the end.
func (s *site) judge(c client, ref string, running, over watch.Pull) {
	s.Helper()
	if running.Rate <= 0 || running.Layers != 2 || running.Bytes.Done == 0 || running.Bytes.Total < 30*piece || running.Bytes.Total >= 32*piece {
		s.Errorf("%s: got %+v while it ran", c.name, running)
	}
	if over.LayersDone != 2 || over.Bytes.Done != over.Bytes.Total {
		s.Errorf("%s: got %+v in the end", c.name, over)
	}
	if over.Own != c.own || c.own && over.Title() != ref || !c.own && over.Lease == "" {
		s.Errorf("%s: got title %q, own %v, lease %q", c.name, over.Title(), over.Own, over.Lease)
	}
}

func (s *site) ctr(namespace string, flags ...string) func(context.Context, string) error {
	return func(ctx context.Context, ref string) error {
		_, err := s.daemon.RunCtr(ctx, append(append([]string{"-n", namespace, "images", "pull", "--plain-http"}, flags...), ref)...)
		return err
	}
}

func (s *site) program(namespace string, engine pull.Engine) func(context.Context, string) error {
	return func(ctx context.Context, name string) error {
		ref, err := source.ParseRef(name)
		if err != nil {
			return err
		}
		reg, err := registry.New(registry.Options{})
		if err != nil {
			return err
		}
		st, err := daemon.Dial(ctx, store.Options{Address: s.daemon.Address, Namespace: namespace})
		if err != nil {
			return err
		}
		defer st.Close()
		_, err = (&pull.Puller{Store: st, Source: reg}).Pull(ctx, pull.Request{Ref: ref, Engine: engine})
		return err
	}
}

// TestLookingChangesNothing: no record of the daemon's, whatever is seen.
func TestLookingChangesNothing(t *testing.T) {
	pulltest.Long(t)
	for _, version := range testdaemon.Versions() {
		t.Run(version, func(t *testing.T) {
			s := newSite(t, version)
			st := teststore.Dial(t, store.Options{Address: s.daemon.Address})
			ctx, lease, _ := teststore.Lease(t, st, teststore.Ref)
			dgst := teststore.Ingest(ctx, t, st, "left")
			w := s.watcher()
			before := s.daemon.Records(t)
			pulls, err := w.Once(t.Context())
			if err != nil || len(pulls) != 1 || pulls[0].Title() != teststore.Ref || pulls[0].Blobs[0].Digest != dgst {
				t.Errorf("got %+v and %v, want the ingest of %s", pulls, err, dgst)
			}
			if diff := cmp.Diff(before, s.daemon.Records(t)); diff != "" {
				t.Errorf("the metadata changed:\n%s", diff)
			}
			if _, err := lease.Suspend(st.Context(t.Context())); err != nil {
				t.Fatal(err)
			}
			pulls, err = s.watcher().Look(t.Context())
			states := map[watch.State]bool{}
			for _, p := range pulls {
				states[p.State] = true
			}
			if !states[watch.Interrupted] || err != nil {
				t.Errorf("of an interrupted pull: got %+v and %v", pulls, err)
			}
		})
	}
}

// TestDaemonThatRestarts: the watch says that the daemon is away, and goes on when it
// is back.
func TestDaemonThatRestarts(t *testing.T) {
	pulltest.Long(t)
	s := newSite(t, testdaemon.Versions()[0])
	w := s.watcher()
	var said []string
	w.Warn = func(m string) {
		said = append(said, m)
		if len(said) == 1 {
			if err := s.daemon.Start(t.Context()); err != nil {
				t.Error(err)
			}
		}
	}
	looks := 0
	err := w.Run(t.Context(), func([]watch.Pull) error {
		if looks++; looks == 1 {
			return s.daemon.Kill()
		}
		return errSeen
	})
	if !errors.Is(err, errSeen) || len(said) != 2 || !strings.HasSuffix(said[0], "; waiting for it") || !strings.HasPrefix(said[1], "containerd answers again at ") {
		t.Errorf("got %v and %q", err, said)
	}
	if err := s.daemon.Kill(); err != nil {
		t.Fatal(err)
	}
	if _, err := w.Once(t.Context()); !errors.Is(err, store.ErrUnavailable) {
		t.Errorf("of a daemon that is away: got %v", err)
	}
	if _, err := daemon.Observe(t.Context(), store.Options{Address: s.daemon.Address}); !errors.Is(err, store.ErrUnavailable) {
		t.Errorf("got %v", err)
	}
}
