package pull_test

import (
	"context"
	"crypto/rand"
	"errors"
	"net/http"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/containerd/v2/core/images"
	"github.com/containerd/containerd/v2/core/leases"
	"github.com/containerd/containerd/v2/core/snapshots"
	"github.com/opencontainers/go-digest"

	"github.com/containerd-pull/containerd-pull/pkg/internal/pulltest"
	"github.com/containerd-pull/containerd-pull/pkg/internal/pulltest/testdaemon"
	"github.com/containerd-pull/containerd-pull/pkg/internal/pulltest/testregistry"
	"github.com/containerd-pull/containerd-pull/pkg/internal/pulltest/teststore"
	"github.com/containerd-pull/containerd-pull/pkg/progress"
	"github.com/containerd-pull/containerd-pull/pkg/pull"
	"github.com/containerd-pull/containerd-pull/pkg/registry"
	"github.com/containerd-pull/containerd-pull/pkg/registry/hosts"
	"github.com/containerd-pull/containerd-pull/pkg/source"
	"github.com/containerd-pull/containerd-pull/pkg/store"
	"github.com/containerd-pull/containerd-pull/pkg/store/daemon"
	"github.com/containerd-pull/containerd-pull/pkg/store/root"
	"github.com/containerd-pull/containerd-pull/pkg/trust"
)

// place is a kind of store.
type place struct {
	name        string
	snapshotter string
	version     string // of the daemon; empty for an embedded root
	// shared is a daemon that several sites use, each in a namespace of its
	// own; nil gives each site a daemon.
	shared *testdaemon.Daemon
}

// places are all kinds of store that the contract is kept on.
func places() []place { return kinds(teststore.Places()) }

// imagePlaces are those where layers become EROFS images.
func imagePlaces() []place {
	return []place{{name: "erofs of containerd 2.4", snapshotter: "erofs", version: "2.4"}, {name: "embedded erofs", snapshotter: "erofs"}}
}

// twoPlaces are one of each mode, for variations that do not depend on more.
func twoPlaces() []place { return kinds(teststore.TwoPlaces()) }

func kinds(all []teststore.Place) (places []place) {
	for _, p := range all {
		places = append(places, place{name: p.Title, snapshotter: p.Snapshotter, version: p.Version})
	}
	return places
}

// each runs the test at each place, with a fresh root and the same registry.
func each(t *testing.T, all []place, test func(t *testing.T, s *site)) {
	t.Helper()
	for _, p := range all {
		t.Run(p.name, func(t *testing.T) {
			t.Parallel()
			test(t, newSite(t, p))
		})
	}
}

// site is a place in use: a fresh root, with a daemon on it or without.
type site struct {
	place
	t         testing.TB
	root      string
	namespace string // the default one if empty
	daemon    *testdaemon.Daemon
	options   registry.Options
	limits    pull.Limits
	verify    trust.Verifier
	relay     bool // the daemon is reached through a socket that is not its own
	// front is what stands before the daemon; nil is nothing.
	front *testdaemon.FrontOptions
	// declines has a child find that the daemon's applier cannot do it.
	declines bool
	// patience is how long a daemon is waited for; 0 is the default.
	patience time.Duration
	opened   *store.Store
}

// newSite makes a site that ends with the test.
func newSite(t testing.TB, p place) *site {
	t.Helper()
	pulltest.Need(t, pulltest.Root)
	s := bareSite(t, p)
	t.Cleanup(s.close)
	if p.version == "" {
		s.root = filepath.Join(t.TempDir(), "root") // for the store to make
		return s
	}
	if p.shared == nil {
		s.serve(testdaemon.Options{Version: p.version})
		return s
	}
	s.daemon, s.root, s.namespace = p.shared, p.shared.Root, strings.ToLower(rand.Text())
	return s
}

// serve starts a daemon for the site.
func (s *site) serve(o testdaemon.Options) {
	s.t.Helper()
	s.daemon = testdaemon.Start(s.t, o)
	s.version, s.root = s.daemon.Version, s.daemon.Root
}

// bareSite is a site without a root.
func bareSite(t testing.TB, p place) *site {
	return &site{place: p, t: t, options: registry.Options{
		Hosts:        hosts.Options{PlainHTTP: true},
		StallTimeout: 2 * time.Second,
		Retry:        registry.Retry{Count: 2, Delay: 10 * time.Millisecond},
	}}
}

// in is the site in a part of its test, which reports failures of its own.
func (s *site) in(t testing.TB) *site {
	s.store()
	part := *s
	part.t = t
	return &part
}

// store opens the store, or returns the one that is open.
func (s *site) store() *store.Store {
	s.t.Helper()
	if s.opened == nil {
		o := store.Options{Snapshotter: s.snapshotter, Namespace: s.namespace, ConnectTimeout: s.patience}
		if s.daemon != nil {
			o.Address = s.daemon.Address
			if s.relay {
				o.Address = testdaemon.Relay(s.t, o.Address)
			}
			if s.front != nil {
				o.Address = testdaemon.Front(s.t, o.Address, *s.front)
			}
			var err error
			s.opened, err = daemon.Dial(s.t.Context(), o)
			if err != nil {
				s.t.Fatal(err)
			}
		} else {
			o.Root = s.root
			var err error
			s.opened, err = root.Open(s.t.Context(), o)
			if err != nil {
				s.t.Fatal(err)
			}
		}
	}
	return s.opened
}

func (s *site) close() {
	if s.opened == nil {
		return
	}
	if err := s.opened.Close(); err != nil {
		s.t.Errorf("closing the store: %v", err)
	}
	s.opened = nil
}

// boot returns the daemon of the site; on an embedded root it starts one of the
// version and leaves the root to it.
func (s *site) boot(version string) *testdaemon.Daemon {
	s.t.Helper()
	if s.daemon == nil {
		s.close()
		s.daemon = testdaemon.Start(s.t, testdaemon.Options{Version: version, Root: s.root})
	}
	return s.daemon
}

func (s *site) ctx() context.Context { return s.store().Context(s.t.Context()) }

func (s *site) puller(sink progress.Sink) *pull.Puller {
	s.t.Helper()
	reg, err := registry.New(s.options)
	if err != nil {
		s.t.Fatal(err)
	}
	return &pull.Puller{
		Store: s.store(), Source: reg, Progress: sink, Limits: s.limits,
		Verifier: s.verify,
	}
}

func (s *site) request(ref string, edits ...func(*pull.Request)) pull.Request {
	s.t.Helper()
	parsed, err := source.ParseRef(ref)
	if err != nil {
		s.t.Fatal(err)
	}
	r := pull.Request{Ref: parsed}
	for _, edit := range edits {
		edit(&r)
	}
	return r
}

// pull pulls ref as a process of its own would: with nothing remembered.
func (s *site) pull(ref string, edits ...func(*pull.Request)) (*pull.Result, error) {
	s.t.Helper()
	return s.puller(nil).Pull(s.t.Context(), s.request(ref, edits...))
}

func (s *site) mustPull(ref string, edits ...func(*pull.Request)) *pull.Result {
	s.t.Helper()
	result, err := s.pull(ref, edits...)
	if err != nil {
		s.t.Fatal(err)
	}
	return result
}

// leases lists the leases of pulls of this client.
func (s *site) leases() []leases.Lease {
	s.t.Helper()
	all, err := s.store().Leases.List(s.ctx())
	if err != nil {
		s.t.Fatal(err)
	}
	return slices.DeleteFunc(all, func(l leases.Lease) bool { return l.Labels[store.LabelRef] == "" })
}

// snapshots lists all snapshots by name.
func (s *site) snapshots() map[string]snapshots.Info {
	s.t.Helper()
	return teststore.Snapshots(s.ctx(), s.t, s.store())
}

// blobs lists everything in the content store.
func (s *site) blobs() map[digest.Digest]content.Info {
	s.t.Helper()
	all := map[digest.Digest]content.Info{}
	err := s.store().Content.Walk(s.ctx(), func(info content.Info) error {
		all[info.Digest] = info
		return nil
	})
	if err != nil {
		s.t.Fatalf("listing content: %v", err)
	}
	return all
}

func (s *site) ingests() []content.Status {
	s.t.Helper()
	all, err := s.store().Content.ListStatuses(s.ctx())
	if err != nil {
		s.t.Fatal(err)
	}
	return all
}

// image returns the record of ref, or nil.
func (s *site) image(ref string) *images.Image {
	s.t.Helper()
	img, err := s.store().Image(s.ctx(), ref)
	if err != nil {
		s.t.Fatal(err)
	}
	return img
}

// noLitter fails the test if a pull left a lease or an unfinished snapshot.
func (s *site) noLitter() {
	s.t.Helper()
	for _, l := range s.leases() {
		s.t.Errorf("got lease %s with %v, want none of a pull", l.ID, l.Labels)
	}
	s.noActive()
}

func (s *site) noActive() {
	s.t.Helper()
	for name, info := range s.snapshots() {
		if info.Kind != snapshots.KindCommitted {
			s.t.Errorf("got %s snapshot %s, want none unfinished", info.Kind, name)
		}
	}
}

// collect runs a garbage collection and waits for its end.
func (s *site) collect() {
	s.t.Helper()
	var err error
	if s.daemon != nil {
		err = s.daemon.Collect(s.t.Context(), "default")
	} else {
		err = s.store().Collect(s.t.Context(), store.Garbage)
	}
	if err != nil {
		s.t.Fatalf("collecting garbage: %v", err)
	}
}

// empty fails the test unless a garbage collection leaves nothing at all.
func (s *site) empty() {
	s.t.Helper()
	s.collect()
	for dgst, info := range s.blobs() {
		s.t.Errorf("got blob %s with %v after the collection, want nothing", dgst, info.Labels)
	}
	for name := range s.snapshots() {
		s.t.Errorf("got snapshot %s after the collection, want nothing", name)
	}
	for _, in := range s.ingests() {
		s.t.Errorf("got ingest %s of %d bytes after the collection, want nothing", in.Ref, in.Offset)
	}
}

// ready fails the test unless the daemon says that ref is complete and
// unpacked.
func (s *site) ready(d *testdaemon.Daemon, ref string) {
	s.t.Helper()
	teststore.WantReady(s.t, d, s.snapshotter, ref)
}

// run starts a container from ref and returns what it wrote.
func (s *site) run(d *testdaemon.Daemon, ref string, command ...string) string {
	s.t.Helper()
	pulltest.Need(s.t, pulltest.Program("runc"))
	out, err := d.RunContainer(s.t.Context(), "default", []string{"--snapshotter", s.snapshotter}, ref, command...)
	if err != nil {
		s.t.Fatal(err)
	}
	return out
}

// answer serves a document under "repository:tag" that no registry would store.
func answer(name, mediaType string, raw []byte) testregistry.Behave {
	repository, tag, _ := strings.Cut(name, ":")
	path := "/v2/" + repository + "/manifests/" + tag
	return func(r *http.Request) testregistry.Behaviour {
		if r.URL.Path != path {
			return testregistry.Behaviour{}
		}
		return testregistry.Behaviour{Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", mediaType)
			w.Header().Set("Docker-Content-Digest", digest.FromBytes(raw).String())
			w.Write(raw) // fails only for a client that has gone
		})}
	}
}

func asError(err error) (*pull.Error, bool) { return errors.AsType[*pull.Error](err) }
