package registry

import (
	"bytes"
	"encoding/json"
	"mime"
	"slices"

	"github.com/containerd/containerd/v2/core/images"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// shape is what tells a manifest from an index. Two clients that read one
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

func present(raw json.RawMessage) bool {
	return len(raw) > 0 && !bytes.Equal(raw, []byte("null"))
}

// documentType returns the media type of a document, in which its content, its
// mediaType field and the Content-Type it came with must agree.
func documentType(body []byte, contentType string) (string, error) {
	outer, err := outerType(contentType)
	if err != nil {
		return "", err
	}
	var doc shape
	if err := json.Unmarshal(body, &doc); err != nil {
		return "", malformedf("answer of type %q is no manifest: %w; is this a registry?", contentType, err)
	}
	isIndex, err := doc.isIndex()
	if err != nil {
		return "", err
	}
	named := doc.MediaType
	if named != "" && !isManifestType(named) {
		return "", malformedf("manifest of unsupported type %q", named)
	}
	if named != "" && outer != "" && named != outer {
		return "", malformedf("document says it is a %s and was served as %s", named, outer)
	}
	if named == "" {
		named = outer
	}
	if named == "" {
		named = defaultType(isIndex)
	}
	if images.IsIndexType(named) != isIndex {
		return "", malformedf("document of type %s has the content of the other kind", named)
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
		return "", malformedf("answer of type %q is no manifest; is this a registry?", contentType)
	case mediaType == "application/octet-stream":
		return "", nil
	case isManifestType(mediaType):
		return mediaType, nil
	case isSchema1(mediaType):
		return "", schema1()
	}
	return "", malformedf("answer of type %q is no manifest; is this a registry?", contentType)
}

// isIndex decides by the content alone.
func (s shape) isIndex() (bool, error) {
	manifest, index := present(s.Config) || present(s.Layers), present(s.Manifests)
	switch {
	case s.SchemaVersion == 1 || present(s.FSLayers):
		return false, schema1()
	case manifest && index:
		return false, malformedf("document is both a manifest and an index")
	case !manifest && !index:
		return false, malformedf("document is neither a manifest nor an index; is this a registry?")
	}
	return index, nil
}

func isManifestType(mediaType string) bool {
	return slices.Contains(manifestTypes(), mediaType)
}

func isSchema1(mediaType string) bool {
	return mediaType == images.MediaTypeDockerSchema1Manifest ||
		mediaType == "application/vnd.docker.distribution.manifest.v1+json"
}

func schema1() error {
	return malformedf("manifest of Docker's schema 1, which containerd cannot hold; push the image again with a current tool")
}
