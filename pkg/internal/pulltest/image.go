package pulltest

import (
	"encoding/json"
	"fmt"
	"runtime"
	"slices"

	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/identity"
	"github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// Image is what a tag can point to: a manifest with its config and layers, or
// an index with its children. Push stores the whole tree.
type Image struct {
	Desc     ocispec.Descriptor // with platform, as an index lists it
	Raw      []byte             // the document that Desc describes
	Config   Blob               // zero in an index
	Layers   []Layer            // none in an index
	Children []*Image           // of an index
	missing  []digest.Digest    // blobs that Push leaves out
}

// Spec says what NewImage builds. The zero value is an OCI image without
// layers for the machine that runs the test.
type Spec struct {
	Platform ocispec.Platform
	Layers   []Layer
	Docker   bool // Docker's media types instead of OCI's
	Command  []string
	Env      []string
	Labels   map[string]string // of the config
	// EditConfig and EditManifest change the documents before they are
	// encoded, to say what Spec cannot, or to lie.
	EditConfig   func(*ocispec.Image)
	EditManifest func(*ocispec.Manifest)
	// RawConfig, if not nil, is the config's bytes instead of the encoding.
	RawConfig []byte
}

// NewImage builds config and manifest around the layers of s.
func NewImage(s Spec) *Image {
	if s.Platform.OS == "" {
		s.Platform = ocispec.Platform{OS: "linux", Architecture: runtime.GOARCH}
	}
	config := s.config()
	manifest := s.manifest(config)
	img := RawImage(manifest.MediaType, encode(manifest))
	img.Desc.Platform = &s.Platform
	img.Config = config
	img.Layers = s.Layers
	return img
}

// encode writes a document as JSON.
func encode(document any) []byte {
	raw, err := json.Marshal(document)
	possible(err)
	return raw
}

func (s Spec) config() Blob {
	if s.RawConfig != nil {
		return NewBlob(s.RawConfig)
	}
	created := Epoch()
	c := ocispec.Image{
		Created: &created, Platform: s.Platform,
		Config: ocispec.ImageConfig{Cmd: s.Command, Env: s.Env, Labels: s.Labels},
		RootFS: ocispec.RootFS{Type: "layers", DiffIDs: []digest.Digest{}},
	}
	for i, l := range s.Layers {
		c.RootFS.DiffIDs = append(c.RootFS.DiffIDs, l.DiffID)
		c.History = append(c.History, ocispec.History{Created: &created, CreatedBy: fmt.Sprintf("layer %d", i)})
	}
	if s.EditConfig != nil {
		s.EditConfig(&c)
	}
	return NewBlob(encode(c))
}

func (s Spec) manifest(config Blob) ocispec.Manifest {
	m := ocispec.Manifest{
		Versioned: specs.Versioned{SchemaVersion: 2},
		MediaType: ocispec.MediaTypeImageManifest,
		Config:    ocispec.Descriptor{MediaType: ocispec.MediaTypeImageConfig, Digest: config.Digest, Size: config.Size},
		Layers:    []ocispec.Descriptor{},
	}
	if s.Docker {
		m.MediaType, m.Config.MediaType = DockerManifest, DockerConfig
	}
	for _, l := range s.Layers {
		mediaType := l.Compression.ociLayer()
		if s.Docker {
			mediaType = l.Compression.dockerLayer()
		}
		m.Layers = append(m.Layers, ocispec.Descriptor{MediaType: mediaType, Digest: l.Digest, Size: l.Size})
	}
	if s.EditManifest != nil {
		s.EditManifest(&m)
	}
	return m
}

// RawImage is a manifest of any bytes, for documents that no builder would
// write. Config and Layers may be set on the result, so that Push stores them.
func RawImage(mediaType string, raw []byte) *Image {
	return &Image{
		Desc: ocispec.Descriptor{MediaType: mediaType, Digest: digest.FromBytes(raw), Size: int64(len(raw))},
		Raw:  raw,
	}
}

// NewIndex lists children in an OCI index.
func NewIndex(children ...*Image) *Image {
	return newIndex(ocispec.MediaTypeImageIndex, children)
}

// NewDockerIndex lists children in Docker's manifest list.
func NewDockerIndex(children ...*Image) *Image {
	return newIndex(DockerIndex, children)
}

func newIndex(mediaType string, children []*Image) *Image {
	index := ocispec.Index{Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: mediaType}
	for _, c := range children {
		index.Manifests = append(index.Manifests, c.Desc)
	}
	img := RawImage(mediaType, encode(index))
	img.Children = children
	return img
}

// Without returns a copy of the image whose Push leaves out one blob: the
// registry then answers 404 for it.
func (i *Image) without(dgst digest.Digest) *Image {
	c := *i
	c.missing = append(slices.Clone(i.missing), dgst)
	return &c
}

// DiffIDs lists the layers' diff IDs, lowest first.
func (i *Image) DiffIDs() []digest.Digest {
	ids := make([]digest.Digest, 0, len(i.Layers))
	for _, l := range i.Layers {
		ids = append(ids, l.DiffID)
	}
	return ids
}

// ChainIDs lists the names of the snapshots that the layers unpack to, lowest
// first.
func (i *Image) ChainIDs() []digest.Digest {
	return identity.ChainIDs(i.DiffIDs())
}

// Blobs lists what Push stores beside the documents: config and layers of the
// image and of its children, each digest once.
func (i *Image) Blobs() []Blob {
	var blobs []Blob
	for _, c := range i.Children {
		blobs = append(blobs, c.Blobs()...)
	}
	if i.Config.Digest != "" {
		blobs = append(blobs, i.Config)
	}
	for _, l := range i.Layers {
		blobs = append(blobs, l.Blob)
	}
	seen := map[digest.Digest]bool{}
	return slices.DeleteFunc(blobs, func(b Blob) bool {
		gone := seen[b.Digest] || slices.Contains(i.missing, b.Digest)
		seen[b.Digest] = true
		return gone
	})
}
