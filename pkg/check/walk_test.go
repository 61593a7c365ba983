package check_test

import (
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"testing"

	"github.com/containerd/platforms"
	"github.com/google/go-cmp/cmp"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/containerd-pull/containerd-pull/pkg/check"
	"github.com/containerd-pull/containerd-pull/pkg/image"
	"github.com/containerd-pull/containerd-pull/pkg/internal/pulltest"
)

// indexOf is an index of descriptors, whatever they say.
func indexOf(t *testing.T, children ...ocispec.Descriptor) *pulltest.Image {
	t.Helper()
	index := ocispec.Index{MediaType: ocispec.MediaTypeImageIndex, Manifests: children}
	data, err := json.Marshal(index)
	if err != nil {
		t.Fatal(err)
	}
	return pulltest.RawImage(index.MediaType, data)
}

// TestWalkOfDocuments checks trees of documents that are whole, damaged or make
// no sense.
func TestWalkOfDocuments(t *testing.T) {
	img := small(t, "walk")
	lie := img.Desc
	lie.Size++
	foreign := img.Desc
	foreign.Digest = "sha256:../../etc/passwd"
	absent := indexOf(t, img.Desc)
	for name, tt := range map[string]struct {
		target *pulltest.Image
		kind   check.Kind
		texts  []string
	}{
		"manifest":       {target: img},
		"index":          {target: indexOf(t, img.Desc)},
		"no JSON":        {pulltest.RawImage(ocispec.MediaTypeImageIndex, []byte("{")), check.Malformed, []string{"decoding"}},
		"no manifest":    {pulltest.RawImage(ocispec.MediaTypeImageManifest, []byte("[]")), check.Malformed, []string{"cannot be understood"}},
		"size":           {indexOf(t, lie), check.Malformed, []string{fmt.Sprintf("it has %d bytes, the document that lists it says %d", img.Desc.Size, lie.Size)}},
		"digest":         {indexOf(t, img.Desc, foreign), check.Malformed, []string{`it lists "sha256:../../etc/passwd"`}},
		"index is gone":  {indexOf(t, absent.Desc), check.Missing, []string{"not in the content store"}},
		"another's is":   {target: indexOf(t, img.Desc, absent.Desc)},
		"too many":       {indexOf(t, slices.Repeat([]ocispec.Descriptor{img.Desc}, image.MaxDescriptors+1)...), check.Malformed, []string{"lists more than 10000"}},
		"unknown entry":  {target: indexOf(t, img.Desc, ocispec.Descriptor{MediaType: "text/plain", Digest: digest.FromString("readme"), Size: 6})},
		"entry is twice": {target: indexOf(t, img.Desc, img.Desc)},
	} {
		t.Run(name, func(t *testing.T) {
			s := newShelf(t)
			s.put(img)
			if tt.target != img {
				s.document(tt.target.Desc, tt.target.Raw)
			}
			wantFindings(t, s.check(s.register(tt.target.Desc)), tt.kind, tt.texts...)
		})
	}
}

// TestWalkTooDeep ends where indexes lie deeper in each other than is allowed.
func TestWalkTooDeep(t *testing.T) {
	s := newShelf(t)
	target := small(t, "deep")
	s.put(target)
	for range image.MaxDepth + 1 {
		target = indexOf(t, target.Desc)
		s.document(target.Desc, target.Raw)
	}
	wantFindings(t, s.check(s.register(target.Desc)), check.Malformed, "deeper than 8")
}

// TestBlobs finds what is wrong with the file of a blob, and what is missing of
// its record.
func TestBlobs(t *testing.T) {
	img := small(t, "blobs")
	for name, tt := range map[string]struct {
		do   func(s *shelf, dgst digest.Digest)
		kind check.Kind
		text string
	}{
		"bit":       {func(s *shelf, dgst digest.Digest) { spoil(s.t, s.file(dgst), flip) }, check.Corrupt, "got digest"},
		"shorter":   {func(s *shelf, dgst digest.Digest) { must(s.t, os.Truncate(s.file(dgst), 3)) }, check.Corrupt, "got 3 bytes"},
		"no file":   {func(s *shelf, dgst digest.Digest) { must(s.t, os.Remove(s.file(dgst))) }, check.Missing, "its file is gone"},
		"no record": {func(s *shelf, dgst digest.Digest) { must(s.t, s.Content.Delete(s.ctx(), dgst)) }, check.Missing, "not in the content store"},
	} {
		for what, dgst := range map[string]digest.Digest{"manifest": img.Desc.Digest, "config": img.Config.Digest, "layer": img.Layers[1].Digest} {
			t.Run(name+" of the "+what, func(t *testing.T) {
				s := newShelf(t)
				s.put(img)
				record := s.register(img.Desc)
				tt.do(s, dgst)
				report := s.check(record)
				wantFindings(t, report, tt.kind, what+": "+tt.text)
				if len(report.Findings) > 0 && report.Findings[0].Digest != dgst {
					t.Errorf("got a finding on %s, want it on %s", report.Findings[0].Digest, dgst)
				}
			})
		}
	}
}

// TestPlatformsOfAnImage: what is checked are the platforms asked for, or else
// those of which the store has layers, or else the host's.
func TestPlatformsOfAnImage(t *testing.T) {
	var children []*pulltest.Image
	names := []string{"linux/arm64", "linux/riscv64", "linux/amd64"}
	for _, name := range names {
		spec := pulltest.Spec{Platform: platforms.MustParse(name)}
		children = append(children, pulltest.SmallVariant(spec, pulltest.Gzip, name))
	}
	index := pulltest.NewIndex(children...)
	host := platforms.FormatAll(platforms.DefaultSpec())
	ask := func(names ...string) func(*check.Checker) {
		return func(c *check.Checker) {
			for _, name := range names {
				c.Platforms = append(c.Platforms, platforms.MustParse(name))
			}
		}
	}
	for name, tt := range map[string]struct {
		layers []int // of which platforms the store has layers
		edit   func(*check.Checker)
		want   []string
		finds  int
	}{
		"host":          {nil, func(*check.Checker) {}, []string{host}, 3},
		"what is there": {[]int{1}, func(*check.Checker) {}, []string{"linux/riscv64"}, 0},
		"both":          {[]int{0, 1}, func(*check.Checker) {}, []string{"linux/arm64", "linux/riscv64"}, 0},
		"asked for":     {[]int{1}, ask("linux/arm64"), []string{"linux/arm64"}, 3},
		"all":           {[]int{0, 1, 2}, func(c *check.Checker) { c.AllPlatforms = true }, names, 0},
		"not made":      {[]int{0, 1, 2}, ask("windows/amd64"), nil, 1},
	} {
		t.Run(name, func(t *testing.T) {
			s := newShelf(t)
			for i, child := range children {
				s.document(child.Desc, child.Raw)
				s.blob(child.Config)
				if slices.Contains(tt.layers, i) {
					s.put(child)
				}
			}
			s.document(index.Desc, index.Raw)
			report := s.check(s.register(index.Desc), tt.edit)
			if diff := cmp.Diff(tt.want, report.Platforms); diff != "" {
				t.Errorf("platforms differ (-want +got):\n%s", diff)
			}
			if len(report.Findings) != tt.finds {
				t.Errorf("got findings %v, want %d", kinds(report), tt.finds)
			}
		})
	}
}
