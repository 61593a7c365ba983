package check

import (
	"context"
	"encoding/json"
	"slices"

	"github.com/containerd/errdefs"
	"github.com/containerd/platforms"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/containerd-pull/containerd-pull/pkg/image"
	"github.com/containerd-pull/containerd-pull/pkg/progress"
	"github.com/containerd-pull/containerd-pull/pkg/source"
)

// choose returns the parts that the image promises: those of the platforms
// asked for, or else those of which there is more than the documents that every
// pull keeps of all platforms. If there is no such part, it is the host's.
func (w *walk) choose(ctx context.Context, all []*image.Node) ([]*part, error) {
	var parts []*part
	for _, n := range all {
		p, err := w.peek(ctx, n)
		if err != nil {
			return nil, err
		}
		parts = append(parts, p)
	}
	if len(all) == 1 && all[0].Parent == nil || w.AllPlatforms {
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

// best is the part that suits want best, nil if none does. Of parts whose
// platform the index does not name it is not known whom they suit.
func best(parts []*part, want platforms.MatchComparer) *part {
	var named []*part
	var has []ocispec.Platform
	for _, p := range parts {
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
func (w *walk) peek(ctx context.Context, n *image.Node) (*part, error) {
	p := &part{desc: n.Desc, parent: w.parent(n), platform: platformName(n.Desc.Platform), broken: true}
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
	if json.Unmarshal(body, &m) != nil {
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

// evident tells whether p was pulled: it was unpacked, or the store has a layer
// that no other manifest of the index shares.
func (w *walk) evident(ctx context.Context, p *part, all []*part) (bool, error) {
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
		shared := slices.ContainsFunc(all, func(o *part) bool {
			return o != p && slices.ContainsFunc(o.layers, func(d ocispec.Descriptor) bool { return d.Digest == l.Digest })
		})
		if _, err := w.Store.Content.Info(ctx, l.Digest); !shared && err == nil {
			return true, nil
		}
	}
	return false, nil
}
