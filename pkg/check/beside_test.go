package check_test

import (
	"context"
	"crypto/rand"
	"fmt"
	"hash/fnv"
	mrand "math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/containerd/containerd/v2/core/images"
	"github.com/containerd/containerd/v2/core/leases"
	"github.com/containerd/errdefs"

	"github.com/containerd-pull/containerd-pull/pkg/check"
	"github.com/containerd-pull/containerd-pull/pkg/internal/pulltest"
	"github.com/containerd-pull/containerd-pull/pkg/internal/pulltest/testdaemon"
	"github.com/containerd-pull/containerd-pull/pkg/internal/pulltest/testregistry"
	"github.com/containerd-pull/containerd-pull/pkg/internal/pulltest/teststore"
	"github.com/containerd-pull/containerd-pull/pkg/store"
)

// moments counts the calls to a daemon, and has something else happen before one of
// them.
type moments struct {
	mu   sync.Mutex
	seen int
	at   int // -1 is never
	act  func()
}

// pass is called before each call. What comes meanwhile waits.
func (m *moments) pass(string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.seen == m.at {
		m.act()
	}
	m.seen++
}

// begin makes the count begin anew.
func (m *moments) begin(at int, act func()) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.seen, m.at, m.act = 0, at, act
}

// end returns how many calls there were, and what was to happen happens now if none
// was the one.
func (m *moments) end() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.at >= m.seen {
		m.act()
	}
	m.at = -1
	return m.seen
}

// company is a namespace of a daemon in which two programs work.
type company struct {
	*site
	moments *moments
	direct  *store.Store // past what counts calls
	reg     *testregistry.Registry
	// One image is removed by the other program, one stays; they share layers.
	removed, stays *pulltest.Image
	removedRef     string
	staysRef       string
}

// newCompany pulls both images into a namespace of its own.
func newCompany(t *testing.T, d *testdaemon.Daemon) *company {
	t.Helper()
	c := &company{moments: &moments{at: -1}, reg: testregistry.Start(t, testregistry.Options{})}
	o := store.Options{Snapshotter: store.Overlayfs, Namespace: "ns-" + strings.ToLower(rand.Text())}
	o.Address = testdaemon.Front(t, d.Address, testdaemon.FrontOptions{Before: c.moments.pass})
	c.site = &site{place: teststore.Place{Snapshotter: o.Snapshotter, Version: d.Version}, t: t, root: d.Root, daemon: d, Store: teststore.Dial(t, o)}
	o.Address = d.Address
	c.direct = teststore.Dial(t, o)
	c.removed, c.removedRef = c.image("removed")
	c.stays, c.staysRef = c.image("stays")
	c.pull(c.removedRef)
	c.pull(c.staysRef)
	return c
}

// image puts an image on top of layers that all have into the registry.
func (c *company) image(name string) (img *pulltest.Image, ref string) {
	c.t.Helper()
	base := small(c.t, "company "+c.Namespace)
	own := pulltest.NewLayer(pulltest.Gzip, pulltest.Directory("opt"), pulltest.Regular("opt/name", name+c.Namespace)) // namespaces share files
	img = pulltest.NewImage(pulltest.Spec{Layers: append(base.Layers[:2:2], own)})
	return img, testregistry.Push(c.t, c.reg, "team/"+name+":1", img)
}

// ownCalls are what this program does while another one works. Each returns what the
// calls to the daemon come of, after what has to be there before.
func ownCalls() map[string]func(c *company) func() {
	return map[string]func(c *company) func(){
		"pull": func(c *company) func() {
			_, ref := c.image("pulled")
			return func() { c.pull(ref) }
		},
		"verify --deep": func(c *company) func() {
			return func() { c.verified(c.checker(true).Check) }
		},
		"verify --deep --repair": func(c *company) func() {
			spoil(c.t, filepath.Join(c.folder(c.stays, 2), "opt/name"), flip)
			spoil(c.t, c.blob(c.removed.Layers[2].Digest), flip)
			return func() { c.verified(c.checker(true).Repair) }
		},
		"gc": func(c *company) func() {
			c.abandon()
			return func() {
				if freed, err := c.GC(c.t.Context(), false); err != nil || len(freed.Leases) != 1 {
					c.t.Errorf("got %+v and %v, want one lease freed", freed, err)
				}
			}
		},
	}
}

// verified checks or repairs both images, and wants no error: what is removed
// meanwhile is none.
func (c *company) verified(do func(context.Context, []images.Image) ([]check.Report, error)) {
	c.t.Helper()
	both := c.images(c.removedRef, c.staysRef)
	if _, err := do(c.t.Context(), both); err != nil {
		c.t.Errorf("got %v, want what is removed meanwhile to be no error", err)
	}
}

// abandon makes what a dead pull leaves: a lease with a blob that nothing else has, an
// unfinished snapshot, and what the image that is removed has.
func (c *company) abandon() {
	c.t.Helper()
	abandon(c.t, c.direct, c.removed)
}

func abandon(t testing.TB, s *store.Store, img *pulltest.Image) {
	t.Helper()
	ctx := s.Context(t.Context())
	l, err := s.Leases.Create(ctx, leases.WithID(store.LeasePrefix+"dead"), leases.WithLabels(map[string]string{store.LabelRef: "dead", store.LabelOwner: ""}))
	must(t, err)
	ctx = leases.WithLease(ctx, l.ID)
	teststore.Blob(ctx, t, s, rand.Text())
	_, err = s.Snapshotter.Prepare(ctx, store.ActivePrefix+rand.Text(), img.ChainIDs()[1].String())
	must(t, err)
	for _, b := range img.Blobs() {
		must(t, s.Leases.AddResource(ctx, l, leases.Resource{ID: b.Digest.String(), Type: store.ResourceContent}))
	}
}

// others are what other programs do.
func others() map[string]func(c *company) error {
	return map[string]func(c *company) error{
		"the kubelet's image collection": func(c *company) error { // as CRI removes each name
			err := c.direct.Images.Delete(c.direct.Context(c.t.Context()), c.removedRef, images.SynchronousDelete())
			if errdefs.IsNotFound(err) {
				return nil
			}
			return err
		},
		"ctr images rm": func(c *company) error {
			return c.ctr("images", "rm", "--sync", c.removedRef)
		},
		"ctr content prune references": func(c *company) error { return c.ctr("content", "prune", "references") },
		"nerdctl image prune": func(c *company) error {
			_, err := c.daemon.RunNerdctl(c.t.Context(), "--namespace", c.Namespace, "image", "prune", "--all", "--force")
			return err
		},
		"nerdctl system prune": func(c *company) error {
			_, err := c.daemon.RunNerdctl(c.t.Context(), "--namespace", c.Namespace, "system", "prune", "--all", "--force")
			return err
		},
		"the daemon's own collector": func(c *company) error { return c.daemon.Collect(c.t.Context(), c.Namespace) },
	}
}

func (c *company) ctr(args ...string) error {
	_, err := c.daemon.RunCtr(c.t.Context(), append([]string{"--namespace", c.Namespace}, args...)...)
	return err
}

// settled wants everything that a record names to be whole, and nothing to be left of
// what has ended.
func (c *company) settled(keeps bool) {
	c.t.Helper()
	must(c.t, c.daemon.Collect(c.t.Context(), c.Namespace))
	c.Store = c.direct
	all, err := c.Images.List(c.ctx())
	must(c.t, err)
	reports, err := (&check.Checker{Store: c.direct, Deep: true}).Check(c.t.Context(), all)
	must(c.t, err)
	kept := false
	for _, r := range reports {
		kept = kept || r.Image.Name == c.staysRef
		for _, f := range r.Findings {
			c.t.Errorf("got finding %s %s %s %q of %s, want none", f.Kind, f.Digest, f.Path, f.Message, r.Image.Name)
		}
	}
	if keeps && !kept {
		c.t.Errorf("got records %+v, want that of %s still", all, c.staysRef)
	}
	c.noLitter()
}

// TestBesideOtherTools has other programs remove images and collect garbage at one
// moment after the other of a pull, a check, a repair and a collection: nothing is lost
// that a record names, what is removed is no error, and no lease is left. The moments
// are the calls to the daemon: BESIDE_MOMENTS of each pair, at random, or one.
func TestBesideOtherTools(t *testing.T) {
	pulltest.Need(t, pulltest.Root, pulltest.Tools(pulltest.Nerdctl))
	d := testdaemon.Start(t, testdaemon.Options{})
	for call, prepare := range ownCalls() {
		calls := 0
		t.Run(call, func(t *testing.T) {
			c := newCompany(t, d)
			do := prepare(c)
			c.moments.begin(-1, nil)
			do()
			calls = c.moments.end()
			c.settled(true)
		})
		for name, act := range others() {
			random := dice(t, call+name)
			for range count(t, "BESIDE_MOMENTS", 1) {
				at := random.IntN(max(calls, 1))
				t.Run(fmt.Sprint(call, "/", name, "/", at), func(t *testing.T) {
					c := newCompany(t, d)
					do := prepare(c)
					c.moments.begin(at, func() {
						if err := act(c); err != nil {
							t.Error(err)
						}
					})
					do()
					c.moments.end()
					c.settled(!strings.HasPrefix(name, "nerdctl"))
				})
			}
		}
	}
}

// dice are random numbers that are the same in every run of a test.
func dice(t *testing.T, name string) *mrand.Rand {
	seed := fnv.New64a()
	seed.Write([]byte(t.Name() + name)) // never fails
	return mrand.New(mrand.NewPCG(seed.Sum64(), 0))
}

// count is how often something is tried: what the variable says, or a few times.
func count(t *testing.T, variable string, few int) int {
	t.Helper()
	s := os.Getenv(variable)
	if s == "" {
		return few
	}
	n, err := strconv.Atoi(s)
	if err != nil {
		t.Fatalf("%s: %v", variable, err)
	}
	return n
}
