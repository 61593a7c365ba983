package image_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"math/rand/v2"
	"os"
	"reflect"
	"slices"
	"strconv"
	"testing"

	"github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/containerd/v2/core/images"
	"github.com/containerd/errdefs"
	"github.com/containerd/platforms"
	"github.com/google/go-cmp/cmp"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/containerd-pull/containerd-pull/pkg/image"
	"github.com/containerd-pull/containerd-pull/pkg/source"
)

// shelf is a content store of documents, by their digests.
type shelf map[digest.Digest][]byte

var errGone = errors.New("the document is gone")

// ReaderAt implements content.Provider.
func (s shelf) ReaderAt(ctx context.Context, desc ocispec.Descriptor) (content.ReaderAt, error) {
	body, err := s.read(ctx, desc)
	return openDocument{bytes.NewReader(body)}, err
}

// read is an image.Read.
func (s shelf) read(_ context.Context, desc ocispec.Descriptor) ([]byte, error) {
	body, ok := s[desc.Digest]
	if !ok {
		return nil, errGone
	}
	return body, nil
}

type openDocument struct{ *bytes.Reader }

func (openDocument) Close() error { return nil }

// random makes images that make sense, or nearly so, or not at all.
type random struct {
	*rand.Rand
	shelf shelf
	made  []ocispec.Descriptor // that may be listed again
}

func newRandom(seed uint64) *random {
	return &random{rand.New(rand.NewPCG(seed, 0)), shelf{}, nil}
}

func oneOf[T any](r *random, all ...T) T { return all[r.IntN(len(all))] }

// seldom is true once in n times.
func (r *random) seldom(n int) bool { return r.IntN(n) == 0 }

func (r *random) add(t testing.TB, mediaType string, document any) ocispec.Descriptor {
	t.Helper()
	body, err := json.Marshal(document)
	if err != nil {
		t.Fatal(err)
	}
	if r.seldom(100) {
		body = []byte(oneOf(r, "{", "[]", `""`, "", "null", `{"manifests":{}}`, `{"schemaVersion":1,"fsLayers":[{}]}`))
	}
	desc := ocispec.Descriptor{MediaType: mediaType, Digest: digest.FromBytes(body), Size: int64(len(body))}
	r.shelf[desc.Digest] = body
	switch {
	case r.seldom(100):
		delete(r.shelf, desc.Digest)
	case r.seldom(10):
		desc.Data = body
	}
	return desc
}

func (r *random) platform() ocispec.Platform {
	p := ocispec.Platform{
		OS:           oneOf(r, "linux", "linux", "linux", "linux", "linux", "linux", "linux", "", "windows", "Linux", "unknown"),
		Architecture: oneOf(r, "amd64", "amd64", "amd64", "amd64", "arm64", "arm64", "arm", "arm", "386", "", "x86_64", "aarch64", "unknown", "riscv64"),
	}
	if r.seldom(3) {
		p.Variant = oneOf(r, "v5", "v6", "v7", "v8", "v9", "v2", "v3", "8", "odd")
	}
	if r.seldom(10) {
		p.OSFeatures = oneOf(r, []string{"erofs"}, []string{"b", "a"}, []string{"win32k"})
	}
	if r.seldom(20) {
		p.OSVersion = "10.0.17763.1"
	}
	return p
}

func (r *random) manifest(t testing.TB) ocispec.Descriptor {
	config := r.add(t, oneOf(r, ocispec.MediaTypeImageConfig, ocispec.MediaTypeImageConfig, images.MediaTypeDockerSchema2Config,
		ocispec.MediaTypeEmptyJSON, "application/octet-stream", ""), struct {
		ocispec.Platform
		N int
	}{r.platform(), r.Int()})
	m := ocispec.Manifest{Config: config, Layers: []ocispec.Descriptor{descriptor(ocispec.MediaTypeImageLayerGzip, "l")}}
	m.MediaType = oneOf(r, "", ocispec.MediaTypeImageManifest, images.MediaTypeDockerSchema2Manifest)
	switch {
	case r.seldom(30):
		m.Config = ocispec.Descriptor{}
	case r.seldom(30):
		m.MediaType = ocispec.MediaTypeImageIndex
	}
	mediaType := oneOf(r, ocispec.MediaTypeImageManifest, images.MediaTypeDockerSchema2Manifest)
	if r.seldom(20) {
		mediaType = oneOf(r, "", "application/vnd.docker.distribution.manifest.v1+prettyjws", "application/vnd.oci.artifact.manifest.v1+json", "text/plain", ocispec.MediaTypeImageIndex)
	}
	return r.add(t, mediaType, m)
}

// index has indexes in it that are depth indexes deep at most.
func (r *random) index(t testing.TB, depth int) ocispec.Descriptor {
	index := ocispec.Index{MediaType: oneOf(r, "", ocispec.MediaTypeImageIndex, images.MediaTypeDockerSchema2ManifestList)}
	for range 1 + r.IntN(6) - r.IntN(2) {
		index.Manifests = append(index.Manifests, r.entry(t, depth))
	}
	return r.add(t, oneOf(r, ocispec.MediaTypeImageIndex, images.MediaTypeDockerSchema2ManifestList), index)
}

func (r *random) entry(t testing.TB, depth int) ocispec.Descriptor {
	var desc ocispec.Descriptor
	switch {
	case len(r.made) > 0 && r.seldom(6):
		desc = oneOf(r, r.made...)
	case depth > 0 && r.seldom(3):
		desc = r.index(t, depth-1)
	default:
		desc = r.manifest(t)
	}
	switch r.IntN(5) {
	case 0:
		desc.Platform = &ocispec.Platform{OS: "unknown", Architecture: "unknown"}
	case 1, 2, 3:
		p := r.platform()
		desc.Platform = &p
	case 4:
		desc.Platform = nil
	}
	if r.seldom(200) {
		desc.Digest = "sha256:../../x"
	}
	r.made = append(r.made, desc)
	return desc
}

func (r *random) want() platforms.MatchComparer {
	p := oneOf(r, "linux/amd64", "linux/amd64/v3", "linux/amd64", "linux/arm64", "linux/arm64", "linux/arm64/v9", "linux/arm/v7", "linux/arm/v6", "linux/386", "linux/riscv64", "windows/amd64")
	return oneOf(r, platforms.Default(), platforms.Only(platforms.MustParse(p)), platforms.Only(platforms.MustParse(p)), platforms.OnlyStrict(platforms.MustParse(p)))
}

// compareChoice wants Choose to find what containerd finds in one random image,
// and Platforms to list what containerd lists. It reports whether there was a
// manifest to be found.
func compareChoice(t testing.TB, seed uint64) bool {
	t.Helper()
	r := newRandom(seed)
	target, want := r.index(t, r.IntN(4)), r.want()
	if r.seldom(20) {
		target = r.manifest(t)
	}
	theirs, their := images.Manifest(t.Context(), r.shelf, target, want)
	desc, our := image.Choose(t.Context(), target, want, r.shelf.read)
	switch {
	case their == nil && our == nil:
		var found ocispec.Manifest
		if err := json.Unmarshal(r.shelf[desc.Digest], &found); err != nil || !reflect.DeepEqual(found, theirs) {
			t.Errorf("seed %d: got manifest %s (%v), want that of config %s", seed, desc.Digest, err, theirs.Config.Digest)
		}
	case desc.Digest == target.Digest && images.IsManifestType(target.MediaType): // which is not read
	case their != nil && source.ValidDigest(desc.Digest) != nil && errdefs.IsInvalidArgument(our): // which cannot be in a store
	case errdefs.IsNotFound(their) != errors.Is(our, image.ErrNoMatch), errors.Is(their, errGone) != errors.Is(our, errGone), (their == nil) != (our == nil):
		t.Errorf("seed %d: got %s and %v, containerd says %v", seed, desc.Digest, our, their)
	}
	listed, err := images.Platforms(t.Context(), r.shelf, target)
	if got := image.Platforms(t.Context(), target, r.shelf.read); err == nil && !cmp.Equal(got, listed) {
		t.Errorf("seed %d: got platforms %v, containerd lists %v", seed, got, listed)
	}
	return their == nil
}

// seeds is how many random images are tried: IMAGE_SEEDS, or some hundreds.
func seeds(t *testing.T) uint64 {
	t.Helper()
	s := os.Getenv("IMAGE_SEEDS")
	if s == "" {
		return 500
	}
	n, err := strconv.ParseUint(s, 10, 32)
	if err != nil {
		t.Fatalf("IMAGE_SEEDS: %v", err)
	}
	return n
}

// TestF4ChoiceOfRandomImages compares with containerd, on other images each time.
func TestF4ChoiceOfRandomImages(t *testing.T) {
	images, found := seeds(t), uint64(0)
	start := rand.Uint64()
	for seed := range images {
		if compareChoice(t, start+seed) {
			found++
		}
	}
	if found < images/10 || found > images*9/10 {
		t.Errorf("containerd found a manifest in %d of %d images, which are too much alike", found, images)
	}
}

// FuzzChoose is the same for seeds that a fuzzer finds.
func FuzzChoose(f *testing.F) {
	for seed := range uint64(20) {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, seed uint64) { compareChoice(t, seed) })
}

// TestF4Choose: entries in odd order, as a registry has them.
func TestF4Choose(t *testing.T) {
	r := newRandom(1)
	amd, arm := manifest("amd"), manifest("arm")
	amd.Platform, arm.Platform = &ocispec.Platform{OS: "linux", Architecture: "amd64"}, &ocispec.Platform{OS: "linux", Architecture: "arm64"}
	for _, desc := range []ocispec.Descriptor{amd, arm} {
		r.shelf[desc.Digest] = []byte(`{"config":{}}`)
	}
	list := func(children ...ocispec.Descriptor) ocispec.Descriptor {
		body, err := json.Marshal(ocispec.Index{Manifests: children})
		if err != nil {
			t.Fatal(err)
		}
		desc := ocispec.Descriptor{MediaType: ocispec.MediaTypeImageIndex, Digest: digest.FromBytes(body), Size: int64(len(body))}
		r.shelf[desc.Digest] = body
		return desc
	}
	only := platforms.Only(platforms.MustParse("linux/amd64"))
	for name, tt := range map[string]struct {
		target ocispec.Descriptor
		want   digest.Digest // "" for none
	}{
		"plain":                       {list(arm, amd), amd.Digest},
		"indexes, this one's first":   {list(list(amd), list(arm)), amd.Digest},
		"indexes, this one's second":  {list(list(arm), list(amd)), ""},
		"an index beside the image":   {list(list(arm), amd), amd.Digest},
		"nothing":                     {list(), ""},
		"a readme without a platform": {list(descriptor("text/plain", "readme"), arm), ""},
	} {
		got, err := image.Choose(t.Context(), tt.target, only, r.shelf.read)
		if tt.want == "" && !errors.Is(err, image.ErrNoMatch) || tt.want != "" && (err != nil || got.Digest != tt.want) {
			t.Errorf("%s: got %s and %v, want %q", name, got.Digest, err, tt.want)
		}
	}
}

// TestM2ChooseIsBounded: a document that would become many times as much is
// refused, also one that lies in its descriptor.
func TestM2ChooseIsBounded(t *testing.T) {
	for _, name := range []string{"manifests", "unclosed"} {
		body := bombs()[name]
		inner := ocispec.Descriptor{MediaType: ocispec.MediaTypeImageIndex, Digest: digest.FromString(body), Size: int64(len(body)), Data: []byte(body)}
		outer, err := json.Marshal(ocispec.Index{Manifests: []ocispec.Descriptor{inner}})
		if err != nil {
			t.Fatal(err)
		}
		target := ocispec.Descriptor{MediaType: ocispec.MediaTypeImageIndex, Digest: digest.FromBytes(outer), Size: int64(len(outer))}
		docs := shelf{target.Digest: outer, inner.Digest: []byte(body)}
		if _, err := image.Choose(t.Context(), target, platforms.Default(), docs.read); !errdefs.IsInvalidArgument(err) {
			t.Errorf("%s: got %.200v, want an invalid argument", name, err)
		}
		if got := image.Platforms(t.Context(), target, docs.read); slices.ContainsFunc(got, func(p ocispec.Platform) bool { return p.OS != "" }) {
			t.Errorf("%s: got platforms %v", name, got)
		}
	}
}
