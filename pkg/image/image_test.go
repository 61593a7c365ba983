package image_test

import (
	"testing"

	"github.com/containerd/errdefs"
	"github.com/google/go-cmp/cmp"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/containerd-pull/containerd-pull/pkg/image"
)

func TestF7FileSystem(t *testing.T) {
	config, layer, other := descriptor(ocispec.MediaTypeImageConfig, "c"), descriptor(ocispec.MediaTypeImageLayerGzip, "l"), descriptor(ocispec.MediaTypeImageLayer, "o")
	data := descriptor("application/vnd.example", "d")
	type blobs = []ocispec.Descriptor
	for _, tt := range []struct {
		m              ocispec.Manifest
		layers, beside blobs
		why            string
	}{
		{ocispec.Manifest{Config: config, Layers: blobs{layer}}, blobs{layer}, nil, ""},
		{ocispec.Manifest{Config: config}, nil, nil, ""},
		{ocispec.Manifest{Config: descriptor("application/octet-stream", "old"), Layers: blobs{layer}}, blobs{layer}, nil, ""},
		{ocispec.Manifest{Config: data, Layers: blobs{layer}}, nil, blobs{layer}, "its config is application/vnd.example"},
		{ocispec.Manifest{Config: config, Layers: blobs{data, layer, data, other}}, blobs{layer, other}, blobs{data, data}, ""},
		{ocispec.Manifest{Config: config, Layers: blobs{data}}, nil, blobs{data}, "none of its blobs is a layer, " + data.Digest.String() + " is application/vnd.example"},
	} {
		layers, beside, why := image.FileSystem(tt.m)
		if !cmp.Equal(layers, tt.layers) || !cmp.Equal(beside, tt.beside) || why != tt.why {
			t.Errorf("FileSystem of %+v: got layers %v, beside them %v and %q, want %v, %v and %q", tt.m, layers, beside, why, tt.layers, tt.beside, tt.why)
		}
	}
}

func TestChildrenOf(t *testing.T) {
	config, layer := descriptor(ocispec.MediaTypeImageConfig, "c"), descriptor(ocispec.MediaTypeImageLayerGzip, "l")
	m := manifest("m")
	body := `{"config":{"mediaType":"` + config.MediaType + `","digest":"` + config.Digest.String() + `","size":1},"layers":[{"mediaType":"` +
		layer.MediaType + `","digest":"` + layer.Digest.String() + `","size":1}]}`
	got, err := image.ChildrenOf(m, []byte(body))
	if diff := cmp.Diff([]ocispec.Descriptor{config, layer}, got); err != nil || diff != "" {
		t.Errorf("got %v, children of a manifest differ (-want +got):\n%s", err, diff)
	}
	docs := documents{}
	index := docs.add(t, m)
	got, err = image.ChildrenOf(index, docs[index.Digest])
	if diff := cmp.Diff([]ocispec.Descriptor{m}, got); err != nil || diff != "" {
		t.Errorf("got %v, children of an index differ (-want +got):\n%s", err, diff)
	}
	for _, desc := range []ocispec.Descriptor{m, index} {
		if _, err := image.ChildrenOf(desc, []byte("[")); !errdefs.IsInvalidArgument(err) {
			t.Errorf("got %v of a broken %s, want an invalid argument", err, desc.MediaType)
		}
	}
}

func TestIsAttestation(t *testing.T) {
	m := manifest("m")
	if image.IsAttestation(m) {
		t.Error("a manifest without a platform is taken for an attestation")
	}
	m.Platform = &ocispec.Platform{OS: "unknown", Architecture: "unknown"}
	if !image.IsAttestation(m) {
		t.Error("a manifest of an unknown platform is not taken for an attestation")
	}
}
