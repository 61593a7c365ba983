package image_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/containerd/containerd/v2/core/images"
	"github.com/containerd/errdefs"
	"github.com/google/go-cmp/cmp"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/containerd-pull/containerd-pull/pkg/image"
)

// documents are indexes by their digests.
type documents map[digest.Digest][]byte

func (d documents) read(_ context.Context, n *image.Node) ([]byte, error) {
	body, ok := d[n.Desc.Digest]
	if !ok {
		return nil, errdefs.ErrNotFound
	}
	return body, nil
}

// add adds an index of children and returns its descriptor.
func (d documents) add(t testing.TB, children ...ocispec.Descriptor) ocispec.Descriptor {
	t.Helper()
	body, err := json.Marshal(ocispec.Index{MediaType: ocispec.MediaTypeImageIndex, Manifests: children})
	if err != nil {
		t.Fatal(err)
	}
	return d.addRaw(body)
}

func (d documents) addRaw(body []byte) ocispec.Descriptor {
	desc := ocispec.Descriptor{MediaType: ocispec.MediaTypeImageIndex, Digest: digest.FromBytes(body), Size: int64(len(body))}
	d[desc.Digest] = body
	return desc
}

func manifest(text string) ocispec.Descriptor {
	return descriptor(ocispec.MediaTypeImageManifest, text)
}

func digests(nodes []*image.Node) (all []digest.Digest) {
	for _, n := range nodes {
		all = append(all, n.Desc.Digest)
	}
	return all
}

// TestWalk wants the manifests of an image in order and each once, and its
// indexes parents first.
func TestWalk(t *testing.T) {
	docs := documents{}
	inner := docs.add(t, manifest("b"), manifest("c"))
	target := docs.add(t, manifest("a"), inner, manifest("b"), descriptor("text/plain", "readme"), descriptor(images.MediaTypeDockerSchema2Manifest, "d"), inner)
	var indexes []digest.Digest
	nodes, err := image.Walk(t.Context(), target, image.Visitor{
		Read:  docs.read,
		Index: func(n *image.Node) { indexes = append(indexes, n.Desc.Digest) },
	})
	if err != nil {
		t.Fatal(err)
	}
	want := []digest.Digest{digest.FromString("a"), digest.FromString("b"), digest.FromString("c"), digest.FromString("d")}
	if diff := cmp.Diff(want, digests(nodes)); diff != "" {
		t.Errorf("manifests differ (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]digest.Digest{target.Digest, inner.Digest}, indexes); diff != "" {
		t.Errorf("indexes differ (-want +got):\n%s", diff)
	}
	if got := nodes[1].Parent.Desc.Digest; got != inner.Digest {
		t.Errorf("got parent %s of the second manifest, want %s", got, inner.Digest)
	}
}

// TestWalkOfManifest reads nothing.
func TestWalkOfManifest(t *testing.T) {
	nodes, err := image.Walk(t.Context(), manifest("alone"), image.Visitor{})
	if err != nil || len(nodes) != 1 || nodes[0].Parent != nil || nodes[0].Desc.Digest != manifest("alone").Digest {
		t.Errorf("got %+v and %v, want the target alone", nodes, err)
	}
}

// TestWalkSkips goes on without an index that the caller does not have, and
// ends with any other error of the caller.
func TestWalkSkips(t *testing.T) {
	docs := documents{}
	absent := descriptor(ocispec.MediaTypeImageIndex, "absent")
	target := docs.add(t, manifest("a"), absent, manifest("b"))
	if _, err := image.Walk(t.Context(), target, image.Visitor{Read: docs.read}); !errdefs.IsNotFound(err) {
		t.Errorf("got %v, want the error of Read", err)
	}
	nodes, err := image.Walk(t.Context(), target, image.Visitor{Read: func(ctx context.Context, n *image.Node) ([]byte, error) {
		if n.Desc.Digest == absent.Digest {
			return nil, image.ErrSkip
		}
		return docs.read(ctx, n)
	}})
	if err != nil || len(nodes) != 2 {
		t.Errorf("got %d manifests and %v, want the two of the target", len(nodes), err)
	}
}

// TestWalkFaults is told what makes no sense, and goes on with the rest or gives
// up.
func TestWalkFaults(t *testing.T) {
	docs := documents{}
	deep := docs.add(t, manifest("bottom"))
	for range image.MaxDepth {
		deep = docs.add(t, deep)
	}
	var wide []ocispec.Descriptor
	for i := range image.MaxDescriptors + 1 {
		wide = append(wide, manifest(fmt.Sprint(i)))
	}
	bad := manifest("x")
	bad.Digest = "sha256:../../x"
	for name, tt := range map[string]struct {
		index ocispec.Descriptor
		text  string
	}{
		"deep":   {deep, "deeper than 8"},
		"wide":   {docs.add(t, wide...), "more than 10000 descriptors"},
		"json":   {docs.addRaw([]byte("{")), "decoding " + ocispec.MediaTypeImageIndex},
		"digest": {docs.add(t, bad), `it lists "sha256:../../x"`},
	} {
		target := docs.add(t, manifest("a"), tt.index, manifest("b"))
		if _, err := image.Walk(t.Context(), target, image.Visitor{Read: docs.read}); !errdefs.IsInvalidArgument(err) {
			t.Errorf("%s: got %v, want an invalid argument", name, err)
		}
		var faults []image.Fault
		nodes, err := image.Walk(t.Context(), target, image.Visitor{Read: docs.read, Fault: func(f image.Fault) error {
			faults = append(faults, f)
			return nil
		}})
		if len(faults) == 0 || !strings.Contains(faults[0].Text, tt.text) {
			t.Errorf("%s: got faults %+v, want %q", name, faults, tt.text)
		}
		if name == "wide" { // what follows is too much as well
			continue
		}
		if err != nil || len(nodes) != 2 {
			t.Errorf("%s: got %d manifests and %v, want the two of the target", name, len(nodes), err)
		}
		given := errors.New("given up")
		if _, err := image.Walk(t.Context(), target, image.Visitor{Read: docs.read, Fault: func(image.Fault) error { return given }}); !errors.Is(err, given) {
			t.Errorf("%s: got %v, want the error of Fault", name, err)
		}
	}
}

// TestWalkDepth follows as many indexes in each other as are allowed.
func TestWalkDepth(t *testing.T) {
	docs := documents{}
	target := docs.add(t, manifest("bottom"))
	for range image.MaxDepth - 1 {
		target = docs.add(t, target)
	}
	if nodes, err := image.Walk(t.Context(), target, image.Visitor{Read: docs.read}); err != nil || len(nodes) != 1 {
		t.Errorf("got %d manifests and %v of %d indexes in each other, want one", len(nodes), err, image.MaxDepth)
	}
}

// FuzzWalk walks foreign documents: whatever they hold, the walk ends, stays
// within its bounds and yields only what may be a blob.
func FuzzWalk(f *testing.F) {
	seed := documents{}
	inner := seed.add(f, manifest("b"))
	for _, desc := range []ocispec.Descriptor{inner, seed.add(f, inner, manifest("a")), seed.add(f)} {
		f.Add(seed[desc.Digest], seed[inner.Digest])
	}
	f.Add([]byte(`{"manifests":[{"digest":"INNER","mediaType":"`+ocispec.MediaTypeImageIndex+`"}]}`), []byte(`{"manifests":[{"digest":"sha256:x"}]}`))
	f.Add([]byte(`{"manifests":null}`), []byte(`[]`))
	f.Fuzz(func(t *testing.T, outer, below []byte) {
		docs := documents{}
		child := docs.addRaw(below)
		target := docs.addRaw([]byte(strings.ReplaceAll(string(outer), "INNER", child.Digest.String())))
		visited := 0
		nodes, err := image.Walk(t.Context(), target, image.Visitor{
			Read:  func(ctx context.Context, n *image.Node) ([]byte, error) { visited++; return docs.read(ctx, n) },
			Fault: func(image.Fault) error { return nil },
		})
		if err != nil && !errdefs.IsNotFound(err) {
			t.Errorf("got %v, want an error of Read at most", err)
		}
		if len(nodes) > image.MaxDescriptors || visited > image.MaxDescriptors {
			t.Errorf("got %d manifests of %d indexes, want them bounded", len(nodes), visited)
		}
		for _, n := range nodes {
			if err := n.Desc.Digest.Validate(); err != nil || !images.IsManifestType(n.Desc.MediaType) {
				t.Errorf("got node %+v, want a manifest", n.Desc)
			}
			image.FreeKey(image.Labels(n.Parent.Children, images.ChildGCLabels), n.Parent.Children, n.Desc.Digest)
		}
	})
}
