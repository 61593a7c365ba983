package pull_test

import (
	"context"
	"crypto/sha256"
	"errors"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/errdefs"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/containerd-pull/containerd-pull/pkg/internal/pulltest"
	"github.com/containerd-pull/containerd-pull/pkg/internal/pulltest/testdaemon"
	"github.com/containerd-pull/containerd-pull/pkg/internal/pulltest/testregistry"
	"github.com/containerd-pull/containerd-pull/pkg/progress"
	"github.com/containerd-pull/containerd-pull/pkg/pull"
	"github.com/containerd-pull/containerd-pull/pkg/registry"
	"github.com/containerd-pull/containerd-pull/pkg/source"
)

// fault is one way in which a pull can go wrong, and what has to come of it.
type fault struct {
	// name begins with the case it belongs to: groups B bodies, R registry, M
	// manifests, T layers, H other hosts, A credentials.
	name string
	// image to pull, which is to share no layer with those of other scenes; nil
	// is a bulky one.
	image func(*scene) *pulltest.Image
	// good is what the mended registry serves; nil is the same.
	good func(*scene) *pulltest.Image
	// guard is what the registry asks of its clients, nil nothing. It may have
	// to do with the second host.
	guard func(other *testregistry.Registry) testregistry.Options
	tune  func(*scene) // before anything is pulled
	// strike makes it go wrong; it is called before each pull that is to.
	strike func(*scene)
	edits  []func(*pull.Request)
	codes  []int    // exit codes that may come of it; none means 0 alone
	says   []string // in the message, beside the host; LAYER is the layer's digest
	check  func(*scene)
}

// scene is a fault that happens: the place, the registry, and a second host.
type scene struct {
	*site
	reg *testregistry.Registry
	// healthy serves the same content at the same address once reg has stopped;
	// nil if reg itself gets well.
	healthy *testregistry.Registry
	other   *testregistry.Registry // the same content on 127.0.0.2
	img     *pulltest.Image
	ref     string
	layer   digest.Digest // the second, which most faults befall
	err     error         // of the pull that went wrong
	took    time.Duration
	restart chan error // of a registry that is about to return

	mu     sync.Mutex
	events []progress.Event // of the registry
}

const (
	bulk = 512 << 10 // size of the layer in the middle
	// chunk is what may be fetched again when a pull resumes.
	chunk = 64 << 10
)

// bulky is an image whose second layer takes more than one read.
func bulky(c *scene) *pulltest.Image { return bulkyWith(c, pulltest.Spec{}) }

func bulkyWith(c *scene, spec pulltest.Spec) *pulltest.Image {
	c.t.Helper()
	seed := c.seed()
	noise := make([]byte, bulk)
	rand.NewChaCha8(sha256.Sum256([]byte(seed))).Read(noise) // never fails
	for _, l := range []struct {
		c    pulltest.Compression
		file pulltest.File
	}{
		{pulltest.Gzip, pulltest.Regular("first", seed)},
		{pulltest.Uncompressed, pulltest.Regular("noise", string(noise))},
		{pulltest.Gzip, pulltest.Regular("last", seed)},
	} {
		spec.Layers = append(spec.Layers, pulltest.NewLayer(l.c, l.file))
	}
	return pulltest.NewImage(spec)
}

// play lets a fault happen at a place: to an empty store and, if it makes the
// pull fail, to one that has another image under the name. Then the registry is
// mended.
func (f fault) play(t *testing.T, s *site) {
	c := f.scene(t, s)
	if len(f.codes) == 0 {
		f.strike(c)
		start := time.Now()
		c.mustPull(c.ref, f.edits...)
		c.took = time.Since(start)
		c.whole(c.img)
		f.checked(c)
		return
	}
	f.fails(c)
	if c.err == nil { // it may, and did not
		c.whole(c.img)
		return
	}
	if got := c.image(c.ref); got != nil {
		t.Errorf("got record %+v, want none", got)
	}
	if !c.resumable() {
		c.empty()
	}
	f.happensAgain(c)
}

func (f fault) checked(c *scene) {
	c.t.Helper()
	if f.check != nil {
		f.check(c)
	}
}

// happensAgain puts another image under the name, lets the fault happen to it,
// and pulls from the mended registry.
func (f fault) happensAgain(c *scene) {
	c.t.Helper()
	c.mend()
	old := small(c.t, "old "+c.seed(), pulltest.Gzip, pulltest.Spec{})
	testregistry.Push(c.t, c.reg, "team/app:1", old)
	c.mustPull(c.ref)
	c.noLitter()
	testregistry.Push(c.t, c.reg, "team/app:1", c.img)
	f.fails(c)
	if got := c.image(c.ref); got == nil || got.Target.Digest != old.Desc.Digest {
		c.t.Errorf("got record %+v, want that of before, %s", got, old.Desc.Digest)
	}

	held := c.held()
	c.mend()
	good := c.img
	if f.good != nil {
		good = f.good(c)
		testregistry.Push(c.t, c.reg, "team/app:1", good)
	}
	c.reg.ResetLog()
	if result := c.mustPull(c.ref, f.edits...); result.Previous != old.Desc.Digest || result.Target.Digest != good.Desc.Digest {
		c.t.Errorf("got %s after %s, want %s after %s", result.Target.Digest, result.Previous, good.Desc.Digest, old.Desc.Digest)
	}
	if got, want := c.reg.BlobBytes(), total(good)-held+chunk; c.resumable() && got > want {
		c.t.Errorf("got %d bytes fetched by the next pull, want no more than %d: %d were held", got, want, held)
	}
	c.collect()
	c.whole(good)
}

// scene sets up what f needs.
func (f fault) scene(t *testing.T, s *site) *scene {
	t.Helper()
	c := &scene{site: s, other: testregistry.Start(t, testregistry.Options{Addr: "127.0.0.2:0"}), restart: make(chan error, 1)}
	var guard testregistry.Options
	if f.guard != nil {
		guard = f.guard(c.other)
	}
	c.reg = testregistry.StartMirror(t, c.other, guard)
	c.calm()
	s.options.Progress = func(e progress.Event) {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.events = append(c.events, e)
	}
	if guard.TLS {
		s.options.Hosts.PlainHTTP, s.options.Hosts.SkipVerify = false, true
	}
	image := f.image
	if image == nil {
		image = bulky
	}
	c.img = image(c)
	if len(c.img.Layers) > 1 {
		c.layer = c.img.Layers[1].Digest
	}
	c.ref = testregistry.Push(t, c.reg, "team/app:1", c.img)
	if f.tune != nil {
		f.tune(c)
	}
	return c
}

func guarded(o testregistry.Options) func(*testregistry.Registry) testregistry.Options {
	return func(*testregistry.Registry) testregistry.Options { return o }
}

// seed is a name that no other scene has.
func (c *scene) seed() string { return c.t.Name() }

// fails wants the pull to fail as f says and to leave nothing of its own.
func (f fault) fails(c *scene) {
	c.t.Helper()
	f.strike(c)
	c.reg.ResetLog()
	start := time.Now()
	_, c.err = c.pull(c.ref, f.edits...)
	c.took = time.Since(start)
	if code := exitCode(c.err); !slices.Contains(f.codes, code) {
		c.t.Fatalf("got code %d: %v, want one of %v", code, c.err, f.codes)
	}
	if c.err == nil {
		return
	}
	for _, want := range append([]string{c.reg.Host()}, f.says...) {
		if want = strings.ReplaceAll(want, "LAYER", c.layer.String()); !strings.Contains(c.err.Error(), want) {
			c.t.Errorf("got %q, want %q in it", c.err, want)
		}
	}
	c.noActive()
	if held := c.leases(); !c.resumable() && len(held) > 0 || len(held) > 1 {
		c.t.Errorf("got leases %+v, want none, or one of a failure that can be resumed", held)
	}
	f.checked(c)
}

// resumable failures keep what was fetched, under one lease.
func (c *scene) resumable() bool {
	code := exitCode(c.err)
	return code == 6 || code == 7
}

// calm gives a registry that is well all the time it may need.
func (c *scene) calm() {
	c.options.StallTimeout = 10 * time.Second
	c.options.Retry = registry.Retry{Count: 2, Delay: 10 * time.Millisecond}
}

// mend ends what is wrong with the registry.
func (c *scene) mend() {
	c.t.Helper()
	c.calm()
	c.reg.SetBehave(nil)
	if err := c.reg.Stop(); err != nil {
		c.t.Fatal(err)
	}
	well := c.reg
	if c.healthy != nil {
		well = c.healthy
	}
	if err := well.Start(); err != nil {
		c.t.Fatal(err)
	}
}

// swap makes another registry with the same content and address the one that
// mend starts, and gives the address back to the one that is ill.
func (c *scene) swap(o testregistry.Options) {
	c.t.Helper()
	if c.healthy == nil {
		o.Addr = c.reg.Host()
		if err := c.reg.Stop(); err != nil {
			c.t.Fatal(err)
		}
		c.healthy = testregistry.StartMirror(c.t, c.reg, o)
	}
	if err := errors.Join(c.healthy.Stop(), c.reg.Start()); err != nil {
		c.t.Fatal(err)
	}
}

// held is the number of bytes of the image's blobs that the store has.
func (c *scene) held() int64 {
	c.t.Helper()
	var n int64
	stored := c.blobs()
	ingests := c.ingests()
	for _, b := range c.img.Blobs() {
		n += stored[b.Digest].Size
		for _, in := range ingests {
			if strings.HasSuffix(in.Ref, b.Digest.String()) {
				n += in.Offset
			}
		}
	}
	return n
}

// whole wants the image to be registered, stored, unpacked, and nothing beside.
func (c *scene) whole(img *pulltest.Image) {
	c.t.Helper()
	if got := c.image(c.ref); got == nil || got.Target.Digest != img.Desc.Digest {
		c.t.Errorf("got record %+v, want %s", got, img.Desc.Digest)
	}
	all := img
	img = hostImage(img)
	for _, b := range append(img.Blobs(), pulltest.NewBlob(img.Raw), pulltest.NewBlob(all.Raw)) {
		got, err := content.ReadBlob(c.ctx(), c.store().Content, ocispec.Descriptor{Digest: b.Digest, Size: b.Size})
		if err != nil || b.Digest.Algorithm().FromBytes(got) != b.Digest {
			c.t.Errorf("got %d bytes of blob %s and %v from the store, want what its name says", len(got), b.Digest, err)
		}
	}
	c.wantChains([]*pulltest.Image{img})
	c.noLitter()
}

// exitCode is the code of an error that concerns an image or its registry, in
// the order of precedence of cmd/containerd-pull/internal/exit.
func exitCode(err error) int {
	_, fromRegistry := errors.AsType[*source.Error](err)
	switch {
	case err == nil:
		return 0
	case fromRegistry && errdefs.IsResourceExhausted(err):
		return 6
	case errdefs.IsUnauthorized(err), errdefs.IsPermissionDenied(err):
		return 5
	case errdefs.IsNotFound(err):
		return 4
	case errdefs.IsDataLoss(err):
		return 8
	case errdefs.IsFailedPrecondition(err):
		return 2
	case errors.Is(err, context.DeadlineExceeded),
		fromRegistry && (errdefs.IsUnavailable(err) || errdefs.IsDeadlineExceeded(err)):
		return 7
	case errdefs.IsInvalidArgument(err), errdefs.IsNotImplemented(err), errdefs.IsOutOfRange(err):
		return 9
	case errdefs.IsUnavailable(err):
		return 3
	}
	return 1
}

// stage are the places where all faults happen: embedded roots, and one daemon
// in which every scene has a namespace of its own.
func stage(t *testing.T) []place {
	t.Helper()
	pulltest.Need(t, pulltest.Root)
	all := twoPlaces()
	all[1].shared = testdaemon.Start(t, testdaemon.Options{Version: all[1].version})
	return all
}

// requests for one digest, in order.
func (c *scene) requests(dgst digest.Digest) []testregistry.Request {
	return slices.DeleteFunc(c.reg.Requests(), func(r testregistry.Request) bool { return r.Target() != dgst.String() })
}

// gaveUp reports whether the registry said that the host is not asked again.
func (c *scene) gaveUp(host string) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.ContainsFunc(c.events, func(e progress.Event) bool { return e.Kind == progress.HostFailed && e.Host == host })
}

// atMost bounds what the registry sent, with room for the buffers of both sides
// and of the kernel.
func (c *scene) atMost(n int64) {
	c.t.Helper()
	const buffers = 12 << 20
	var sent int64
	for _, r := range c.reg.Requests() {
		sent += r.Bytes
	}
	if sent > n+buffers {
		c.t.Errorf("got %d bytes sent by the registry, want not many more than %d", sent, n)
	}
}

// asked wants this many requests for the layer.
func (c *scene) asked(least, most int) {
	c.t.Helper()
	if n := c.reg.BlobGets()[c.layer]; n < least || n > most {
		c.t.Errorf("got %d requests for the layer, want %d to %d", n, least, most)
	}
}

// served wants less than half of the image to have been sent twice.
func (c *scene) served() {
	c.t.Helper()
	if got, want := c.reg.BlobBytes(), total(c.img)*3/2; got > want {
		c.t.Errorf("got %d bytes served, want no more than %d", got, want)
	}
}
