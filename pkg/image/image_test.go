package image_test

import (
	"testing"

	"github.com/containerd/errdefs"
	"github.com/containerd/platforms"
	"github.com/google/go-cmp/cmp"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/containerd-pull/containerd-pull/pkg/image"
)

func TestChoose(t *testing.T) {
	parse := func(names ...string) (all []ocispec.Platform) {
		for _, name := range names {
			if name == "" {
				all = append(all, ocispec.Platform{})
				continue
			}
			all = append(all, platforms.MustParse(name))
		}
		return all
	}
	for _, tt := range []struct {
		want string
		have []string
		best int
	}{
		{"linux/amd64", nil, -1},
		{"linux/amd64", []string{"linux/arm64", "windows/amd64"}, -1},
		{"linux/amd64", []string{"linux/arm64", "linux/amd64", "linux/amd64"}, 1},
		{"linux/arm64", []string{"linux/arm64/v8"}, 0},
		{"linux/arm/v7", []string{"linux/arm/v5", "linux/arm/v6", "linux/arm/v7"}, 2},
		{"linux/arm/v6", []string{"linux/arm/v7", "linux/arm/v5"}, 1},
		{"linux/amd64", []string{"linux/arm64", ""}, 1},
	} {
		if got := image.Choose(parse(tt.have...), platforms.Only(platforms.MustParse(tt.want))); got != tt.best {
			t.Errorf("Choose of %q for %s: got %d, want %d", tt.have, tt.want, got, tt.best)
		}
	}
}

func TestNoFileSystem(t *testing.T) {
	config, layer := descriptor(ocispec.MediaTypeImageConfig, "c"), descriptor(ocispec.MediaTypeImageLayerGzip, "l")
	data := descriptor("application/vnd.example", "d")
	for _, tt := range []struct {
		m    ocispec.Manifest
		want string
	}{
		{ocispec.Manifest{Config: config, Layers: []ocispec.Descriptor{layer}}, ""},
		{ocispec.Manifest{Config: config}, ""},
		{ocispec.Manifest{Config: descriptor("application/octet-stream", "old"), Layers: []ocispec.Descriptor{layer}}, ""},
		{ocispec.Manifest{Config: data, Layers: []ocispec.Descriptor{layer}}, "its config is application/vnd.example"},
		{ocispec.Manifest{Config: config, Layers: []ocispec.Descriptor{layer, data}}, "layer " + data.Digest.String() + " is application/vnd.example"},
	} {
		if got := image.NoFileSystem(tt.m); got != tt.want {
			t.Errorf("NoFileSystem of %+v: got %q, want %q", tt.m, got, tt.want)
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
