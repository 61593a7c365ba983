package image_test

import (
	"context"
	"maps"
	"testing"

	"github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/containerd/v2/core/images"
	"github.com/google/go-cmp/cmp"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/containerd-pull/containerd-pull/pkg/image"
)

// descriptor is one of text.
func descriptor(mediaType, text string) ocispec.Descriptor {
	return ocispec.Descriptor{MediaType: mediaType, Digest: digest.FromString(text), Size: int64(len(text))}
}

// referrer is a manifest that containerd keeps for the sake of another one.
func referrer() ocispec.Descriptor {
	desc := descriptor(ocispec.MediaTypeImageManifest, "referrer")
	desc.Annotations = map[string]string{images.AnnotationManifestSubject: digest.FromString("subject").String()}
	return desc
}

// TestLabels wants the labels of containerd, child for child.
func TestLabels(t *testing.T) {
	tests := map[string][]ocispec.Descriptor{
		"manifest": {
			descriptor(ocispec.MediaTypeImageConfig, "c"), descriptor(ocispec.MediaTypeImageLayerGzip, "1"),
			descriptor(images.MediaTypeDockerSchema2LayerGzip, "2"), descriptor(ocispec.MediaTypeImageLayer, "1"), descriptor(ocispec.MediaTypeImageLayerZstd, "3"),
		},
		"index": {
			descriptor(ocispec.MediaTypeImageManifest, "m"), descriptor(images.MediaTypeDockerSchema2Manifest, "d"), descriptor(ocispec.MediaTypeImageIndex, "i"),
			descriptor(images.MediaTypeDockerSchema2ManifestList, "l"), descriptor(ocispec.MediaTypeImageManifest, "m"), referrer(),
		},
		"artifact": {
			descriptor("application/vnd.example.config", "c"), descriptor("application/vnd.example.data", "1"), descriptor("application/vnd.example.data", "2"),
			descriptor(images.MediaTypeDockerSchema2Config, "x"), descriptor(ocispec.MediaTypeImageConfig, "y"),
		},
		"nothing": nil,
	}
	for name, children := range tests {
		for how, reference := range map[string]func(ocispec.Descriptor) []string{"all": images.ChildGCLabels, "without layers": images.ChildGCLabelsFilterLayers} {
			var oracle labelRecorder
			walk := images.HandlerFunc(func(context.Context, ocispec.Descriptor) ([]ocispec.Descriptor, error) { return children, nil })
			if _, err := images.SetChildrenMappedLabels(&oracle, walk, reference)(t.Context(), ocispec.Descriptor{}); err != nil {
				t.Fatal(err)
			}
			want := oracle.labels
			if want == nil {
				want = map[string]string{}
			}
			if diff := cmp.Diff(want, image.Labels(children, reference)); diff != "" {
				t.Errorf("%s, %s: labels differ from containerd's (-want +got):\n%s", name, how, diff)
			}
		}
	}
}

// labelRecorder is a content store of which only labels are set.
type labelRecorder struct {
	content.Manager
	labels map[string]string
}

func (r *labelRecorder) Update(_ context.Context, info content.Info, _ ...string) (content.Info, error) {
	r.labels = info.Labels
	return info, nil
}

// TestLabelsOfInvalidDigests leaves out what nothing can be kept under.
func TestLabelsOfInvalidDigests(t *testing.T) {
	bad := referrer()
	bad.Digest = "sha256:short"
	good := descriptor(ocispec.MediaTypeImageManifest, "m")
	want := map[string]string{"containerd.io/gc.ref.content.m.0": good.Digest.String()}
	if diff := cmp.Diff(want, image.Labels([]ocispec.Descriptor{bad, good}, images.ChildGCLabels)); diff != "" {
		t.Errorf("labels differ (-want +got):\n%s", diff)
	}
}

// TestFreeKey wants the key of each child that Labels gives it, and another one
// where that is taken.
func TestFreeKey(t *testing.T) {
	config, layer := descriptor(ocispec.MediaTypeImageConfig, "c"), descriptor(ocispec.MediaTypeImageLayerGzip, "1")
	children := []ocispec.Descriptor{config, layer, descriptor(ocispec.MediaTypeImageLayerGzip, "2"), referrer()}
	for key, value := range image.Labels(children, images.ChildGCLabels) {
		if got := image.FreeKey(nil, children, digest.Digest(value)); got != key {
			t.Errorf("FreeKey of %s: got %s, want %s", value, got, key)
		}
	}
	taken := image.Labels(children, images.ChildGCLabels)
	maps.Copy(taken, map[string]string{image.LabelConfig: "other", "containerd.io/gc.ref.content.l.0": "other"})
	for child, want := range map[digest.Digest]string{
		config.Digest: image.LabelConfig + "1", layer.Digest: "containerd.io/gc.ref.content.l.2",
		referrer().Digest: "containerd.io/gc.ref.content.referrer.sha256.1", digest.FromString("absent"): "",
	} {
		if got := image.FreeKey(taken, children, child); got != want {
			t.Errorf("FreeKey of %s where its key is taken: got %q, want %q", child, got, want)
		}
	}
}
