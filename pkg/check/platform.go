package check

import (
	"context"
	"errors"
	"slices"

	"github.com/containerd/containerd/v2/core/images"
	"github.com/containerd/errdefs"
	"github.com/containerd/platforms"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/containerd-pull/containerd-pull/pkg/image"
	"github.com/containerd-pull/containerd-pull/pkg/progress"
	"github.com/containerd-pull/containerd-pull/pkg/source"
)

// choose returns the units that the image promises: those of the platforms
// asked for, or else those of which there is more than the documents that every
// pull keeps of all platforms. If there is no such unit, it is the host's.
func (w *walk) choose(ctx context.Context, all []*image.Node) ([]*repairUnit, error) {
	var units []*repairUnit
	for _, n := range all {
		p, err := w.peek(ctx, n)
		if err != nil {
			return nil, err
		}
		units = append(units, p)
	}
	if len(all) == 1 && all[0].Parent == nil || w.AllPlatforms {
		return units, nil
	}
	if len(w.Platforms) > 0 {
		return w.asked(ctx, units)
	}
	host, err := w.find(ctx, units, platforms.Default())
	if err != nil {
		return nil, err
	}
	var chosen []*repairUnit
	documents := false // of a platform that was not pulled
	for _, p := range units {
		evident, err := w.evident(ctx, p, units)
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
		return units, nil
	}
	return chosen, nil
}

// asked are the units for the platforms asked for; one that is not listed is a
// finding.
func (w *walk) asked(ctx context.Context, units []*repairUnit) ([]*repairUnit, error) {
	var chosen []*repairUnit
	for _, want := range w.Platforms {
		p, err := w.find(ctx, units, platforms.Only(want))
		if err != nil {
			return nil, err
		}
		if p == nil {
			w.found(Finding{Kind: Missing, Platform: platforms.FormatAll(want), Digest: w.report.Image.Target.Digest, Message: "the image is not made for this platform"})
			continue
		}
		if !slices.Contains(chosen, p) {
			chosen = append(chosen, p)
		}
	}
	return chosen, nil
}

// find returns the unit that containerd takes for the platform want, nil if there
// is none. One whose documents are missing or corrupt is one that it would take.
func (w *walk) find(ctx context.Context, units []*repairUnit, want platforms.MatchComparer) (*repairUnit, error) {
	desc, err := image.Choose(ctx, w.report.Image.Target, want, w.readWhole)
	if errors.Is(err, image.ErrNoMatch) {
		return nil, nil
	}
	if err != nil && !errors.Is(err, errDamaged) && !errdefs.IsInvalidArgument(err) {
		return nil, err
	}
	i := slices.IndexFunc(units, func(p *repairUnit) bool { return p.desc.Digest == desc.Digest })
	if i >= 0 {
		return units[i], nil
	}
	if w.absent[desc.Digest] {
		delete(w.absent, desc.Digest)
		_, err := w.document(ctx, desc, progress.Index, "")
		return nil, err
	}
	return nil, nil // it is reported already what is wrong with the index
}

// errDamaged is the error of a document that is reported in another place.
var errDamaged = errors.New("the document is not whole")

// readWhole is an image.Read of documents that are whole.
func (w *walk) readWhole(ctx context.Context, desc ocispec.Descriptor) ([]byte, error) {
	kind := progress.Config
	switch {
	case images.IsIndexType(desc.MediaType):
		kind = progress.Index
	case images.IsManifestType(desc.MediaType):
		kind = progress.Manifest
	}
	v, err := w.judge(ctx, desc, kind)
	if err != nil {
		return nil, err
	}
	if v.kind != "" || v.size > image.MaxDocuments {
		return nil, errDamaged
	}
	body, err := w.blobs.document(ctx, desc)
	if errdefs.IsNotFound(err) { // it was collected meanwhile
		w.blobs.forget(desc.Digest)
		return nil, errDamaged
	}
	return body, err
}

// peek reads what there is of a manifest and its config, and reports nothing.
// What is there but corrupt is not read.
func (w *walk) peek(ctx context.Context, n *image.Node) (*repairUnit, error) {
	p := &repairUnit{desc: n.Desc, parent: w.parent(n), platform: platformName(n.Desc.Platform), broken: true}
	body, err := w.readWhole(ctx, n.Desc)
	if errors.Is(err, errDamaged) {
		return p, nil
	}
	if err != nil {
		return nil, err
	}
	var m ocispec.Manifest
	if image.Parse(n.Desc, body, &m) != nil {
		return p, nil
	}
	v, err := w.judge(ctx, n.Desc, progress.Manifest)
	if err != nil {
		return nil, err
	}
	p.manifest = document{desc: n.Desc, labels: v.labels}
	if m.Config.Digest != "" {
		p.manifest.children = append(p.manifest.children, m.Config)
	}
	p.manifest.children = append(p.manifest.children, m.Layers...)
	p.config = m.Config
	var why string
	if p.layers, p.beside, why = image.FileSystem(m); why != "" {
		p.layers, p.beside = m.Layers, nil
	}
	p.files = why == ""
	for _, child := range p.manifest.children {
		if source.ValidDigest(child.Digest) != nil {
			return p, nil
		}
	}
	p.broken = false
	return p, nil
}

// evident reports whether p was pulled: it was unpacked, or the store has a layer
// that no other manifest of the index shares.
func (w *walk) evident(ctx context.Context, p *repairUnit, all []*repairUnit) (bool, error) {
	if p.broken {
		return false, nil
	}
	if p.config.Digest != "" {
		v, err := w.judge(ctx, p.config, progress.Config)
		if err != nil {
			return false, err
		}
		if v.labels[image.LabelSnapshot+w.Store.Name] != "" {
			return true, nil
		}
	}
	for _, l := range p.layers {
		shared := slices.ContainsFunc(all, func(o *repairUnit) bool {
			return o != p && slices.ContainsFunc(o.layers, func(d ocispec.Descriptor) bool { return d.Digest == l.Digest })
		})
		if _, err := w.Store.Content.Info(ctx, l.Digest); !shared && err == nil {
			return true, nil
		}
	}
	return false, nil
}
