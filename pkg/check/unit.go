package check

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/platforms"
	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/identity"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/sync/errgroup"

	"github.com/containerd-pull/containerd-pull/pkg/image"
	"github.com/containerd-pull/containerd-pull/pkg/progress"
	"github.com/containerd-pull/containerd-pull/pkg/source"
)

// repairUnit is what an image has for one platform.
type repairUnit struct {
	platform string
	desc     ocispec.Descriptor // of the manifest
	parent   *document          // the index that lists it, nil for none
	manifest document
	config   ocispec.Descriptor
	layers   []ocispec.Descriptor // of the file system, or all blobs if there is none
	beside   []ocispec.Descriptor // blobs that are listed beside the layers
	files    bool                 // there is a file system
	diffIDs  []digest.Digest      // none if there is no file system
	chain    []string             // chain IDs of layers, bottom first
	labels   map[string]string
	// verdicts are those of layers, and those of the blobs beside them.
	verdicts, besideVerdicts []*verdict
	// unpacked: the image counts on its snapshots.
	unpacked bool
	broken   bool // the manifest or the config is, so that the rest is unknown
}

func (p *repairUnit) top() string {
	if len(p.chain) == 0 {
		return ""
	}
	return p.chain[len(p.chain)-1]
}

// unit checks what the image has for one platform.
func (w *walk) unit(ctx context.Context, p *repairUnit) error {
	if p.platform != "" {
		w.report.Platforms = append(w.report.Platforms, p.platform)
	}
	w.checkKept(p.parent, p.desc, p.platform)
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
	if err := w.besideLayers(ctx, p); err != nil {
		return err
	}
	w.diffIDLabels(p)
	if w.Deep && p.unpacked {
		return w.compare(ctx, p)
	}
	return nil
}

// readConfig checks the config and reads the diff IDs. What has no file system
// has none.
func (w *walk) readConfig(ctx context.Context, p *repairUnit) error {
	if p.config.Digest == "" {
		return nil
	}
	w.checkKept(&p.manifest, p.config, p.platform)
	body, err := w.document(ctx, p.config, progress.Config, p.platform)
	if body == nil || err != nil {
		p.broken = true
		return err
	}
	p.labels = w.kept[p.config.Digest]
	if !p.files {
		return nil
	}
	var config image.Config
	if !w.parse(p.config, body, p.platform, &config) {
		p.broken = true
		return nil
	}
	if p.platform == "" && config.OS != "" {
		p.platform = platforms.FormatAll(config.Platform)
		w.report.Platforms = append(w.report.Platforms, p.platform)
	}
	if len(config.RootFS.DiffIDs) != len(p.layers) || slices.ContainsFunc(config.RootFS.DiffIDs, func(d digest.Digest) bool { return source.ValidDigest(d) != nil }) {
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
func (w *walk) hashLayers(ctx context.Context, p *repairUnit) error {
	p.verdicts = make([]*verdict, len(p.layers))
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(limit(0))
	for i, l := range p.layers {
		if slices.ContainsFunc(p.layers[:i], func(d ocispec.Descriptor) bool { return d.Digest == l.Digest }) {
			continue
		}
		g.Go(func() (err error) {
			p.verdicts[i], err = w.judge(ctx, l, progress.Layer)
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
		w.count(l.Digest, p.verdicts[i])
	}
	return nil
}

// chain checks the snapshots of an image that was unpacked, and the label by
// which its config keeps them.
func (w *walk) chain(ctx context.Context, p *repairUnit) error {
	top := p.top()
	if top == "" {
		return nil
	}
	key := image.LabelSnapshot + w.Store.Name
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
			fix: repairOptions{stage: labelling, key: key, value: top, desc: p.config},
		})
	}
	if err := w.findLost(ctx, p); err != nil {
		return err
	}
	w.links(p)
	return nil
}

// findLost looks at the folders of the snapshots that there are of the chain.
func (w *walk) findLost(ctx context.Context, p *repairUnit) error {
	var there []digest.Digest
	for _, name := range p.chain[:w.countThere(p)] {
		there = append(there, digest.Digest(name))
	}
	damage, err := w.Store.ChainDamage(ctx, there)
	if err != nil {
		return err
	}
	for i, what := range damage {
		if what != "" {
			w.lost[p.chain[i]] = what
		}
	}
	return nil
}

// countThere counts the snapshots of the chain, from the bottom, up to the first
// that has no record.
func (w *walk) countThere(p *repairUnit) (n int) {
	for n < len(p.chain) && w.hasSnapshot(p.chain[n]) {
		n++
	}
	return n
}

// needsLabel reports whether the config lacks the label: the snapshots are there,
// and not for the sake of another image alone.
func (w *walk) needsLabel(ctx context.Context, p *repairUnit, key string) (bool, error) {
	if !w.hasSnapshot(p.top()) || p.labels[key] != "" {
		return false, nil
	}
	if slices.ContainsFunc(p.verdicts, func(v *verdict) bool { return !v.record }) {
		return true, nil // it could not be unpacked again
	}
	other, err := w.labelled(ctx, key, p.top(), p.config.Digest)
	return !other, err
}

// labelled reports whether a blob other than not has the label.
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
func (w *walk) links(p *repairUnit) {
	parent := ""
	for i, name := range p.chain {
		info, ok := w.snapshots[name]
		f := Finding{Kind: Snapshot, Platform: p.platform, Digest: digest.Digest(name), fix: repairOptions{stage: unpacking, unit: p}}
		switch {
		case !ok:
			f.Message = fmt.Sprintf("no snapshot of layer %s", p.layers[i].Digest)
			w.found(f)
		case !isCommitted(info) || info.Parent != parent:
			f.Message = fmt.Sprintf("the snapshot of layer %s is %s on %q, want committed on %q", p.layers[i].Digest, info.Kind, info.Parent, parent)
			f.fix.remove = name
			w.found(f)
		case w.lost[name] != "":
			f.Message = fmt.Sprintf("the snapshot of layer %s: %s", p.layers[i].Digest, w.lost[name])
			w.found(f)
		default:
			w.report.seen.snapshots[name] = true
		}
		parent = name
	}
}

// layers reports blobs of layers that are corrupt, and those that are missing
// where no snapshot stands for them. Layers that were discarded, or never
// fetched because they were unpacked already, are no damage.
func (w *walk) layers(p *repairUnit) {
	for i, l := range p.layers {
		v := p.verdicts[i]
		stands := len(p.chain) > 0 && (p.unpacked && w.hasSnapshot(p.chain[i]) || w.elsewhere(p))
		if v.kind == "" || v.kind == Missing && !v.record && stands {
			continue
		}
		if slices.ContainsFunc(p.layers[:i], func(d ocispec.Descriptor) bool { return d.Digest == l.Digest }) {
			continue
		}
		w.foundBlob(l, progress.Layer, p.platform, v)
	}
}

// besideLayers checks the blobs that are no layers, for which no snapshot stands.
func (w *walk) besideLayers(ctx context.Context, p *repairUnit) error {
	for _, desc := range p.beside {
		v, err := w.judge(ctx, desc, progress.Layer)
		if err != nil {
			return err
		}
		p.besideVerdicts = append(p.besideVerdicts, v)
		w.count(desc.Digest, v)
		w.checkKept(&p.manifest, desc, p.platform)
		if v.kind != "" {
			w.foundBlob(desc, progress.Layer, p.platform, v)
		}
	}
	return nil
}

// elsewhere reports whether the image was unpacked into another snapshotter,
// which this store does not look into.
func (w *walk) elsewhere(p *repairUnit) bool {
	for key := range p.labels {
		if strings.HasPrefix(key, image.LabelSnapshot) && key != image.LabelSnapshot+w.Store.Name {
			return true
		}
	}
	return false
}

// layerLabels reports layers that the manifest does not keep though the image
// needs them, or though it keeps others. A manifest that keeps no layer at all
// is that of an image whose layers are to be discarded.
func (w *walk) layerLabels(p *repairUnit) {
	some := slices.ContainsFunc(p.layers, func(l ocispec.Descriptor) bool { return p.manifest.keepsBlob(l.Digest) })
	for i, l := range p.layers {
		if p.verdicts[i].record && (some || !p.unpacked) {
			w.checkKept(&p.manifest, l, p.platform)
		}
	}
}
