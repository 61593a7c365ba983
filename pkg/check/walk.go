package check

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/containerd/containerd/v2/core/images"
	"github.com/containerd/errdefs"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/containerd-pull/containerd-pull/pkg/progress"
	"github.com/containerd-pull/containerd-pull/pkg/source"
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
	if err := source.ValidDigest(w.report.Image.Target.Digest); err != nil {
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
	v, err := w.judge(ctx, desc, kind)
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
		if source.ValidDigest(child.Digest) != nil {
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
	v, err := w.judge(ctx, desc, kind)
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

// judge hashes a blob of the image.
func (w *walk) judge(ctx context.Context, desc ocispec.Descriptor, kind progress.Blob) (*verdict, error) {
	return w.blobs.judge(ctx, desc, use{w.report.Image.Name, kind})
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
