// Package image is an image as a tree of documents: indexes, manifests and
// configs, with the bounds that keep a foreign one harmless, the choice of a
// platform, and the labels by which containerd's garbage collection follows the
// tree.
//
// It contacts no registry and no store: the caller reads the documents. What a
// pull makes of an image is in pkg/pull, whether one in a store is still whole
// in pkg/check; both walk, choose and label with this package, so that they
// cannot disagree. Read Walk first.
package image

import (
	"encoding/json"
	"fmt"

	"github.com/containerd/containerd/v2/core/images"
	"github.com/containerd/errdefs"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/containerd-pull/containerd-pull/pkg/failure"
)

// The bounds of one image. No honest image comes near them.
const (
	MaxDepth       = 8        // indexes in each other
	MaxDescriptors = 10_000   // that all indexes list together
	MaxDocuments   = 64 << 20 // bytes of indexes, manifests and configs in memory
	MaxConfig      = 4 << 20  // bytes of one config

	// What one document may hold, which is counted before it is decoded: an
	// empty object of three bytes would become a struct of hundreds.
	maxObjects = 6 * MaxDescriptors  // objects and arrays
	maxValues  = 20 * MaxDescriptors // with numbers and strings, the names of fields left out
)

// legacyConfig is what some old registries serve configs as
// (distribution#1622).
const legacyConfig = "application/octet-stream"

// IsConfig reports whether desc is the config of an image that can run, rather
// than that of another kind of artifact.
func IsConfig(desc ocispec.Descriptor) bool {
	return images.IsConfigType(desc.MediaType) || desc.MediaType == legacyConfig
}

// IsAttestation reports whether desc is one of the manifests that build tools
// put beside an image.
func IsAttestation(desc ocispec.Descriptor) bool {
	return desc.Platform != nil && (desc.Platform.OS == "unknown" || desc.Platform.Architecture == "unknown")
}

// Parse decodes the JSON of the document desc. Every error is an
// errdefs.ErrInvalidArgument.
func Parse(desc ocispec.Descriptor, body []byte, into any) error {
	if err := Decode(body, into); err != nil {
		return malformed(desc, err)
	}
	return nil
}

func malformed(desc ocispec.Descriptor, err error) error {
	return failure.New(errdefs.ErrInvalidArgument, "decoding %s (%s): %w", desc.Digest, desc.MediaType, err)
}

// Decode is json.Unmarshal for a document that holds no more than it may.
func Decode(body []byte, into any) error {
	if err := bounded(body); err != nil {
		return err
	}
	return json.Unmarshal(body, into)
}

// bounded is an error if the JSON in body holds more than it may.
func bounded(body []byte) error {
	if objects, values := count(body); objects > maxObjects || values > maxValues {
		return fmt.Errorf("more than %d objects or %d values", maxObjects, maxValues)
	}
	return nil
}

// count returns how many objects and arrays the JSON in body holds, and how many
// values there are at most. What is no JSON has no more of them than a decoder
// meets before it notices.
func count(body []byte) (objects, values int) {
	quoted := false
	for i := 0; i < len(body); i++ {
		switch c := body[i]; {
		case quoted && c == '\\':
			i++ // what follows is escaped
		case c == '"':
			quoted = !quoted
		case quoted:
		case c == '{' || c == '[':
			objects++
			values++
		case c == ',':
			values++
		}
	}
	return objects, values
}

// Config is what of an image's config decides how the image is unpacked.
type Config struct {
	ocispec.Platform
	RootFS ocispec.RootFS `json:"rootfs"`
}

// FileSystem parts the blobs that m lists beside its config into the layers of
// its file system, which have a diff ID each, and what merely lies beside them.
// containerd goes by the media types. Where there is no file system, why says
// why, and all blobs are beside.
func FileSystem(m ocispec.Manifest) (layers, beside []ocispec.Descriptor, why string) {
	if !IsConfig(m.Config) {
		return nil, m.Layers, "its config is " + m.Config.MediaType
	}
	for _, l := range m.Layers {
		if images.IsLayerType(l.MediaType) {
			layers = append(layers, l)
		} else {
			beside = append(beside, l)
		}
	}
	if len(layers) == 0 && len(beside) > 0 {
		why = fmt.Sprintf("none of its blobs is a layer, %s is %s", beside[0].Digest, beside[0].MediaType)
	}
	return layers, beside, why
}

// Children lists what the manifest m keeps, its config first.
func Children(m ocispec.Manifest) []ocispec.Descriptor {
	return append([]ocispec.Descriptor{m.Config}, m.Layers...)
}

// ChildrenOf lists what the index or manifest desc keeps, whose bytes are body.
func ChildrenOf(desc ocispec.Descriptor, body []byte) ([]ocispec.Descriptor, error) {
	if images.IsIndexType(desc.MediaType) {
		var index ocispec.Index
		err := Parse(desc, body, &index)
		return index.Manifests, err
	}
	var m ocispec.Manifest
	err := Parse(desc, body, &m)
	return Children(m), err
}
