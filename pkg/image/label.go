package image

import (
	"strconv"
	"strings"

	"github.com/containerd/containerd/v2/core/images"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/containerd-pull/containerd-pull/pkg/source"
)

// The labels of containerd's garbage collection
// (docs/garbage-collection.md in containerd).
const (
	// LabelContent begins the keys by which a blob keeps other blobs.
	LabelContent = "containerd.io/gc.ref.content"
	// LabelConfig is the key by which a manifest keeps its config.
	LabelConfig = LabelContent + ".config"
	// LabelSnapshot, followed by the name of a snapshotter, is the key by which
	// a config keeps the snapshots made of its layers.
	LabelSnapshot = "containerd.io/gc.ref.snapshot."

	labelReferrer  = LabelContent + ".referrer.sha256."
	referrerDigits = 12 // of the digest of a referrer, in its key
)

// Kinds names the keys by which a document keeps a child of its own:
// images.ChildGCLabels, or images.ChildGCLabelsFilterLayers to keep no layers.
// A key that ends with a dot is completed by Labels.
type Kinds func(child ocispec.Descriptor) []string

// Labels are those by which a document keeps its children, as containerd writes
// them: of all that are listed, whether they were fetched or not.
func Labels(children []ocispec.Descriptor, kinds Kinds) map[string]string {
	set := map[string]string{}
	eachKey(children, kinds, func(kind string, n int, child digest.Digest) {
		set[key(kind, n, child)] = child.String()
	})
	return set
}

// FreeKey is the key by which Labels would have a document keep child, or a
// further one of its kind where have holds another value under that key. It is
// empty if the document does not list the child.
func FreeKey(have map[string]string, children []ocispec.Descriptor, child digest.Digest) string {
	free := ""
	eachKey(children, images.ChildGCLabels, func(kind string, n int, dgst digest.Digest) {
		if dgst != child || free != "" {
			return
		}
		free = key(kind, n, dgst)
		for more := n + 1; have[free] != ""; more++ {
			free = kind + strconv.Itoa(more)
		}
	})
	return free
}

// eachKey calls yield with the kind of each key and with how many keys of that
// kind there were before.
func eachKey(children []ocispec.Descriptor, kinds Kinds, yield func(kind string, n int, child digest.Digest)) {
	count := map[string]int{}
	for _, child := range children {
		if source.ValidDigest(child.Digest) != nil {
			continue // nothing can be kept under such a name
		}
		for _, kind := range kinds(child) {
			yield(kind, count[kind], child.Digest)
			count[kind]++
		}
	}
}

// key is that of number n of a kind.
func key(kind string, n int, child digest.Digest) string {
	switch {
	case kind == labelReferrer:
		return kind + child.Encoded()[:referrerDigits]
	case n > 0 || strings.HasSuffix(kind, "."):
		return kind + strconv.Itoa(n)
	}
	return kind
}
