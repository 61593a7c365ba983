package check

import (
	"context"
	"slices"

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
		return w.asked(units), nil
	}
	host := best(units, platforms.Default())
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
func (w *walk) asked(units []*repairUnit) []*repairUnit {
	var chosen []*repairUnit
	for _, want := range w.Platforms {
		p := best(units, platforms.Ordered(want))
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

// best is the unit that suits want best, nil if none does. Units whose platform
// the index does not name suit nothing.
func best(units []*repairUnit, want platforms.MatchComparer) *repairUnit {
	var named []*repairUnit
	var has []ocispec.Platform
	for _, p := range units {
		if p.desc.Platform != nil && p.desc.Platform.OS != "" {
			named, has = append(named, p), append(has, *p.desc.Platform)
		}
	}
	if i := image.Choose(has, want); i >= 0 {
		return named[i]
	}
	return nil
}

// peek reads what there is of a manifest and its config, and reports nothing.
// What is there but corrupt is not read.
func (w *walk) peek(ctx context.Context, n *image.Node) (*repairUnit, error) {
	p := &repairUnit{desc: n.Desc, parent: w.parent(n), platform: platformName(n.Desc.Platform), broken: true}
	v, err := w.judge(ctx, n.Desc, progress.Manifest)
	if err != nil || v.kind != "" || v.size > image.MaxDocuments {
		return p, err
	}
	body, err := w.blobs.document(ctx, n.Desc)
	if errdefs.IsNotFound(err) { // it was collected meanwhile
		w.blobs.forget(n.Desc.Digest)
		return p, nil
	}
	if err != nil {
		return nil, err
	}
	var m ocispec.Manifest
	if image.Parse(n.Desc, body, &m) != nil {
		return p, nil
	}
	p.manifest = document{desc: n.Desc, labels: v.labels}
	if m.Config.Digest != "" {
		p.manifest.children = append(p.manifest.children, m.Config)
	}
	p.manifest.children = append(p.manifest.children, m.Layers...)
	p.config, p.layers = m.Config, m.Layers
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
