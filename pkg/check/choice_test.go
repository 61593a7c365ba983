package check_test

import (
	"testing"

	"github.com/containerd/platforms"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/containerd-pull/containerd-pull/pkg/check"
	"github.com/containerd-pull/containerd-pull/pkg/internal/pulltest"
)

// TestF7BlobsBesideLayersAreChecked: an image is whole with what lies beside its
// layers, and not without it.
func TestF7BlobsBesideLayersAreChecked(t *testing.T) {
	module := pulltest.NewBlob([]byte("\x00asm\x01"))
	img := pulltest.SmallVariant(pulltest.Spec{EditManifest: func(m *ocispec.Manifest) {
		m.Layers = append([]ocispec.Descriptor{{MediaType: "application/wasm", Digest: module.Digest, Size: module.Size}}, m.Layers...)
	}}, pulltest.Gzip, "beside")
	s := newShelf(t)
	s.blob(module)
	s.put(img)
	record := s.register(img.Desc)
	wantFindings(t, s.check(record), check.Missing)
	must(t, s.Content.Delete(s.ctx(), module.Digest))
	wantFindings(t, s.check(record), check.Missing, "not in the content store")
	from := serve(t, img)
	from.blobs[module.Digest], _ = module.Bytes() // it is in memory
	if report := s.repair(record, from); !report.Whole() || len(report.Repaired) != 1 {
		t.Errorf("got findings %+v and %+v mended, want the blob mended", report.Findings, report.Repaired)
	}
}

// TestF4PlatformIsLookedForAsByContainerd: verify looks for a platform where
// containerd would find it, and finds it missing elsewhere.
func TestF4PlatformIsLookedForAsByContainerd(t *testing.T) {
	variant := func(name string) *pulltest.Image {
		return pulltest.SmallVariant(pulltest.Spec{Platform: platforms.MustParse(name)}, pulltest.Gzip, name)
	}
	bare := func(img *pulltest.Image) *pulltest.Image {
		entry := *img
		entry.Desc.Platform = nil
		return &entry
	}
	arm, amd := variant("linux/arm64"), variant("linux/amd64")
	for name, tt := range map[string]struct {
		index *pulltest.Image
		finds []string
	}{
		"plain":                 {pulltest.NewIndex(amd, arm), nil},
		"in the first index":    {pulltest.NewIndex(pulltest.NewIndex(arm), pulltest.NewIndex(amd)), nil},
		"in the second":         {pulltest.NewIndex(pulltest.NewIndex(amd), pulltest.NewIndex(arm)), []string{"not made for this platform"}},
		"by its config":         {pulltest.NewIndex(bare(arm), amd), nil},
		"not by its config":     {pulltest.NewIndex(bare(amd), bare(arm)), []string{"not made for this platform"}},
		"a compatible one":      {pulltest.NewIndex(amd, variant("linux/arm/v7")), nil},
		"another, incompatible": {pulltest.NewIndex(amd, variant("linux/riscv64")), []string{"not made for this platform"}},
	} {
		s := newShelf(t)
		s.put(tt.index)
		report := s.check(s.register(tt.index.Desc), func(c *check.Checker) { c.Platforms = []ocispec.Platform{platforms.MustParse("linux/arm64")} })
		t.Log(name)
		wantFindings(t, report, check.Missing, tt.finds...)
	}
}
