package check

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/containerd/errdefs"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/containerd-pull/containerd-pull/pkg/image"
	"github.com/containerd-pull/containerd-pull/pkg/progress"
	"github.com/containerd-pull/containerd-pull/pkg/source"
)

// walk is the check of one image.
type walk struct {
	*run
	report Report
	// kept are the labels of the documents that are whole.
	kept map[digest.Digest]map[string]string
	// indexes that are whole, as far as they were met.
	indexes map[digest.Digest]*document
	// absent are the indexes below the target that the store does not have. An
	// image may do without, unless its platform is looked for in one of them.
	absent map[digest.Digest]bool
}

// document is an index or a manifest and what it lists.
type document struct {
	desc     ocispec.Descriptor
	labels   map[string]string
	children []ocispec.Descriptor
}

// keepsBlob reports whether a label of the document keeps the blob dgst from being
// collected.
func (d *document) keepsBlob(dgst digest.Digest) bool {
	for key, value := range d.labels {
		if strings.HasPrefix(key, image.LabelContent) && value == dgst.String() {
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
	listed, err := image.Walk(ctx, w.report.Image.Target, image.Visitor{Read: w.readIndex, Index: w.index, Fault: w.fault})
	if err != nil {
		return err
	}
	units, err := w.choose(ctx, listed)
	if err != nil {
		return err
	}
	for _, p := range units {
		if err := w.unit(ctx, p); err != nil {
			return err
		}
	}
	w.report.units = units
	return w.others(ctx, listed, units)
}

// others checks the documents that are kept of other platforms. They may be
// missing, but not wrong.
func (w *walk) others(ctx context.Context, all []*image.Node, chosen []*repairUnit) error {
	for _, n := range all {
		if slices.ContainsFunc(chosen, func(p *repairUnit) bool { return p.desc.Digest == n.Desc.Digest }) {
			continue
		}
		p, err := w.peek(ctx, n)
		if err != nil {
			return err
		}
		if err := w.other(ctx, n.Desc, progress.Manifest, p.platform); err != nil {
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
	w.count(desc.Digest, v)
	if v.kind != "" && v.record {
		w.foundBlob(desc, kind, platform, v)
	}
	return nil
}

// readIndex checks an index and that its parent keeps it.
func (w *walk) readIndex(ctx context.Context, n *image.Node) ([]byte, error) {
	w.checkKept(w.parent(n), n.Desc, "")
	if n.Parent != nil && !w.AllPlatforms {
		v, err := w.judge(ctx, n.Desc, progress.Index)
		if err != nil {
			return nil, err
		}
		if !v.record {
			w.absent[n.Desc.Digest] = true
			return nil, image.ErrSkip
		}
	}
	body, err := w.document(ctx, n.Desc, progress.Index, "")
	if body == nil && err == nil {
		err = image.ErrSkip
	}
	return body, err
}

// parent is the index that lists n, nil for the target.
func (w *walk) parent(n *image.Node) *document {
	if n.Parent == nil {
		return nil
	}
	return w.indexes[n.Parent.Desc.Digest]
}

func (w *walk) index(n *image.Node) {
	w.indexes[n.Desc.Digest] = &document{desc: n.Desc, labels: w.kept[n.Desc.Digest], children: n.Children}
}

// fault reports an index that makes no sense, and goes on.
func (w *walk) fault(f image.Fault) error {
	w.found(Finding{Kind: Malformed, Digest: f.Index.Digest, Message: f.Text})
	return nil
}

// document checks a document and returns its bytes, or nil if it is not whole.
func (w *walk) document(ctx context.Context, desc ocispec.Descriptor, kind progress.Blob, platform string) ([]byte, error) {
	v, err := w.judge(ctx, desc, kind)
	if err != nil {
		return nil, err
	}
	w.count(desc.Digest, v)
	if v.kind == "" && v.size > image.MaxDocuments {
		v = &verdict{kind: Malformed, message: fmt.Sprintf("a document of %d bytes", v.size)}
	}
	if v.kind != "" {
		w.foundBlob(desc, kind, platform, v)
		return nil, nil
	}
	body, err := w.blobs.document(ctx, desc)
	if errdefs.IsNotFound(err) { // it was collected meanwhile
		w.blobs.forget(desc.Digest)
		w.foundBlob(desc, kind, platform, &verdict{kind: Missing, message: "not in the content store"})
		return nil, nil
	}
	w.kept[desc.Digest] = v.labels
	return body, err
}

// judge hashes a blob of the image.
func (w *walk) judge(ctx context.Context, desc ocispec.Descriptor, kind progress.Blob) (*verdict, error) {
	return w.blobs.judge(ctx, desc, consumer{w.report.Image.Name, kind})
}

func (w *walk) count(dgst digest.Digest, v *verdict) {
	if v.record {
		w.report.seen.blobs[dgst] = v.size
	}
}

// foundBlob reports a blob that is not whole.
func (w *walk) foundBlob(desc ocispec.Descriptor, kind progress.Blob, platform string, v *verdict) {
	f := Finding{Kind: v.kind, Platform: platform, Digest: desc.Digest, Message: fmt.Sprintf("%s: %s", kind, v.message)}
	if v.kind != Malformed {
		f.fix = repairOptions{stage: fetching, desc: desc, blob: kind, drop: v.record, labels: v.labels}
	}
	w.found(f)
}

// parse decodes the JSON of a document and reports what cannot be decoded.
func (w *walk) parse(desc ocispec.Descriptor, body []byte, platform string, into any) bool {
	err := image.Decode(body, into)
	if err != nil {
		w.found(Finding{Kind: Malformed, Platform: platform, Digest: desc.Digest, Message: fmt.Sprintf("decoding %s: %v", desc.MediaType, err)})
	}
	return err == nil
}

// checkKept reports a child that its parent does not keep.
func (w *walk) checkKept(parent *document, child ocispec.Descriptor, platform string) {
	if parent == nil || parent.keepsBlob(child.Digest) {
		return
	}
	w.found(Finding{
		Kind: Label, Platform: platform, Digest: parent.desc.Digest,
		Message: fmt.Sprintf("no label keeps %s from being collected", child.Digest),
		fix:     repairOptions{stage: labelling, key: child.Digest.String(), parent: parent},
	})
}
