// Package document judges the documents of registries, manifests and indexes: whether
// they have the digest, size and type that they should have, and which type that is.
//
// It reads bytes that are whole and bounded, and contacts no host. Errors are of the
// classes errdefs.ErrDataLoss, for bytes that are not those asked for, and
// errdefs.ErrInvalidArgument. Start reading at Describe.
package document

import (
	"bytes"
	"encoding/json"
	"errors"
	"mime"
	"net/http"
	"slices"

	"github.com/containerd/containerd/v2/core/images"
	"github.com/containerd/errdefs"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/containerd-pull/containerd-pull/pkg/failure"
	"github.com/containerd-pull/containerd-pull/pkg/source"
)

// Types are the documents that can be pulled, the ones that containerd
// understands.
func Types() []string {
	return []string{
		images.MediaTypeDockerSchema2Manifest,
		images.MediaTypeDockerSchema2ManifestList,
		ocispec.MediaTypeImageManifest,
		ocispec.MediaTypeImageIndex,
	}
}

// Describe checks a document against its headers and against want, and returns
// its descriptor.
func Describe(body []byte, header http.Header, want ocispec.Descriptor) (ocispec.Descriptor, error) {
	if err := checkDigest(body, header, want); err != nil {
		return ocispec.Descriptor{}, err
	}
	mediaType, err := typeOf(body, header.Get("Content-Type"))
	if err != nil {
		return ocispec.Descriptor{}, err
	}
	desc := want
	if desc.Digest == "" {
		desc.Digest = digest.FromBytes(body)
	}
	if isKnown(desc.MediaType) && desc.MediaType != mediaType {
		return desc, malformed("document is a %s, and its descriptor says %s", mediaType, desc.MediaType)
	}
	desc.MediaType, desc.Size = mediaType, int64(len(body))
	return desc, nil
}

// checkDigest believes no announcement: every digest that is named anywhere must
// be that of the bytes.
func checkDigest(body []byte, header http.Header, want ocispec.Descriptor) error {
	if want.Size > 0 && want.Size != int64(len(body)) {
		return failure.New(errdefs.ErrDataLoss, "%w: got %d, want %d", ErrSize, len(body), want.Size)
	}
	for _, d := range []digest.Digest{want.Digest, digest.Digest(header.Get("Docker-Content-Digest"))} {
		if d == "" {
			continue
		}
		if err := source.ValidDigest(d); err != nil {
			return malformed("%w", err)
		}
		if got := d.Algorithm().FromBytes(body); got != d {
			return failure.New(errdefs.ErrDataLoss, "digest: got %s, want %s", got, d)
		}
	}
	return nil
}

// shape is what distinguishes a manifest from an index. Two clients that read one
// document differently could be made to run different images from one digest
// (CVE-2021-41190), so a document that is both is neither.
type shape struct {
	SchemaVersion int             `json:"schemaVersion"`
	MediaType     string          `json:"mediaType"`
	Config        json.RawMessage `json:"config"`
	Layers        json.RawMessage `json:"layers"`
	Manifests     json.RawMessage `json:"manifests"`
	FSLayers      json.RawMessage `json:"fsLayers"`
}

func isPresent(raw json.RawMessage) bool {
	return len(raw) > 0 && !bytes.Equal(raw, []byte("null"))
}

// typeOf returns the media type of a document, in which its content, its
// mediaType field and the Content-Type it came with must agree.
func typeOf(body []byte, contentType string) (string, error) {
	outer, err := outerType(contentType)
	if err != nil {
		return "", err
	}
	var doc shape
	if err := json.Unmarshal(body, &doc); err != nil {
		return "", malformed("answer of type %q is no manifest: %w; is this a registry?", contentType, err)
	}
	isIndex, err := doc.isIndex()
	if err != nil {
		return "", err
	}
	named := doc.MediaType
	if named != "" && !isKnown(named) {
		return "", malformed("manifest of unsupported type %q", named)
	}
	if named != "" && outer != "" && named != outer {
		return "", malformed("document says it is a %s and was served as %s", named, outer)
	}
	if named == "" {
		named = outer
	}
	if named == "" {
		named = defaultType(isIndex)
	}
	if images.IsIndexType(named) != isIndex {
		return "", malformed("document of type %s has the content of the other kind", named)
	}
	return named, nil
}

func defaultType(isIndex bool) string {
	if isIndex {
		return ocispec.MediaTypeImageIndex
	}
	return ocispec.MediaTypeImageManifest
}

// outerType returns the type that Content-Type names, empty if it leaves the
// judgement to the document.
func outerType(contentType string) (string, error) {
	if contentType == "" {
		return "", nil
	}
	mediaType, _, err := mime.ParseMediaType(contentType)
	switch {
	case err != nil:
		return "", malformed("answer of type %q is no manifest; is this a registry?", contentType)
	case mediaType == "application/octet-stream":
		return "", nil
	case isKnown(mediaType):
		return mediaType, nil
	case isSchema1Type(mediaType):
		return "", Schema1()
	}
	return "", malformed("answer of type %q is no manifest; is this a registry?", contentType)
}

// isIndex decides by the content alone.
func (s shape) isIndex() (bool, error) {
	manifest, index := isPresent(s.Config) || isPresent(s.Layers), isPresent(s.Manifests)
	switch {
	case s.SchemaVersion == 1 || isPresent(s.FSLayers):
		return false, Schema1()
	case manifest && index:
		return false, malformed("document is both a manifest and an index")
	case !manifest && !index:
		return false, malformed("document is neither a manifest nor an index; is this a registry?")
	}
	return index, nil
}

func isKnown(mediaType string) bool {
	return slices.Contains(Types(), mediaType)
}

func isSchema1Type(mediaType string) bool {
	return mediaType == images.MediaTypeDockerSchema1Manifest ||
		mediaType == "application/vnd.docker.distribution.manifest.v1+json"
}

// IsSchema1 judges by type or content.
func IsSchema1(body []byte, contentType string) bool {
	if mediaType, _, err := mime.ParseMediaType(contentType); err == nil && isSchema1Type(mediaType) {
		return true
	}
	var doc shape
	return json.Unmarshal(body, &doc) == nil && (doc.SchemaVersion == 1 || isPresent(doc.FSLayers))
}

// ErrSchema1 is in the error of a manifest of Docker's schema 1.
var ErrSchema1 = errors.New("manifest of Docker's schema 1")

// Schema1 is the error of a manifest of Docker's schema 1.
func Schema1() error {
	return malformed("%w, which containerd cannot hold; push the image again with a current tool", ErrSchema1)
}

// ErrSize is in the error of bytes whose number is wrong.
var ErrSize = errors.New("size")

func malformed(format string, args ...any) error {
	return failure.New(errdefs.ErrInvalidArgument, format, args...)
}
