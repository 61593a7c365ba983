package pull

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/containerd/containerd/v2/core/images"
	"github.com/containerd/errdefs"
	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/identity"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/containerd-pull/containerd-pull/pkg/failure"
	"github.com/containerd-pull/containerd-pull/pkg/fetch"
	"github.com/containerd-pull/containerd-pull/pkg/image"
	"github.com/containerd-pull/containerd-pull/pkg/progress"
	"github.com/containerd-pull/containerd-pull/pkg/source"
)

// Plan is what a pull will do. It is data: making it changed nothing.
type Plan struct {
	Request Request
	Name    string // canonical name that will be registered
	Target  ocispec.Descriptor
	Host    string // that resolved the reference
	// Verified is the digest that the verifiers allowed. Run registers no other.
	Verified digest.Digest
	// EngineReason says why Request.Engine is not the one that was asked for.
	EngineReason string
	// Documents are the target and the indexes, manifests and configs of the
	// selected images, parents first.
	Documents []Document
	// Others are manifests that were not selected; they and their configs are
	// kept as metadata.
	Others []ocispec.Descriptor
	Images []Selected
	// Kept are those of Others, and their configs, that are in the store. Until
	// that was asked for it is empty.
	Kept []Document
	// Fetched is how many bytes of documents came over the network to make the
	// plan.
	Fetched map[digest.Digest]int64
	// Missing is what of all this is not in the store as the pull will leave it.
	Missing Missing
	// Previous is the target that the name has now, if any.
	Previous digest.Digest
	// NewLabels are the keys of Request.Labels that the record of the name does
	// not have, or has with another value.
	NewLabels []string
}

// Document is a small blob that is held in memory.
type Document struct {
	Desc     ocispec.Descriptor
	Kind     progress.Blob
	Body     []byte
	Children []ocispec.Descriptor
	Fetched  bool // it came over the network
}

// event describes d.
func (d Document) event() progress.Event {
	return progress.Event{Blob: d.Kind, Digest: d.Desc.Digest, MediaType: d.Desc.MediaType, Bytes: progress.Bytes{Total: d.Desc.Size}}
}

// Selected is one image to fetch and, with Unpack, to unpack.
type Selected struct {
	Platform ocispec.Platform
	Manifest ocispec.Descriptor
	Config   ocispec.Descriptor
	// Layers are those to be unpacked, or all that the manifest lists if nothing
	// is. Beside are the blobs that it lists beside the layers of a file system.
	Layers, Beside []ocispec.Descriptor
	DiffIDs        []digest.Digest
	Unpack         bool
}

// blobs are what the manifest lists beside the config.
func (s Selected) blobs() []ocispec.Descriptor { return slices.Concat(s.Layers, s.Beside) }

// pulled is what s will be once it has been pulled.
func (s Selected) pulled() Platform {
	done := Platform{Platform: s.Platform, Manifest: s.Manifest.Digest, Config: s.Config.Digest, Layers: s.blobs(), Unpacked: s.Unpack}
	if chain := s.chain(); len(chain) > 0 {
		done.ChainID = chain[len(chain)-1]
	}
	return done
}

// Pulled are the images of pl as they will be.
func (pl *Plan) Pulled() (all []Platform) {
	for _, sel := range pl.Images {
		all = append(all, sel.pulled())
	}
	return all
}

// chain are the chain IDs of the layers, bottom first; none if they are not
// unpacked.
func (s Selected) chain() []digest.Digest {
	if !s.Unpack {
		return nil
	}
	return identity.ChainIDs(slices.Clone(s.DiffIDs))
}

// layerEvents yields for each blob an event that describes it.
func (s Selected) layerEvents(yield func(progress.Event) bool) {
	chain := s.chain()
	for i, l := range s.blobs() {
		e := progress.Event{Blob: progress.Layer, Digest: l.Digest, MediaType: l.MediaType, Bytes: progress.Bytes{Total: l.Size}}
		if i < len(chain) {
			e.ChainID = chain[i]
		}
		if !yield(e) {
			return
		}
	}
}

// blobs yields the documents and layers of pl.
func (pl *Plan) blobs(yield func(ocispec.Descriptor) bool) {
	for _, d := range pl.Documents {
		if !yield(d.Desc) {
			return
		}
	}
	for _, sel := range pl.Images {
		if slices.ContainsFunc(sel.blobs(), func(l ocispec.Descriptor) bool { return !yield(l) }) {
			return
		}
	}
}

// Plan resolves r, has the target judged, selects its platforms, and finds out
// what of them is missing.
func (p *Puller) Plan(ctx context.Context, r Request) (*Plan, error) {
	return endure(p.Store.Context(ctx), p, StagePlan, r.Ref, func(ctx context.Context) (*Plan, error) {
		pl, err := p.resolve(ctx, r)
		if err != nil {
			return nil, err
		}
		if _, err := p.survey(ctx, pl); err != nil {
			return nil, p.fail(ctx, StagePlan, r.Ref, err)
		}
		return pl, nil
	})
}

// resolve makes a plan that does not say yet what is missing.
func (p *Puller) resolve(ctx context.Context, r Request) (*Plan, error) {
	start := time.Now()
	target, err := p.askTarget(ctx, r.Ref)
	if err != nil {
		return nil, p.fail(ctx, StageResolve, r.Ref, err)
	}
	p.Progress.Emit(progress.Event{
		Kind: progress.Resolved, Ref: r.Ref.Name, Digest: target.Desc.Digest, MediaType: target.Desc.MediaType,
		Bytes: progress.Bytes{Total: target.Desc.Size}, Host: target.Host, Duration: time.Since(start),
	})
	pl := p.newPlanner(r, target)
	if !target.Unchanged {
		pl.ledger.fetch(target.Desc.Digest, int64(len(target.Body)))
	}
	if err := p.judgeTarget(ctx, pl.plan); err != nil {
		return nil, p.fail(ctx, StageVerify, r.Ref, err)
	}
	if err := pl.build(ctx); err != nil {
		return nil, p.fail(ctx, StagePlan, r.Ref, err)
	}
	pl.plan.Fetched = pl.ledger.all()
	p.phase(r.Ref, progress.Resolve, start, pl.held)
	return pl.plan, nil
}

// askTarget asks what ref points to. Where the store knows what it pointed to, the
// question costs no document while that is still so: registries count how many
// are fetched, not how often is asked.
func (p *Puller) askTarget(ctx context.Context, ref source.Ref) (source.Target, error) {
	record, err := p.Store.Image(ctx, ref.Name)
	if err != nil {
		return source.Target{}, err
	}
	if record == nil || ref.Digest != "" {
		return p.Source.Resolve(ctx, ref)
	}
	body, err := p.Store.Document(ctx, record.Target)
	if err != nil { // the pull mends it
		return p.Source.Resolve(ctx, ref)
	}
	return p.Source.Refresh(ctx, ref, source.Target{Desc: record.Target, Body: body})
}

func (p *Puller) newPlanner(r Request, target source.Target) *planner {
	s := p.scheduler()
	return &planner{
		p: p, scheduler: s, fetcher: p.fetcher(s), target: target, ledger: newLedger(nil),
		plan:  &Plan{Request: r, Name: r.Ref.Name, Target: target.Desc, Host: target.Host},
		known: map[digest.Digest]Document{}, skipped: map[digest.Digest]error{},
	}
}

// planner is the state of one Plan.
type planner struct {
	p         *Puller
	scheduler *Scheduler
	fetcher   *fetch.Fetcher
	target    source.Target
	plan      *Plan
	ledger    *ledger
	known     map[digest.Digest]Document // that were read
	skipped   map[digest.Digest]error    // indexes without which the image may do
	held      int64                      // bytes of all documents that were read
	layers    int                        // of all images
	offline   bool                       // what is not in the store is not found
}

func (pl *planner) build(ctx context.Context) error {
	previous, err := pl.p.Store.Image(ctx, pl.plan.Name)
	if err != nil {
		return err
	}
	if previous != nil {
		pl.plan.Previous = previous.Target.Digest
	}
	pl.plan.NewLabels = newLabels(previous, pl.plan.Request.Labels)
	manifests, err := pl.walk(ctx)
	if err != nil {
		return err
	}
	return pl.selectImages(ctx, manifests)
}

// newLabels returns the keys of want, sorted, whose values the record does not
// have. There may be no record.
func newLabels(record *images.Image, want map[string]string) []string {
	var lacking []string
	for key, value := range want {
		if record == nil {
			lacking = append(lacking, key)
		} else if has, ok := record.Labels[key]; !ok || has != value {
			lacking = append(lacking, key)
		}
	}
	slices.Sort(lacking)
	return lacking
}

// walk adds the indexes of the target to the plan and returns the manifests
// that they list. Unless all platforms are wanted, an index that cannot be had
// or makes no sense is left out: it is an error if a platform is looked for in it.
func (pl *planner) walk(ctx context.Context) ([]ocispec.Descriptor, error) {
	nodes, err := image.Walk(ctx, pl.target.Desc, image.Visitor{
		Read: pl.readIndex,
		Index: func(n *image.Node) {
			d := pl.known[n.Desc.Digest]
			d.Children = n.Children
			pl.add(d)
		},
		Fault: func(f image.Fault) error { return pl.skip(ctx, f.Index, f.Err) },
	})
	var manifests []ocispec.Descriptor
	for _, n := range nodes {
		manifests = append(manifests, n.Desc)
	}
	return manifests, err
}

func (pl *planner) readIndex(ctx context.Context, n *image.Node) ([]byte, error) {
	doc, err := pl.manifest(ctx, n.Desc, progress.Index)
	if err == nil {
		return doc.Body, nil
	}
	if err := pl.skip(ctx, n.Desc, err); err != nil {
		return nil, err
	}
	return nil, image.ErrSkip
}

// skip notes why an index is left out. It returns err if that must not be.
func (pl *planner) skip(ctx context.Context, index ocispec.Descriptor, err error) error {
	if pl.plan.Request.AllPlatforms || !isOdd(ctx, err) {
		return err
	}
	pl.skipped[index.Digest] = err
	return nil
}

// warnSkipped reports what was left out.
func (pl *planner) warnSkipped() {
	if pl.offline {
		return
	}
	for _, dgst := range slices.Sorted(maps.Keys(pl.skipped)) {
		pl.p.warn(pl.plan.Request.Ref, "leaving out an index of other platforms: %v", pl.skipped[dgst])
	}
}

func (pl *planner) add(d Document) {
	pl.plan.Documents = append(pl.plan.Documents, d)
}

// manifest returns an index or manifest, from the store if it is there.
func (pl *planner) manifest(ctx context.Context, desc ocispec.Descriptor, kind progress.Blob) (Document, error) {
	if err := pl.skipped[desc.Digest]; err != nil {
		return Document{}, err
	}
	if desc.Digest == pl.target.Desc.Digest {
		d := Document{Desc: desc, Kind: kind, Body: pl.target.Body, Fetched: !pl.offline && !pl.target.Unchanged}
		pl.known[desc.Digest] = d
		return d, nil
	}
	return pl.document(ctx, desc, kind, func() ([]byte, error) {
		t, err := pl.p.Source.Manifest(ctx, pl.plan.Request.Ref, desc)
		return t.Body, err
	})
}

func (pl *planner) config(ctx context.Context, desc ocispec.Descriptor) (Document, error) {
	if err := source.ValidDigest(desc.Digest); err != nil {
		return Document{}, err
	}
	if desc.Size < 0 || desc.Size > image.MaxConfig {
		return Document{}, failure.New(errdefs.ErrInvalidArgument, "config %s has %d bytes, the limit is %d", desc.Digest, desc.Size, image.MaxConfig)
	}
	return pl.document(ctx, desc, progress.Config, func() ([]byte, error) {
		return pl.fetcher.Bytes(ctx, fetch.Blob{Ref: pl.plan.Request.Ref, Desc: desc, Kind: progress.Config})
	})
}

// document returns a document that was read before, or is in the store, or else
// what get gets.
func (pl *planner) document(ctx context.Context, desc ocispec.Descriptor, kind progress.Blob, get func() ([]byte, error)) (Document, error) {
	d, known := pl.known[desc.Digest]
	d.Desc, d.Kind = desc, kind
	if known {
		return d, nil
	}
	if desc.Size < 0 || desc.Size > image.MaxDocuments-pl.held {
		return Document{}, failure.New(errdefs.ErrInvalidArgument, "indexes, manifests and configs take more than %d bytes", image.MaxDocuments)
	}
	pl.held += desc.Size
	var err error
	d.Body, err = pl.p.Store.Document(ctx, desc)
	switch {
	case (errdefs.IsNotFound(err) || errdefs.IsDataLoss(err)) && !pl.offline:
		blob := fetch.Blob{Ref: pl.plan.Request.Ref, Desc: desc, Kind: kind}
		d.Body, d.Fetched, err = pl.scheduler.document(ctx, blob, get)
		if d.Fetched {
			pl.ledger.fetch(desc.Digest, int64(len(d.Body)))
		}
		if err != nil {
			return d, err
		}
	case err != nil:
		return d, fmt.Errorf("reading %s %w", kind, err)
	}
	pl.known[desc.Digest] = d
	return d, nil
}

// selectImages plans an image for each platform that was asked for.
func (pl *planner) selectImages(ctx context.Context, manifests []ocispec.Descriptor) error {
	chosen, err := pl.choose(ctx)
	if err == nil && pl.plan.Request.AllPlatforms {
		chosen, err = pl.loadAll(ctx, manifests)
	}
	if err != nil {
		return err
	}
	pl.warnSkipped()
	for _, c := range chosen {
		if err := pl.image(c); err != nil {
			return err
		}
	}
	if pl.plan.Request.SkipMetadata {
		return nil
	}
	for _, m := range manifests {
		if !slices.ContainsFunc(chosen, candidate{desc: m}.isSame) {
			pl.plan.Others = append(pl.plan.Others, m)
		}
	}
	return nil
}

func (pl *planner) loadAll(ctx context.Context, manifests []ocispec.Descriptor) (all []candidate, err error) {
	for _, desc := range manifests {
		c, err := pl.load(ctx, desc)
		if err != nil {
			return nil, err
		}
		all = append(all, c)
	}
	return all, nil
}

// image adds the documents of c to the plan and selects its layers.
func (pl *planner) image(c candidate) error {
	sel := Selected{Platform: c.platform, Manifest: c.desc, Config: c.parsed.Config, Layers: c.parsed.Layers}
	if pl.layers += len(sel.Layers); pl.layers > image.MaxDescriptors {
		return failure.New(errdefs.ErrInvalidArgument, "images have more than %d layers", image.MaxDescriptors)
	}
	pl.add(c.manifest)
	pl.add(c.config)
	for _, l := range sel.Layers {
		if err := checkLayer(l); err != nil {
			return err
		}
	}
	if pl.plan.Request.Unpack != UnpackNever {
		if err := pl.selectUnpack(&sel, c); err != nil {
			return err
		}
	}
	pl.plan.Images = append(pl.plan.Images, sel)
	return nil
}

// selectUnpack has sel unpacked if it has a file system that the snapshotter takes.
func (pl *planner) selectUnpack(sel *Selected, c candidate) error {
	layers, beside, why := image.FileSystem(c.parsed)
	needed := pl.plan.Request.Unpack == UnpackAlways
	if why == "" {
		why = pl.foreignLayer(layers)
		needed = needed || !pl.plan.Request.AllPlatforms
	}
	switch {
	case why == "":
		sel.Unpack, sel.Layers, sel.Beside = true, layers, beside
		return sel.readRootFS(c.config.Body)
	case needed:
		return failure.New(errdefs.ErrInvalidArgument, "%s cannot be unpacked: %s", c.desc.Digest, why)
	case !pl.offline && !image.IsAttestation(c.desc):
		pl.p.warn(pl.plan.Request.Ref, "%s is fetched but not unpacked: %s", c.desc.Digest, why)
	}
	return nil
}

// foreignLayer says which of the layers is of a kind that the snapshotter of the
// store cannot take, if there is one.
func (pl *planner) foreignLayer(layers []ocispec.Descriptor) string {
	const erofs = "erofs" // the only snapshotter that takes file systems for layers
	i := slices.IndexFunc(layers, func(l ocispec.Descriptor) bool { return strings.HasPrefix(l.MediaType, images.MediaTypeErofsLayer) })
	if i < 0 || pl.p.Store.Name == erofs {
		return ""
	}
	return fmt.Sprintf("layer %s is %s, which snapshotter %s does not take", layers[i].Digest, layers[i].MediaType, pl.p.Store.Name)
}

// checkLayer refuses descriptors that cannot be those of a blob.
func checkLayer(desc ocispec.Descriptor) error {
	if err := source.ValidDigest(desc.Digest); err != nil {
		return err
	}
	if desc.Size < 0 || desc.Size == 0 && desc.Digest != desc.Digest.Algorithm().FromBytes(nil) {
		return failure.New(errdefs.ErrInvalidArgument, "layer %s has a size of %d", desc.Digest, desc.Size)
	}
	return nil
}

// readRootFS reads the diff IDs of the layers out of the config.
func (s *Selected) readRootFS(body []byte) error {
	var config image.Config
	if err := image.Parse(s.Config, body, &config); err != nil {
		return err
	}
	if t := config.RootFS.Type; t != "" && t != "layers" {
		return failure.New(errdefs.ErrInvalidArgument, "config %s has a rootfs of type %q, want \"layers\"", s.Config.Digest, t)
	}
	for _, id := range config.RootFS.DiffIDs {
		if err := source.ValidDigest(id); err != nil {
			return fmt.Errorf("diff ID of config %s: %w", s.Config.Digest, err)
		}
	}
	s.DiffIDs = config.RootFS.DiffIDs
	if len(s.DiffIDs) != len(s.Layers) {
		return failure.New(errdefs.ErrDataLoss, "manifest %s lists %d layers, its config %d diff IDs",
			s.Manifest.Digest, len(s.Layers), len(s.DiffIDs))
	}
	return nil
}
