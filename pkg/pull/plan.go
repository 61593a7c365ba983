package pull

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/containerd/v2/core/images"
	"github.com/containerd/errdefs"
	"github.com/containerd/platforms"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/containerd-pull/containerd-pull/pkg/fetch"
	"github.com/containerd-pull/containerd-pull/pkg/progress"
	"github.com/containerd-pull/containerd-pull/pkg/source"
	"github.com/containerd-pull/containerd-pull/pkg/unpack"
)

const (
	// maxDepth and maxDescriptors bound the tree of one image, maxHeld the
	// documents of it that are in memory at a time.
	maxDepth       = 8
	maxDescriptors = 10_000
	maxHeld        = 64 << 20
	maxConfig      = 4 << 20
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
	// Previous is the target that the name has now, if any.
	Previous digest.Digest
}

// Document is a small blob that is held in memory.
type Document struct {
	Desc     ocispec.Descriptor
	Kind     progress.Blob
	Body     []byte
	Children []ocispec.Descriptor
	Fetched  bool // it came over the network
}

// Selected is one image to fetch and, if Unpack, to unpack.
type Selected struct {
	Platform ocispec.Platform
	Manifest ocispec.Descriptor
	Config   ocispec.Descriptor
	Layers   []ocispec.Descriptor
	DiffIDs  []digest.Digest
	Unpack   bool
}

// Plan resolves r, has the target judged, and selects its platforms.
func (p *Puller) Plan(ctx context.Context, r Request) (*Plan, error) {
	return endure(p.Store.Context(ctx), p, StagePlan, r.Ref, func(ctx context.Context) (*Plan, error) {
		return p.resolve(ctx, r)
	})
}

func (p *Puller) resolve(ctx context.Context, r Request) (*Plan, error) {
	start := time.Now()
	target, err := p.Source.Resolve(ctx, r.Ref)
	if err != nil {
		return nil, p.fail(ctx, StageResolve, r.Ref, err)
	}
	p.Progress.Emit(progress.Event{
		Kind: progress.Resolved, Ref: r.Ref.Name, Digest: target.Desc.Digest, MediaType: target.Desc.MediaType,
		Bytes: progress.Bytes{Total: target.Desc.Size}, Host: target.Host, Duration: time.Since(start),
	})
	pl := p.newPlanner(r, target)
	if err := p.judge(ctx, pl.plan); err != nil {
		return nil, p.fail(ctx, StageVerify, r.Ref, err)
	}
	if err := pl.make(ctx); err != nil {
		return nil, p.fail(ctx, StagePlan, r.Ref, err)
	}
	p.phase(r.Ref, progress.Resolve, start, pl.held)
	return pl.plan, nil
}

func (p *Puller) newPlanner(r Request, target source.Target) *planner {
	return &planner{
		p: p, fetcher: p.fetcher(), target: target, seen: map[digest.Digest]bool{},
		plan: &Plan{Request: r, Name: r.Ref.Name, Target: target.Desc, Host: target.Host},
	}
}

// planner is the state of one Plan.
type planner struct {
	p       *Puller
	fetcher *fetch.Fetcher
	target  source.Target
	plan    *Plan
	seen    map[digest.Digest]bool
	held    int64
	offline bool // what is not in the store is not found
}

func (pl *planner) make(ctx context.Context) error {
	previous, err := pl.p.Store.Image(ctx, pl.plan.Name)
	if err != nil {
		return err
	}
	if previous != nil {
		pl.plan.Previous = previous.Target.Digest
	}
	manifests, err := pl.walk(ctx, pl.target.Desc, pl.target.Body, 1)
	if err != nil {
		return err
	}
	return pl.selectImages(ctx, manifests)
}

// walk adds the documents of an index, and of the indexes in it, to the plan
// and returns the manifests that they list.
func (pl *planner) walk(ctx context.Context, desc ocispec.Descriptor, body []byte, depth int) ([]ocispec.Descriptor, error) {
	if !images.IsIndexType(desc.MediaType) {
		return []ocispec.Descriptor{desc}, nil
	}
	var index ocispec.Index
	if err := parse(desc, body, &index); err != nil {
		return nil, err
	}
	pl.add(Document{Desc: desc, Kind: progress.Index, Body: body, Children: index.Manifests, Fetched: true})
	var manifests []ocispec.Descriptor
	for _, child := range index.Manifests {
		if pl.seen[child.Digest] {
			continue
		}
		if err := pl.see(child, depth); err != nil {
			return nil, err
		}
		switch {
		case images.IsIndexType(child.MediaType):
			doc, err := pl.manifest(ctx, child, progress.Index)
			if err != nil {
				return nil, err
			}
			below, err := pl.walk(ctx, child, doc.Body, depth+1)
			if err != nil {
				return nil, err
			}
			manifests = append(manifests, below...)
		case images.IsManifestType(child.MediaType):
			manifests = append(manifests, child)
		}
	}
	return manifests, nil
}

// see keeps the tree within its bounds.
func (pl *planner) see(desc ocispec.Descriptor, depth int) error {
	if err := source.ValidDigest(desc.Digest); err != nil {
		return err
	}
	pl.seen[desc.Digest] = true
	if depth > maxDepth || len(pl.seen) > maxDescriptors {
		return fmt.Errorf("index is deeper than %d or lists more than %d descriptors: %w", maxDepth, maxDescriptors, errdefs.ErrInvalidArgument)
	}
	return nil
}

func (pl *planner) add(d Document) {
	pl.plan.Documents = append(pl.plan.Documents, d)
}

// manifest returns an index or manifest, from the store if it is there.
func (pl *planner) manifest(ctx context.Context, desc ocispec.Descriptor, kind progress.Blob) (Document, error) {
	if desc.Digest == pl.target.Desc.Digest {
		return Document{Desc: desc, Kind: kind, Body: pl.target.Body, Fetched: true}, nil
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
	if desc.Size < 0 || desc.Size > maxConfig {
		return Document{}, fmt.Errorf("config %s has %d bytes, the limit is %d: %w", desc.Digest, desc.Size, maxConfig, errdefs.ErrInvalidArgument)
	}
	return pl.document(ctx, desc, progress.Config, func() ([]byte, error) {
		return pl.fetcher.Bytes(ctx, fetch.Blob{Ref: pl.plan.Request.Ref, Desc: desc, Kind: progress.Config})
	})
}

func (pl *planner) document(ctx context.Context, desc ocispec.Descriptor, kind progress.Blob, get func() ([]byte, error)) (Document, error) {
	if pl.held += desc.Size; desc.Size < 0 || pl.held > maxHeld {
		return Document{}, fmt.Errorf("indexes, manifests and configs take more than %d bytes: %w", maxHeld, errdefs.ErrInvalidArgument)
	}
	d := Document{Desc: desc, Kind: kind}
	var err error
	if d.Body, err = content.ReadBlob(ctx, pl.p.Store.Content, desc); err == nil {
		return d, nil
	}
	if pl.offline || !errdefs.IsNotFound(err) {
		return d, fmt.Errorf("reading %s %s: %w", kind, desc.Digest, err)
	}
	d.Fetched = true
	d.Body, err = get()
	return d, err
}

// parse decodes the JSON of a document.
func parse(desc ocispec.Descriptor, body []byte, into any) error {
	if err := json.Unmarshal(body, into); err != nil {
		return fmt.Errorf("decoding %s (%s): %w: %w", desc.Digest, desc.MediaType, errdefs.ErrInvalidArgument, err)
	}
	return nil
}

// selectImages plans an image for each platform that was asked for.
func (pl *planner) selectImages(ctx context.Context, manifests []ocispec.Descriptor) error {
	chosen, err := pl.choose(ctx, manifests)
	if err != nil {
		return err
	}
	for _, c := range chosen {
		if err := pl.image(c); err != nil {
			return err
		}
	}
	if !pl.plan.Request.SkipMetadata {
		for _, m := range manifests {
			if !slices.ContainsFunc(chosen, func(c candidate) bool { return c.desc.Digest == m.Digest }) {
				pl.plan.Others = append(pl.plan.Others, m)
			}
		}
	}
	return nil
}

// candidate is a manifest with what it takes to judge it. Its documents are
// read when they are needed.
type candidate struct {
	desc             ocispec.Descriptor
	platform         ocispec.Platform
	manifest, config *Document
	parsed           ocispec.Manifest
}

// image adds the documents of c to the plan and selects its layers.
func (pl *planner) image(c candidate) error {
	sel := Selected{Platform: c.platform, Manifest: c.desc, Config: c.parsed.Config, Layers: c.parsed.Layers}
	c.manifest.Children = append([]ocispec.Descriptor{c.parsed.Config}, c.parsed.Layers...)
	pl.add(*c.manifest)
	pl.add(*c.config)
	for _, l := range sel.Layers {
		if err := checkLayer(l); err != nil {
			return err
		}
	}
	if pl.plan.Request.Unpack == UnpackNever {
		pl.plan.Images = append(pl.plan.Images, sel)
		return nil
	}
	why, err := sel.readRootFS(c.config.Body)
	if err != nil {
		return err
	}
	if why != "" && pl.plan.Request.Unpack == UnpackAlways {
		return fmt.Errorf("%s cannot be unpacked: %s: %w", c.desc.Digest, why, errdefs.ErrInvalidArgument)
	}
	if why != "" && !pl.offline && !isAttestation(c.desc) {
		pl.p.warn(pl.plan.Request.Ref, "%s is fetched but not unpacked: %s", c.desc.Digest, why)
	}
	sel.Unpack = why == ""
	pl.plan.Images = append(pl.plan.Images, sel)
	return nil
}

// checkLayer refuses descriptors that cannot be those of a blob.
func checkLayer(desc ocispec.Descriptor) error {
	if err := source.ValidDigest(desc.Digest); err != nil {
		return err
	}
	if desc.Size < 0 || desc.Size == 0 && desc.Digest != desc.Digest.Algorithm().FromBytes(nil) {
		return fmt.Errorf("layer %s has a size of %d: %w", desc.Digest, desc.Size, errdefs.ErrInvalidArgument)
	}
	return nil
}

// readRootFS reads the diff IDs, or says why there is no file system.
func (s *Selected) readRootFS(config []byte) (why string, err error) {
	if !isImageConfig(s.Config) {
		return "its config is " + s.Config.MediaType, nil
	}
	for _, l := range s.Layers {
		if !unpack.IsLayer(l) {
			return "layer " + l.Digest.String() + " is " + l.MediaType, nil
		}
	}
	var image struct {
		RootFS ocispec.RootFS `json:"rootfs"`
	}
	if err := parse(s.Config, config, &image); err != nil {
		return "", err
	}
	if t := image.RootFS.Type; t != "" && t != "layers" {
		return "", fmt.Errorf("config %s has a rootfs of type %q, want \"layers\": %w", s.Config.Digest, t, errdefs.ErrInvalidArgument)
	}
	for _, id := range image.RootFS.DiffIDs {
		if err := source.ValidDigest(id); err != nil {
			return "", fmt.Errorf("diff ID of config %s: %w", s.Config.Digest, err)
		}
	}
	s.DiffIDs = image.RootFS.DiffIDs
	if len(s.DiffIDs) != len(s.Layers) {
		return "", fmt.Errorf("manifest %s lists %d layers, its config %d diff IDs: %w",
			s.Manifest.Digest, len(s.Layers), len(s.DiffIDs), errdefs.ErrDataLoss)
	}
	return "", nil
}

// legacyConfig is what some old registries serve configs as
// (distribution#1622).
const legacyConfig = "application/octet-stream"

func isImageConfig(desc ocispec.Descriptor) bool {
	return images.IsConfigType(desc.MediaType) || desc.MediaType == legacyConfig
}

// isAttestation knows the manifests that build tools put beside an image.
func isAttestation(desc ocispec.Descriptor) bool {
	return desc.Platform != nil && desc.Platform.OS == "unknown"
}

func describePlatforms(all []ocispec.Platform) string {
	var names []string
	for _, p := range all {
		if name := platforms.FormatAll(p); p.OS != "unknown" && !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	if len(names) == 0 {
		return "none"
	}
	return strings.Join(names, ", ")
}
