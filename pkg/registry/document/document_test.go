package document_test

import (
	"errors"
	"net/http"
	"testing"

	"github.com/containerd/errdefs"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/containerd-pull/containerd-pull/pkg/registry/document"
)

func TestTypeOf(t *testing.T) {
	const (
		manifestType = ocispec.MediaTypeImageManifest
		indexType    = ocispec.MediaTypeImageIndex
		dockerType   = "application/vnd.docker.distribution.manifest.v2+json"
		listType     = "application/vnd.docker.distribution.manifest.list.v2+json"
	)
	plainManifest := `{"schemaVersion":2,"config":{},"layers":[]}`
	plainIndex := `{"schemaVersion":2,"manifests":[]}`
	tests := []struct{ name, body, contentType, want string }{
		{"by the document", plainManifest, "application/octet-stream", manifestType},
		{"no type", plainIndex, "", indexType},
		{"by the header", plainManifest, dockerType, dockerType},
		{"parameters", plainIndex, listType + "; charset=utf-8", listType},
		{"both agree", `{"mediaType":"` + indexType + `","manifests":[]}`, indexType, indexType},
		{"null is absent", `{"manifests":[],"layers":null}`, indexType, indexType},
		{"both kinds", `{"layers":[],"manifests":[]}`, indexType, ""},
		{"config and manifests", `{"config":{},"manifests":[]}`, manifestType, ""},
		{"neither", `{"schemaVersion":2}`, manifestType, ""},
		{"header says index", plainManifest, indexType, ""},
		{"header says manifest", plainIndex, manifestType, ""},
		{"inside says the other", `{"mediaType":"` + indexType + `","layers":[]}`, "", ""},
		{"they differ", `{"mediaType":"` + manifestType + `","layers":[]}`, dockerType, ""},
		{"unknown inside", `{"mediaType":"application/vnd.x","layers":[]}`, "", ""},
		{"html", `<html>`, "text/html; charset=utf-8", ""},
		{"json", plainManifest, "application/json", ""},
		{"broken type", plainManifest, "application/", ""},
		{"not JSON", `x`, manifestType, ""},
		{"an array", `[]`, manifestType, ""},
		{"schema 1 by type", `{"fsLayers":[]}`, "application/vnd.docker.distribution.manifest.v1+prettyjws", ""},
		{"schema 1 by content", `{"schemaVersion":1,"layers":[]}`, "", ""},
		{"schema 1 by its layers", `{"schemaVersion":2,"fsLayers":[]}`, "", ""},
	}
	for _, tt := range tests {
		got, err := document.TypeOf([]byte(tt.body), tt.contentType)
		if got != tt.want || (tt.want == "") != errdefs.IsInvalidArgument(err) {
			t.Errorf("%s: got %q, %v, want %q", tt.name, got, err, tt.want)
		}
	}
}

func FuzzTypeOf(f *testing.F) {
	f.Add([]byte(`{"schemaVersion":2,"config":{},"layers":[]}`), "application/octet-stream")
	f.Add([]byte(`{"manifests":[],"layers":[]}`), "")
	f.Add([]byte(`{"fsLayers":[]}`), "text/plain")
	f.Fuzz(func(t *testing.T, body []byte, contentType string) {
		got, err := document.TypeOf(body, contentType)
		if (got == "") != errdefs.IsInvalidArgument(err) {
			t.Errorf("got %q, %v, want a type or an invalid argument", got, err)
		}
	})
}

// TestDescribe holds bytes to what was promised, and to what their headers say.
func TestDescribe(t *testing.T) {
	body := []byte(`{"schemaVersion":2,"config":{},"layers":[]}`)
	right := digest.FromBytes(body)
	other := digest.FromString("other")
	for name, c := range map[string]struct {
		header string // Docker-Content-Digest
		want   ocispec.Descriptor
		class  func(error) bool
	}{
		"nothing promised":    {"", ocispec.Descriptor{}, isNil},
		"digest":              {right.String(), ocispec.Descriptor{Digest: right, Size: int64(len(body)), MediaType: ocispec.MediaTypeImageManifest}, isNil},
		"another digest":      {"", ocispec.Descriptor{Digest: other}, errdefs.IsDataLoss},
		"another in header":   {other.String(), ocispec.Descriptor{Digest: right}, errdefs.IsDataLoss},
		"no digest in header": {"sha256:x", ocispec.Descriptor{}, errdefs.IsInvalidArgument},
		"another size":        {"", ocispec.Descriptor{Size: 1}, func(err error) bool { return errdefs.IsDataLoss(err) && errors.Is(err, document.ErrSize) }},
		"another type":        {"", ocispec.Descriptor{MediaType: ocispec.MediaTypeImageIndex}, errdefs.IsInvalidArgument},
		"type of no manifest": {"", ocispec.Descriptor{MediaType: "application/x"}, isNil},
	} {
		got, err := document.Describe(body, http.Header{"Docker-Content-Digest": {c.header}}, c.want)
		if !c.class(err) || err == nil && (got.Digest != right || got.Size != int64(len(body)) || got.MediaType != ocispec.MediaTypeImageManifest) {
			t.Errorf("%s: got %+v, %v", name, got, err)
		}
	}
}

func isNil(err error) bool { return err == nil }

func TestIsSchema1(t *testing.T) {
	for _, c := range []struct {
		body, contentType string
		want              bool
	}{
		{"", "application/vnd.docker.distribution.manifest.v1+json", true},
		{"", "application/vnd.docker.distribution.manifest.v1+prettyjws; charset=utf-8", true},
		{`{"schemaVersion":1}`, "application/json", true},
		{`{"fsLayers":[{}]}`, "", true},
		{`{"schemaVersion":2,"layers":[]}`, "application/json", false},
		{"<html>", "text/html", false},
	} {
		if got := document.IsSchema1([]byte(c.body), c.contentType); got != c.want {
			t.Errorf("%s as %s: got %v, want %v", c.body, c.contentType, got, c.want)
		}
	}
}
