package check

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/containerd/v2/core/images"
	"github.com/containerd/errdefs"
	"github.com/containerd/platforms"
	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/identity"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/sync/errgroup"

	"github.com/containerd-pull/containerd-pull/pkg/progress"
	"github.com/containerd-pull/containerd-pull/pkg/registry"
	"github.com/containerd-pull/containerd-pull/pkg/unpack"
)

const (
	// maxDepth, maxDescriptors and maxDocument bound the tree of one image.
	maxDepth       = 8
	maxDescriptors = 10_000
	maxDocument    = 64 << 20

	labelContentRef  = "containerd.io/gc.ref.content"
	labelSnapshotRef = "containerd.io/gc.ref.snapshot."
	// legacyConfig is what some old registries serve configs as
	// (distribution#1622).
	legacyConfig = "application/octet-stream"
)

// walk is the check of one image.
type walk struct {
	*run
	report Report
	// kept are the labels of the documents that are whole.
	kept  map[digest.Digest]map[string]string
	lists int // descriptors met
	seen  map[digest.Digest]bool
}

// part is what an image has for one platform.
type part struct {
	platform string
	desc     ocispec.Descriptor // of the manifest
	parent   *document          // the index that lists it, nil for none
	manifest document
	config   ocispec.Descriptor
	layers   []ocispec.Descriptor
	diffIDs  []digest.Digest // none if there is no file system
	chain    []string        // chain IDs of layers, bottom first
	labels   map[string]string
	// verdicts are those of layers.
	verdicts []*verdict
	// unpacked: the image counts on its snapshots.
	unpacked bool
	broken   bool // the manifest or the config is, so that the rest is unknown
}

func (p *part) top() string {
	if len(p.chain) == 0 {
		return ""
	}
	return p.chain[len(p.chain)-1]
}

// document is an index or a manifest and what it lists.
type document struct {
	desc     ocispec.Descriptor
	labels   map[string]string
	children []ocispec.Descriptor
}

// keeps tells whether a label of the document keeps the blob dgst from being
// collected.
func (d *document) keeps(dgst digest.Digest) bool {
	for key, value := range d.labels {
		if strings.HasPrefix(key, labelContentRef) && value == dgst.String() {
			return true
		}
	}
	return false
}

// target checks everything that the record of the image promises.
func (w *walk) target(ctx context.Context) error {
	if err := registry.ValidDigest(w.report.Image.Target.Digest); err != nil {
		w.found(Finding{Kind: Malformed, Digest: w.report.Image.Target.Digest, Message: err.Error()})
		return nil
	}
	listed, err := w.manifests(ctx, w.report.Image.Target, nil, 1)
	if err != nil {
		return err
	}
	parts, err := w.choose(ctx, listed)
	if err != nil {
		return err
	}
	for _, p := range parts {
		if err := w.part(ctx, p); err != nil {
			return err
		}
	}
	w.report.parts = parts
	return w.others(ctx, listed, parts)
}

// others checks the documents that are kept of other platforms. They may be
// missing, but not wrong.
func (w *walk) others(ctx context.Context, all []listed, chosen []*part) error {
	for _, l := range all {
		if slices.ContainsFunc(chosen, func(p *part) bool { return p.desc.Digest == l.desc.Digest }) {
			continue
		}
		p, err := w.peek(ctx, l)
		if err != nil {
			return err
		}
		if err := w.other(ctx, l.desc, progress.Manifest, p.platform); err != nil {
			return err
		}
		if !p.broken && p.config.Digest != "" {
			if err := w.other(ctx, p.config, progress.Config, p.platform); err != nil {
				return err
			}
		}
	}
	return nil
}

func (w *walk) other(ctx context.Context, desc ocispec.Descriptor, kind progress.Blob, platform string) error {
	v, err := w.blobs.judge(ctx, desc)
	if err != nil {
		return err
	}
	w.count(v)
	if v.kind != "" && v.record {
		w.bad(desc, kind, platform, v)
	}
	return nil
}

// listed is a manifest with the index that lists it.
type listed struct {
	desc   ocispec.Descriptor
	parent *document
}

// manifests checks an index and those in it, and returns the manifests that
// they list.
func (w *walk) manifests(ctx context.Context, desc ocispec.Descriptor, parent *document, depth int) ([]listed, error) {
	if !images.IsIndexType(desc.MediaType) {
		return []listed{{desc, parent}}, nil
	}
	body, err := w.document(ctx, desc, progress.Index, "")
	if body == nil || err != nil {
		return nil, err
	}
	var index ocispec.Index
	if !w.parse(desc, body, "", &index) || !w.bounded(desc, len(index.Manifests), depth) {
		return nil, nil
	}
	d := &document{desc: desc, labels: w.kept[desc.Digest], children: index.Manifests}
	var all []listed
	for _, child := range index.Manifests {
		if registry.ValidDigest(child.Digest) != nil {
			w.found(Finding{Kind: Malformed, Digest: desc.Digest, Message: fmt.Sprintf("it lists %q", child.Digest)})
			continue
		}
		if w.seen[child.Digest] {
			continue
		}
		w.seen[child.Digest] = true
		if images.IsIndexType(child.MediaType) {
			w.keep(d, child, "")
		}
		below, err := w.manifests(ctx, child, d, depth+1)
		if err != nil {
			return nil, err
		}
		all = append(all, below...)
	}
	return all, nil
}

// bounded keeps the tree within its bounds.
func (w *walk) bounded(desc ocispec.Descriptor, n, depth int) bool {
	if w.lists += n; depth <= maxDepth && w.lists <= maxDescriptors {
		return true
	}
	w.found(Finding{Kind: Malformed, Digest: desc.Digest, Message: fmt.Sprintf("the index is deeper than %d or lists more than %d descriptors", maxDepth, maxDescriptors)})
	return false
}

// document checks a document and returns its bytes, or nil if it is not whole.
func (w *walk) document(ctx context.Context, desc ocispec.Descriptor, kind progress.Blob, platform string) ([]byte, error) {
	v, err := w.blobs.judge(ctx, desc)
	if err != nil {
		return nil, err
	}
	w.count(v)
	if v.kind == "" && v.size > maxDocument {
		v = &verdict{kind: Malformed, message: fmt.Sprintf("a document of %d bytes", v.size)}
	}
	if v.kind != "" {
		w.bad(desc, kind, platform, v)
		return nil, nil
	}
	body, err := w.blobs.document(ctx, desc)
	if errdefs.IsNotFound(err) { // it was collected meanwhile
		w.blobs.forget(desc.Digest)
		w.bad(desc, kind, platform, &verdict{kind: Missing, message: "not in the content store"})
		return nil, nil
	}
	w.kept[desc.Digest] = v.labels
	return body, err
}

func (w *walk) count(v *verdict) {
	if v.record {
		w.report.Blobs++
		w.report.Bytes += v.size
	}
}

// bad reports a blob that is not whole.
func (w *walk) bad(desc ocispec.Descriptor, kind progress.Blob, platform string, v *verdict) {
	f := Finding{Kind: v.kind, Platform: platform, Digest: desc.Digest, Message: fmt.Sprintf("%s: %s", kind, v.message)}
	if v.kind != Malformed {
		f.fix = fix{stage: fetching, desc: desc, blob: kind, drop: v.record, labels: v.labels}
	}
	w.found(f)
}

// parse decodes the JSON of a document and reports what cannot be decoded.
func (w *walk) parse(desc ocispec.Descriptor, body []byte, platform string, into any) bool {
	err := json.Unmarshal(body, into)
	if err != nil {
		w.found(Finding{Kind: Malformed, Platform: platform, Digest: desc.Digest, Message: fmt.Sprintf("decoding %s: %v", desc.MediaType, err)})
	}
	return err == nil
}

// keep reports a child that its parent does not keep.
func (w *walk) keep(parent *document, child ocispec.Descriptor, platform string) {
	if parent == nil || parent.keeps(child.Digest) {
		return
	}
	w.found(Finding{
		Kind: Label, Platform: platform, Digest: parent.desc.Digest,
		Message: fmt.Sprintf("no label keeps %s from being collected", child.Digest),
		fix:     fix{stage: labelling, key: child.Digest.String(), parent: parent},
	})
}

// choose returns the parts that the image promises: those of the platforms
// asked for, or else those of which there is more than the documents that every
// pull keeps of all platforms. If there is no such part, it is the host's.
func (w *walk) choose(ctx context.Context, all []listed) ([]*part, error) {
	var parts []*part
	for _, l := range all {
		p, err := w.peek(ctx, l)
		if err != nil {
			return nil, err
		}
		parts = append(parts, p)
	}
	if len(all) == 1 && all[0].parent == nil || w.AllPlatforms {
		return parts, nil
	}
	if len(w.Platforms) > 0 {
		return w.asked(parts), nil
	}
	host := best(parts, platforms.Default())
	var chosen []*part
	documents := false // of a platform that was not pulled
	for _, p := range parts {
		evident, err := w.evident(ctx, p, parts)
		if err != nil {
			return nil, err
		}
		if evident {
			chosen = append(chosen, p)
		}
		documents = documents || !evident && p != host && len(p.layers) > 0
	}
	if host != nil && !slices.Contains(chosen, host) && (len(chosen) == 0 || documents && host.broken) {
		chosen = append(chosen, host)
	}
	if len(chosen) == 0 {
		return parts, nil
	}
	return chosen, nil
}

// asked are the parts for the platforms asked for; one that is not listed is a
// finding.
func (w *walk) asked(parts []*part) []*part {
	var chosen []*part
	for _, want := range w.Platforms {
		p := best(parts, platforms.Ordered(want))
		if p == nil {
			w.found(Finding{Kind: Missing, Platform: platforms.FormatAll(want), Digest: w.report.Image.Target.Digest, Message: "the image is not made for this platform"})
			continue
		}
		if !slices.Contains(chosen, p) {
			chosen = append(chosen, p)
		}
	}
	return chosen
}

// best is the part that suits want best, nil if none does.
func best(parts []*part, want platforms.MatchComparer) (found *part) {
	for _, p := range parts {
		if p.desc.Platform == nil || !want.Match(platforms.Normalize(*p.desc.Platform)) {
			continue
		}
		if found == nil || want.Less(*p.desc.Platform, *found.desc.Platform) {
			found = p
		}
	}
	return found
}

// peek reads what there is of a manifest and its config, and reports nothing.
// What is there but corrupt is not read.
func (w *walk) peek(ctx context.Context, l listed) (*part, error) {
	p := &part{desc: l.desc, parent: l.parent, platform: platformName(l.desc.Platform), broken: true}
	v, err := w.blobs.judge(ctx, l.desc)
	if err != nil || v.kind != "" || v.size > maxDocument {
		return p, err
	}
	body, err := w.blobs.document(ctx, l.desc)
	if errdefs.IsNotFound(err) { // it was collected meanwhile
		w.blobs.forget(l.desc.Digest)
		return p, nil
	}
	if err != nil {
		return nil, err
	}
	var m ocispec.Manifest
	if json.Unmarshal(body, &m) != nil {
		return p, nil
	}
	p.manifest = document{desc: l.desc, labels: v.labels}
	if m.Config.Digest != "" {
		p.manifest.children = append(p.manifest.children, m.Config)
	}
	p.manifest.children = append(p.manifest.children, m.Layers...)
	p.config, p.layers = m.Config, m.Layers
	for _, child := range p.manifest.children {
		if registry.ValidDigest(child.Digest) != nil {
			return p, nil
		}
	}
	p.broken = false
	return p, nil
}

// evident tells whether p was pulled: it was unpacked, or the store has a layer
// that no other manifest of the index shares.
func (w *walk) evident(ctx context.Context, p *part, all []*part) (bool, error) {
	if p.broken {
		return false, nil
	}
	if p.config.Digest != "" {
		v, err := w.blobs.judge(ctx, p.config)
		if err != nil {
			return false, err
		}
		if v.labels[labelSnapshotRef+w.Store.Name] != "" {
			return true, nil
		}
	}
	for _, l := range p.layers {
		shared := slices.ContainsFunc(all, func(o *part) bool {
			return o != p && slices.ContainsFunc(o.layers, func(d ocispec.Descriptor) bool { return d.Digest == l.Digest })
		})
		if _, err := w.Store.Content.Info(ctx, l.Digest); !shared && err == nil {
			return true, nil
		}
	}
	return false, nil
}

// part checks what the image has for one platform.
func (w *walk) part(ctx context.Context, p *part) error {
	if p.platform != "" {
		w.report.Platforms = append(w.report.Platforms, p.platform)
	}
	w.keep(p.parent, p.desc, p.platform)
	body, err := w.document(ctx, p.desc, progress.Manifest, p.platform)
	if body == nil || err != nil {
		return err
	}
	if p.broken {
		w.found(Finding{Kind: Malformed, Platform: p.platform, Digest: p.desc.Digest, Message: "the manifest cannot be understood"})
		return nil
	}
	if err := w.readConfig(ctx, p); err != nil || p.broken {
		return err
	}
	if err := w.hashLayers(ctx, p); err != nil {
		return err
	}
	if err := w.chain(ctx, p); err != nil {
		return err
	}
	w.layers(p)
	w.layerLabels(p)
	if err := w.diffIDLabels(ctx, p); err != nil {
		return err
	}
	if w.Deep && p.unpacked {
		return w.compare(ctx, p)
	}
	return nil
}

// readConfig checks the config and reads the diff IDs. What has no file system
// has none.
func (w *walk) readConfig(ctx context.Context, p *part) error {
	if p.config.Digest == "" {
		return nil
	}
	w.keep(&p.manifest, p.config, p.platform)
	body, err := w.document(ctx, p.config, progress.Config, p.platform)
	if body == nil || err != nil {
		p.broken = true
		return err
	}
	p.labels = w.kept[p.config.Digest]
	isImage := images.IsConfigType(p.config.MediaType) || p.config.MediaType == legacyConfig
	if !isImage || slices.ContainsFunc(p.layers, func(l ocispec.Descriptor) bool { return !unpack.IsLayer(l) }) {
		return nil
	}
	var config struct {
		ocispec.Platform
		RootFS ocispec.RootFS `json:"rootfs"`
	}
	if !w.parse(p.config, body, p.platform, &config) {
		p.broken = true
		return nil
	}
	if p.platform == "" && config.OS != "" {
		p.platform = platforms.FormatAll(config.Platform)
		w.report.Platforms = append(w.report.Platforms, p.platform)
	}
	if len(config.RootFS.DiffIDs) != len(p.layers) || slices.ContainsFunc(config.RootFS.DiffIDs, func(d digest.Digest) bool { return registry.ValidDigest(d) != nil }) {
		w.found(Finding{Kind: Malformed, Platform: p.platform, Digest: p.config.Digest, Message: fmt.Sprintf("the diff IDs do not fit the %d layers", len(p.layers))})
		return nil
	}
	p.diffIDs = config.RootFS.DiffIDs
	for _, id := range identity.ChainIDs(slices.Clone(p.diffIDs)) {
		p.chain = append(p.chain, id.String())
	}
	return nil
}

// hashLayers hashes the layers, several at once.
func (w *walk) hashLayers(ctx context.Context, p *part) error {
	p.verdicts = make([]*verdict, len(p.layers))
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(limit(0))
	for i, l := range p.layers {
		if slices.ContainsFunc(p.layers[:i], func(d ocispec.Descriptor) bool { return d.Digest == l.Digest }) {
			continue
		}
		g.Go(func() (err error) {
			p.verdicts[i], err = w.blobs.judge(ctx, l)
			return err
		})
	}
	if err := g.Wait(); err != nil {
		return err
	}
	for i, l := range p.layers {
		if p.verdicts[i] == nil { // listed again
			first := slices.IndexFunc(p.layers, func(d ocispec.Descriptor) bool { return d.Digest == l.Digest })
			p.verdicts[i] = p.verdicts[first]
			continue
		}
		w.count(p.verdicts[i])
	}
	return nil
}

// chain checks the snapshots of an image that was unpacked, and the label by
// which its config keeps them.
func (w *walk) chain(ctx context.Context, p *part) error {
	top := p.top()
	if top == "" {
		return nil
	}
	key := labelSnapshotRef + w.Store.Name
	kept := p.labels[key]
	needed, err := w.needsLabel(ctx, p, key)
	if err != nil {
		return err
	}
	p.unpacked = kept != "" || needed || w.blank[p.config.Digest]
	if !p.unpacked {
		return nil
	}
	if kept != top {
		text := "no label keeps the snapshots from being collected"
		if kept != "" {
			text = fmt.Sprintf("its label keeps snapshot %s, not %s", kept, top)
		}
		w.found(Finding{
			Kind: Label, Platform: p.platform, Digest: p.config.Digest, Message: text,
			fix: fix{stage: labelling, key: key, value: top, desc: p.config},
		})
	}
	w.links(p)
	return nil
}

// needsLabel tells whether the config lacks the label: the snapshots are there,
// and they are not there for somebody else only.
func (w *walk) needsLabel(ctx context.Context, p *part, key string) (bool, error) {
	if !w.hasSnapshot(p.top()) || p.labels[key] != "" {
		return false, nil
	}
	if slices.ContainsFunc(p.verdicts, func(v *verdict) bool { return !v.record }) {
		return true, nil // it could not be unpacked again
	}
	other, err := w.labelled(ctx, key, p.top(), p.config.Digest)
	return !other, err
}

// labelled tells whether a blob other than not has the label.
func (w *walk) labelled(ctx context.Context, key, value string, not digest.Digest) (found bool, err error) {
	err = w.Store.Content.Walk(ctx, func(info content.Info) error {
		found = found || info.Digest != not
		return nil
	}, fmt.Sprintf("labels.%q==%q", key, value))
	if err != nil {
		return false, fmt.Errorf("listing blobs: %w", err)
	}
	return found, nil
}

// links checks that each snapshot is committed on top of the one before.
func (w *walk) links(p *part) {
	parent := ""
	for i, name := range p.chain {
		info, ok := w.snapshots[name]
		f := Finding{Kind: Snapshot, Platform: p.platform, Digest: digest.Digest(name), fix: fix{stage: unpacking, part: p}}
		switch {
		case !ok:
			f.Message = fmt.Sprintf("no snapshot of layer %s", p.layers[i].Digest)
			w.found(f)
		case !isCommitted(info) || info.Parent != parent:
			f.Message = fmt.Sprintf("the snapshot of layer %s is %s on %q, want committed on %q", p.layers[i].Digest, info.Kind, info.Parent, parent)
			f.fix.remove = name
			w.found(f)
		default:
			w.report.Snapshots++
		}
		parent = name
	}
}

// layers reports blobs of layers that are corrupt, and those that are missing
// where no snapshot stands for them. Layers that were discarded, or never
// fetched because they were unpacked already, are no damage.
func (w *walk) layers(p *part) {
	for i, l := range p.layers {
		v := p.verdicts[i]
		stands := len(p.chain) > 0 && (p.unpacked && w.hasSnapshot(p.chain[i]) || w.elsewhere(p))
		if v.kind == "" || v.kind == Missing && !v.record && stands {
			continue
		}
		if slices.ContainsFunc(p.layers[:i], func(d ocispec.Descriptor) bool { return d.Digest == l.Digest }) {
			continue
		}
		w.bad(l, progress.Layer, p.platform, v)
	}
}

// elsewhere tells whether the image was unpacked into another snapshotter,
// which this store does not look into.
func (w *walk) elsewhere(p *part) bool {
	for key := range p.labels {
		if strings.HasPrefix(key, labelSnapshotRef) && key != labelSnapshotRef+w.Store.Name {
			return true
		}
	}
	return false
}

// layerLabels reports layers that the manifest does not keep though the image
// needs them, or though it keeps others. A manifest that keeps no layer at all
// is that of an image whose layers are to be discarded.
func (w *walk) layerLabels(p *part) {
	some := slices.ContainsFunc(p.layers, func(l ocispec.Descriptor) bool { return p.manifest.keeps(l.Digest) })
	for i, l := range p.layers {
		if p.verdicts[i].record && (some || !p.unpacked) {
			w.keep(&p.manifest, l, p.platform)
		}
	}
}
