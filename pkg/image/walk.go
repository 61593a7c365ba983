package image

import (
	"context"
	"errors"
	"fmt"

	"github.com/containerd/containerd/v2/core/images"
	"github.com/containerd/errdefs"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/containerd-pull/containerd-pull/pkg/failure"
	"github.com/containerd-pull/containerd-pull/pkg/source"
)

// Node is an index or a manifest in the tree of an image.
type Node struct {
	Desc ocispec.Descriptor
	// Parent is the index that lists it, nil for the target of the image.
	Parent *Node
	// Children of an index that was read are what it lists, in its order.
	Children []ocispec.Descriptor
}

// Visitor is what Walk needs of its caller.
type Visitor struct {
	// Read returns the bytes of the index n, or ErrSkip to go on without it.
	Read func(ctx context.Context, n *Node) ([]byte, error)
	// Index, unless it is nil, is called with each index once its children are
	// known, and before any of them is visited.
	Index func(n *Node)
	// Fault, unless it is nil, is called with what makes no sense. When it
	// returns nil the walk goes on without the faulty part.
	Fault func(Fault) error
}

// ErrSkip has Walk go on without an index.
var ErrSkip = errors.New("skip this index")

// Fault is an index, or one entry of it, that makes no sense.
type Fault struct {
	Index ocispec.Descriptor
	Text  string // what is wrong with the index
	Err   error  // the same for a caller that gives up, an errdefs.ErrInvalidArgument
}

// Walk follows the indexes of an image from its target and returns the
// manifests that they list, in their order and each once; the target itself if
// it is no index. Entries that are neither index nor manifest are left out.
func Walk(ctx context.Context, target ocispec.Descriptor, v Visitor) ([]*Node, error) {
	w := walker{Visitor: v, seen: map[digest.Digest]bool{}}
	if !images.IsIndexType(target.MediaType) {
		return []*Node{{Desc: target}}, nil
	}
	err := w.index(ctx, &Node{Desc: target}, 1)
	return w.manifests, err
}

// walker is the state of one Walk.
type walker struct {
	Visitor
	manifests []*Node
	seen      map[digest.Digest]bool
	listed    int // descriptors of all indexes so far
}

// index visits an index that is depth indexes deep, the target being the first.
func (w *walker) index(ctx context.Context, n *Node, depth int) error {
	body, err := w.Read(ctx, n)
	if errors.Is(err, ErrSkip) {
		return nil
	}
	if err != nil {
		return err
	}
	var index ocispec.Index
	if err := Decode(body, &index); err != nil {
		return w.fault(Fault{n.Desc, fmt.Sprintf("decoding %s: %v", n.Desc.MediaType, err), Parse(n.Desc, body, &index)})
	}
	if w.listed += len(index.Manifests); depth > MaxDepth || w.listed > MaxDescriptors {
		text := fmt.Sprintf("index is deeper than %d or lists more than %d descriptors", MaxDepth, MaxDescriptors)
		return w.fault(Fault{n.Desc, "the " + text, failure.New(errdefs.ErrInvalidArgument, "%s", text)})
	}
	n.Children = index.Manifests
	if w.Index != nil {
		w.Index(n)
	}
	for _, child := range n.Children {
		if err := w.child(ctx, &Node{Desc: child, Parent: n}, depth); err != nil {
			return err
		}
	}
	return nil
}

// child visits what an index lists, unless an index listed it before.
func (w *walker) child(ctx context.Context, n *Node, depth int) error {
	if err := source.ValidDigest(n.Desc.Digest); err != nil {
		return w.fault(Fault{n.Parent.Desc, fmt.Sprintf("it lists %q", n.Desc.Digest), err})
	}
	if w.seen[n.Desc.Digest] {
		return nil
	}
	w.seen[n.Desc.Digest] = true
	switch {
	case images.IsIndexType(n.Desc.MediaType):
		return w.index(ctx, n, depth+1)
	case images.IsManifestType(n.Desc.MediaType):
		w.manifests = append(w.manifests, n)
	}
	return nil
}

func (w *walker) fault(f Fault) error {
	if w.Fault == nil {
		return f.Err
	}
	return w.Fault(f)
}
