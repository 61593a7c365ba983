package unpack

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/containerd/containerd/v2/core/images"
	"github.com/containerd/errdefs"
	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/identity"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/sync/errgroup"

	"github.com/containerd-pull/containerd-pull/pkg/failure"
	lay "github.com/containerd-pull/containerd-pull/pkg/layer"
	"github.com/containerd-pull/containerd-pull/pkg/store"
)

// chain is the unpack of one image.
type chain struct {
	u        *Unpacker
	img      Image
	chainIDs []digest.Digest
	whole    []*layer        // those that have a snapshot with its files
	layers   []*layer        // the others, bottom first
	claimed  []digest.Digest // those of layers that no other image was making at first
	ghosts   sync.Once       // see removeGhosts
	keeping  sync.Mutex
	kept     bool   // see keep
	direct   bool   // this process writes the snapshots; otherwise the store's applier does
	engine   Engine // as the result names it
	reason   string
}

// newChain finds out which layers are missing: those above the highest snapshot
// that exists.
func (u *Unpacker) newChain(ctx context.Context, img Image) (*chain, error) {
	if len(img.Layers) != len(img.DiffIDs) {
		return nil, failure.New(errdefs.ErrDataLoss, "the manifest lists %d layers, the config %d diff IDs",
			len(img.Layers), len(img.DiffIDs))
	}
	c := &chain{u: u, img: img, chainIDs: identity.ChainIDs(slices.Clone(img.DiffIDs)), engine: EngineClient, reason: "nothing to unpack"}
	all := c.claim()
	there, err := c.find(ctx)
	if err != nil {
		unlock(all)
		return nil, err
	}
	for i, l := range all {
		sn := there.Snapshots[c.chainIDs[i]]
		l.lost = sn.Damage != ""
		switch {
		case sn.IsThere():
			l.blobOnly = true
			l.giveUp()
			c.whole = append(c.whole, l)
			continue
		case l.release != nil:
			c.claimed = append(c.claimed, c.chainIDs[i])
		}
		c.layers = append(c.layers, l)
	}
	return c, nil
}

// claim takes the right to make each snapshot of the chain that no other image is
// making, before it is looked which there are. Images that share snapshots share the
// lower ones, and who makes one waits only for those below it, so that they cannot wait
// for each other.
func (c *chain) claim() []*layer {
	all := make([]*layer, len(c.chainIDs))
	for i := range all {
		all[i] = c.newLayer(i)
		all[i].release = c.u.shared.snapshots.TryLock(all[i].chainID)
	}
	return all
}

// giveUp leaves the snapshot to other images, which find it or make it.
func (l *layer) giveUp() {
	if l.release != nil {
		l.release()
	}
}

// unlock gives up what was claimed.
func unlock(layers []*layer) {
	for _, l := range layers {
		l.giveUp()
	}
}

// worked reports whether this unpack has made a snapshot.
func (c *chain) worked() bool {
	return slices.ContainsFunc(c.layers, func(l *layer) bool { return !l.followed })
}

func (c *chain) top() digest.Digest {
	if len(c.chainIDs) == 0 {
		return ""
	}
	return c.chainIDs[len(c.chainIDs)-1]
}

// find finds out which snapshots there are. It puts the highest under the lease, and
// before it the blobs of the image: if the snapshot is there afterwards, no collection
// came in between that took both.
func (c *chain) find(ctx context.Context) (store.Found, error) {
	for {
		found, err := c.u.store.Survey(ctx, store.Wanted{Chains: [][]digest.Digest{c.chainIDs}})
		highest := c.highest(found)
		if highest == "" || err != nil {
			return found, err
		}
		if err := c.keep(ctx); err != nil {
			return found, err
		}
		if held, err := c.u.store.Hold(ctx, highest.String()); held || err != nil {
			return found, err
		}
	}
}

// highest is the highest snapshot of the chain that has a record, "" if none has.
func (c *chain) highest(found store.Found) (id digest.Digest) {
	for _, above := range c.chainIDs {
		if found.Snapshots[above].Info == nil {
			break
		}
		id = above
	}
	return id
}

// keepBlobs keeps or fetches the blobs of the layers that have a snapshot:
// without them the image could be neither pushed nor unpacked again.
func (c *chain) keepBlobs(ctx context.Context) error {
	g, ctx := errgroup.WithContext(ctx)
	for _, l := range c.whole {
		g.Go(func() error { return l.keepBlob(ctx) })
	}
	return g.Wait()
}

// removeGhosts removes what keeps the snapshot from being made anew: once, and for all
// that are made here, since those above are in the way of those below.
func (l *layer) removeGhosts(ctx context.Context) (err error) {
	id := digest.Digest(l.chainID)
	if !slices.Contains(l.c.claimed, id) {
		return l.u.store.RemoveGhosts(ctx, []digest.Digest{id})
	}
	l.c.ghosts.Do(func() { err = l.u.store.RemoveGhosts(ctx, l.c.claimed) })
	return err
}

// run unpacks the chain. It chooses the engine with the first layer's snapshot in
// hand, because only a prepared snapshot shows whether the daemon and this
// process share the file system.
func (c *chain) run(ctx context.Context) error {
	if err := c.keepBlobs(ctx); err != nil {
		return err
	}
	if len(c.layers) == 0 {
		return nil
	}
	defer c.abort(ctx)
	g, ctx := errgroup.WithContext(ctx)
	if c.layers[0].release == nil && !c.u.store.Traits().Rebase { // what is waited for need not keep the bytes away
		c.fetchAhead(ctx, g, nil)
	}
	g.Go(func() error { return c.unpack(ctx) })
	return g.Wait()
}

// unpack makes the snapshots that are missing, or waits for those who do.
func (c *chain) unpack(ctx context.Context) error {
	first, err := c.first(ctx)
	if first == nil || err != nil {
		return err
	}
	if err := c.chooseEngine(ctx, first); err != nil {
		return err
	}
	if c.direct && c.u.store.Traits().Rebase {
		return c.parallel(ctx)
	}
	if first.preparent != first.parent {
		first.abort(ctx)
	}
	return c.ordered(ctx, first)
}

// first returns the first layer whose snapshot is to be made here, prepared; nil if
// other images have made them all. Where a layer can be prepared without those below
// it, no other image is waited for as long as there is something to do.
func (c *chain) first(ctx context.Context) (*layer, error) {
	rebase := c.u.store.Traits().Rebase && slices.ContainsFunc(c.layers, func(l *layer) bool { return l.release != nil })
	complete := true // all layers below are
	for _, l := range c.layers {
		switch {
		case l.release == nil && rebase:
			complete = false
		case l.release == nil:
			if err := l.follow(ctx); err != nil {
				return nil, err
			}
		}
		if l.release != nil && !l.followed {
			parent := ""
			if complete {
				parent = l.parent
			}
			return l, l.prepare(ctx, parent)
		}
	}
	return nil, nil
}

func (c *chain) chooseEngine(ctx context.Context, first *layer) error {
	if c.u.engine == EngineDaemon {
		return c.leaveToDaemon(ctx, "asked for")
	}
	c.direct, c.reason = c.writable(ctx, first)
	switch {
	case c.direct && c.u.store.Name == store.Overlayfs && len(c.img.Layers) > 1:
		return lay.Probe(first.upper.Dir)
	case c.direct:
		return nil
	case c.u.store.Traits().AppliesHere:
		if c.u.bounds.isSet() {
			return cannot(EngineClient, c.reason+", and "+unbounded)
		}
		c.reason = "by containerd's applier in this process: " + c.reason
		return nil
	case c.u.engine == EngineClient:
		return cannot(EngineClient, c.reason)
	}
	return c.leaveToDaemon(ctx, c.reason)
}

func cannot(engine Engine, reason string) error {
	return failure.New(errdefs.ErrFailedPrecondition, "engine %s cannot be used: %s", engine, reason)
}

// leaveToDaemon lets the daemon unpack, if it can do what was asked for.
func (c *chain) leaveToDaemon(ctx context.Context, reason string) error {
	c.engine, c.reason = EngineDaemon, reason
	if !c.u.store.Traits().Applies {
		return fmt.Errorf("%w: %w", cannot(EngineDaemon, reason), store.ErrNoApplier)
	}
	if c.u.bounds.isSet() {
		return cannot(EngineDaemon, unbounded)
	}
	if !c.u.syncFS {
		return nil
	}
	syncs, err := c.u.store.SyncsApplied(ctx)
	if err == nil && !syncs {
		err = cannot(EngineDaemon, "containerd before 2.0 does not sync what it unpacks")
	}
	return err
}

// writable reports whether this process can unpack every layer, or why not.
func (c *chain) writable(ctx context.Context, first *layer) (bool, string) {
	if encrypted := slices.IndexFunc(c.img.Layers, isEncrypted); encrypted >= 0 {
		return false, "layer " + c.img.Layers[encrypted].Digest.String() + " is encrypted"
	}
	if first.done { // by a remote snapshotter, which makes layers itself
		return false, "the snapshotter fills its snapshots itself"
	}
	if ok, why := c.u.store.Writable(); !ok {
		return false, why
	}
	return first.open(ctx)
}

func isEncrypted(desc ocispec.Descriptor) bool {
	return strings.HasSuffix(desc.MediaType, "+encrypted")
}

// isImage reports whether a layer is an EROFS image already. Only snapshotter erofs is
// given such layers.
func isImage(desc ocispec.Descriptor) bool {
	return strings.HasPrefix(desc.MediaType, images.MediaTypeErofsLayer)
}

// abort removes the snapshots that were not committed.
func (c *chain) abort(ctx context.Context) {
	for _, l := range c.layers {
		l.abort(ctx)
	}
}

// parallel streams the layers, those first that the pull will wait for longest,
// and commits each as soon as all below are committed.
func (c *chain) parallel(ctx context.Context) error {
	g, ctx := errgroup.WithContext(ctx)
	asked := time.Now()
	sorted, others := c.heaviestFirst()
	g.Go(func() error { return c.commit(ctx) })
	g.Go(func() error { return prepareAll(ctx, sorted) })
	for _, l := range others {
		g.Go(func() error {
			if err := l.follow(ctx); err != nil || l.followed {
				return err
			}
			if err := l.download(ctx, asked); err != nil {
				return err
			}
			return l.bring(ctx)
		})
	}
	for _, l := range sorted {
		if l.download(ctx, asked) != nil {
			break // ctx is done, and the group has the reason
		}
		g.Go(func() error { return l.bring(ctx) })
	}
	return g.Wait()
}

// bring fetches and applies a layer that may be fetched.
func (l *layer) bring(ctx context.Context) error {
	defer l.releaseDownload()
	if err := l.fetchAndApply(ctx); err != nil {
		return err
	}
	l.markReady() // in case there was nothing to do
	close(l.stored)
	return nil
}

// follow waits for the image that makes the snapshot of the layer. If that has failed,
// the right to make it is the caller's.
func (l *layer) follow(ctx context.Context) error {
	var err error
	if l.release, err = l.u.shared.snapshots.Lock(ctx, l.chainID); err != nil {
		return err
	}
	below := l.c.chainIDs[:1+slices.Index(l.c.chainIDs, digest.Digest(l.chainID))]
	found, err := l.u.store.Survey(ctx, store.Wanted{Chains: [][]digest.Digest{below}})
	if err != nil {
		return err
	}
	sn := found.Snapshots[digest.Digest(l.chainID)]
	if l.lost = sn.Damage != ""; !sn.IsThere() {
		return nil
	}
	l.giveUp()
	return l.take(ctx)
}

// keep puts the blobs of the image under the lease, once, before anything of other
// images is relied upon: these may fail, or let go of what they brought.
func (c *chain) keep(ctx context.Context) error {
	c.keeping.Lock()
	defer c.keeping.Unlock()
	if c.kept || c.img.Keep == nil {
		return nil
	}
	err := c.img.Keep(ctx)
	c.kept = err == nil
	return err
}

// take relies on the snapshot that another image has made. The layer is not ready
// before all of it is there.
func (l *layer) take(ctx context.Context) error {
	tell := l.markReady
	l.blobOnly, l.markReady = true, func() {}
	if err := l.c.keep(ctx); err != nil {
		return err
	}
	if err := l.hold(ctx); err != nil {
		return err
	}
	if unlock, err := l.u.fetcher.Shared.Lock(ctx, l.img.blob(l.desc)); err == nil { // the blob is committed beside the snapshot
		unlock()
	}
	if err := l.keepBlob(ctx); err != nil {
		return err
	}
	l.followed, l.done = true, true
	tell()
	close(l.stored)
	return nil
}

// prepareAll makes the snapshots of layers that will be committed on top of
// others, ahead of their bytes: the daemon's metadata transactions then wait for
// its disk while the pull waits for something else.
func prepareAll(ctx context.Context, layers []*layer) error {
	for _, l := range layers {
		if err := l.prepareOnce(ctx); err != nil {
			return err
		}
	}
	return nil
}

// heaviestFirst returns the layers in the order of what is left to do when they
// begin, the most first, so that the last of them ends soonest; and those that other
// images make. What others have made already is among neither.
func (c *chain) heaviestFirst() (sorted, others []*layer) {
	for _, l := range c.layers {
		switch {
		case l.followed:
		case l.release == nil:
			others = append(others, l)
		default:
			sorted = append(sorted, l)
		}
	}
	slices.SortStableFunc(sorted, func(a, b *layer) int { return cmp.Compare(b.load.Left(), a.load.Left()) })
	return sorted, others
}

// commit commits the layers in chain order, each as soon as it is ready.
func (c *chain) commit(ctx context.Context) error {
	for _, l := range c.layers {
		if err := await(ctx, l.ready); err != nil {
			return err
		}
		if err := l.commit(ctx); err != nil {
			return err
		}
		l.giveUp()
	}
	return nil
}

// ordered fetches all layers at once and unpacks one after the other, each on
// top of the one that was committed before.
func (c *chain) ordered(ctx context.Context, first *layer) error {
	g, ctx := errgroup.WithContext(ctx)
	c.fetchAhead(ctx, g, first)
	g.Go(func() error {
		for i, l := range c.layers {
			if err := c.unpackNext(ctx, i, l == first); err != nil {
				return err
			}
			l.giveUp()
		}
		return nil
	})
	return g.Wait()
}

// fetchAhead fetches the layers, without that one, that no other image brings.
func (c *chain) fetchAhead(ctx context.Context, g *errgroup.Group, without *layer) {
	for i, l := range c.layers {
		if l.release == nil || l == without || l.followed || l.fetching {
			continue
		}
		l.fetching = true
		g.Go(func() error {
			if err := c.u.fetch(ctx, c.img, l.desc, c.leftFrom(i)); err != nil {
				return err
			}
			l.markReady()
			return nil
		})
	}
}

// leftFrom is the weight of layer i where layers are unpacked one after the other:
// those above wait for it.
func (c *chain) leftFrom(i int) func() time.Duration {
	return func() (sum time.Duration) {
		for _, l := range c.layers[i:] {
			sum += l.load.Left()
		}
		return sum
	}
}

// unpackNext unpacks layer i on top of what was committed before. The first layer is
// streamed where this process writes; the others are applied from the content
// store, into which they are being fetched.
func (c *chain) unpackNext(ctx context.Context, i int, first bool) error {
	l := c.layers[i]
	if l.release == nil {
		if err := l.follow(ctx); err != nil {
			return err
		}
	}
	switch {
	case l.followed:
		return nil
	case l.fetching:
		if err := await(ctx, l.ready); err != nil {
			return err
		}
	case first && c.direct:
		if err := l.prepare(ctx, l.parent); err != nil {
			return err
		}
		if err := l.download(ctx, time.Now()); err != nil {
			return err
		}
		defer l.releaseDownload()
		if err := l.fetchAndApply(ctx); err != nil {
			return err
		}
		return l.commit(ctx)
	default:
		if err := c.u.fetch(ctx, c.img, l.desc, c.leftFrom(i)); err != nil {
			return err
		}
	}
	if err := l.applyAgain(ctx); err != nil {
		return err
	}
	return l.commit(ctx)
}
