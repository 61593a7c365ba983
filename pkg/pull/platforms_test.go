package pull_test

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"

	"github.com/containerd/errdefs"
	"github.com/containerd/platforms"
	"github.com/google/go-cmp/cmp"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/containerd-pull/containerd-pull/pkg/internal/pulltest"
	"github.com/containerd-pull/containerd-pull/pkg/internal/pulltest/testregistry"
	"github.com/containerd-pull/containerd-pull/pkg/pull"
)

// foreign is a platform that this host is not.
func foreign(index *pulltest.Image) *pulltest.Image {
	i := slices.IndexFunc(index.Children, func(c *pulltest.Image) bool { return c != hostImage(index) })
	return index.Children[i]
}

func withPlatforms(all ...string) func(*pull.Request) {
	return func(r *pull.Request) {
		for _, p := range all {
			r.Platforms = append(r.Platforms, platforms.MustParse(p))
		}
	}
}

// TestPlatforms selects from an index of two platforms and an attestation.
func TestPlatforms(t *testing.T) {
	index := pulltest.MultiPlatform(pulltest.Gzip)
	amd64, arm64, attestation := index.Children[0], index.Children[1], index.Children[2]
	tests := []struct {
		name     string
		edit     func(*pull.Request)
		unpacked []*pulltest.Image
		fetched  []*pulltest.Image // besides, with their layers
		metadata []*pulltest.Image // besides, without their layers
	}{
		{"host", func(*pull.Request) {}, []*pulltest.Image{hostImage(index)}, nil, []*pulltest.Image{foreign(index), attestation}},
		{"host without metadata", func(r *pull.Request) { r.SkipMetadata = true }, []*pulltest.Image{hostImage(index)}, nil, nil},
		{"another", withPlatforms("linux/arm64"), []*pulltest.Image{arm64}, nil, []*pulltest.Image{amd64, attestation}},
		{"both", withPlatforms("linux/amd64", "linux/arm64"), []*pulltest.Image{amd64, arm64}, nil, []*pulltest.Image{attestation}},
		{"one twice", withPlatforms("linux/arm64", "linux/arm64/v8"), []*pulltest.Image{arm64}, nil, []*pulltest.Image{amd64, attestation}},
		{"all", func(r *pull.Request) { r.AllPlatforms = true }, []*pulltest.Image{amd64, arm64}, []*pulltest.Image{attestation}, nil},
		{"all, never unpacked", func(r *pull.Request) { r.AllPlatforms, r.Unpack = true, pull.UnpackNever }, nil, index.Children, nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			each(t, twoPlaces(), func(t *testing.T, s *site) {
				reg := testregistry.Start(t, testregistry.Options{})
				ref := testregistry.Push(t, reg, "team/multi:1", index)
				result := s.mustPull(ref, tt.edit)
				s.noLitter()
				want := map[digest.Digest]string{index.Desc.Digest: "index"}
				for _, img := range slices.Concat(tt.unpacked, tt.fetched, tt.metadata) {
					want[img.Desc.Digest], want[img.Config.Digest] = "manifest", "config"
				}
				for _, img := range slices.Concat(tt.unpacked, tt.fetched) {
					for _, l := range img.Layers {
						want[l.Digest] = "layer"
					}
				}
				s.wantBlobs(want)
				s.wantChains(tt.unpacked)
				checkPlatforms(t, result, tt.unpacked, tt.fetched)
				s.keeps(t, want, tt.unpacked)
			})
		})
	}
}

// wantBlobs wants the content store to hold just these.
func (s *site) wantBlobs(want map[digest.Digest]string) {
	s.t.Helper()
	got := s.blobs()
	for dgst, what := range want {
		if _, ok := got[dgst]; !ok {
			s.t.Errorf("%s %s is missing", what, dgst)
		}
	}
	for dgst, info := range got {
		if _, ok := want[dgst]; !ok {
			s.t.Errorf("got blob %s with %v, want none such", dgst, info.Labels)
		}
	}
}

// wantChains wants the snapshots of these images and no others.
func (s *site) wantChains(images []*pulltest.Image) {
	s.t.Helper()
	want := map[string]string{}
	for _, img := range images {
		parent := ""
		for _, id := range img.ChainIDs() {
			want[id.String()] = parent
			parent = id.String()
		}
	}
	got := map[string]string{}
	for name, info := range s.snapshots() {
		got[name] = info.Parent
	}
	if diff := cmp.Diff(want, got); diff != "" {
		s.t.Errorf("snapshots and their parents differ (-want +got):\n%s", diff)
	}
}

func checkPlatforms(t *testing.T, result *pull.Result, unpacked, fetched []*pulltest.Image) {
	t.Helper()
	var want []pull.Platform
	for _, img := range unpacked {
		ids := img.ChainIDs()
		want = append(want, pull.Platform{
			Platform: *img.Desc.Platform, Manifest: img.Desc.Digest, Config: img.Config.Digest, Layers: manifestOf(t, img).Layers,
			ChainID: ids[len(ids)-1], Unpacked: true,
		})
	}
	for _, img := range fetched {
		want = append(want, pull.Platform{
			Platform: *img.Desc.Platform, Manifest: img.Desc.Digest, Config: img.Config.Digest, Layers: manifestOf(t, img).Layers,
		})
	}
	if diff := cmp.Diff(want, result.Platforms); diff != "" {
		t.Errorf("platforms of the result differ (-want +got):\n%s", diff)
	}
}

func manifestOf(t *testing.T, img *pulltest.Image) ocispec.Manifest {
	t.Helper()
	var m ocispec.Manifest
	if err := json.Unmarshal(img.Raw, &m); err != nil {
		t.Fatal(err)
	}
	return m
}

// keeps wants a garbage collection to leave all of it.
func (s *site) keeps(t *testing.T, blobs map[digest.Digest]string, unpacked []*pulltest.Image) {
	t.Helper()
	s.collect()
	s.wantBlobs(blobs)
	s.wantChains(unpacked)
}

// TestAbsentPlatform wants an error that helps, and nothing else.
func TestAbsentPlatform(t *testing.T) {
	index := pulltest.MultiPlatform(pulltest.Gzip)
	single := small(t, "single", pulltest.Gzip, pulltest.Spec{Platform: ocispec.Platform{OS: "linux", Architecture: "s390x"}})
	each(t, twoPlaces(), func(t *testing.T, s *site) {
		reg := testregistry.Start(t, testregistry.Options{})
		multi, one := testregistry.Push(t, reg, "team/multi:1", index), testregistry.Push(t, reg, "team/single:1", single)
		tests := []struct {
			ref  string
			edit func(*pull.Request)
			want []string // in the message
		}{
			{multi, withPlatforms("linux/riscv64"), []string{"linux/riscv64", "linux/amd64", "linux/arm64"}},
			{multi, withPlatforms("linux/amd64", "windows/amd64"), []string{"windows", "linux/amd64", "linux/arm64"}},
			{one, func(*pull.Request) {}, []string{"this host", "linux/s390x"}},
			{one, withPlatforms("linux/arm64"), []string{"linux/arm64", "linux/s390x"}},
		}
		for _, tt := range tests {
			_, err := s.pull(tt.ref, tt.edit)
			if !errdefs.IsNotFound(err) {
				t.Errorf("got %v, want a class of not found", err)
				continue
			}
			for _, w := range tt.want {
				if !strings.Contains(err.Error(), w) {
					t.Errorf("got %q, want it to name %s", err, w)
				}
			}
			if strings.Contains(err.Error(), "unknown") {
				t.Errorf("got %q, want no word of the attestation", err)
			}
			if got := s.image(tt.ref); got != nil {
				t.Errorf("got record %+v, want none", got)
			}
			s.noLitter()
		}
		s.empty()
	})
}

// TestPlatformAddedLater pulls a second platform under a name that is there.
func TestPlatformAddedLater(t *testing.T) {
	index := pulltest.MultiPlatform(pulltest.Gzip)
	each(t, twoPlaces(), func(t *testing.T, s *site) {
		reg := testregistry.Start(t, testregistry.Options{})
		ref := testregistry.Push(t, reg, "team/multi:1", index)
		s.mustPull(ref, withPlatforms("linux/amd64"))
		result := s.mustPull(ref, withPlatforms("linux/arm64"))
		if result.Changed {
			t.Errorf("got changed, want the record to point to the same index")
		}
		s.collect()
		s.wantChains(index.Children[:2])
	})
}

// TestUnpackAlways wants an error for what has no file system.
func TestUnpackAlways(t *testing.T) {
	index := pulltest.MultiPlatform(pulltest.Gzip)
	each(t, twoPlaces(), func(t *testing.T, s *site) {
		reg := testregistry.Start(t, testregistry.Options{})
		ref := testregistry.Push(t, reg, "team/multi:1", index)
		_, err := s.pull(ref, func(r *pull.Request) { r.AllPlatforms, r.Unpack = true, pull.UnpackAlways })
		if !errdefs.IsInvalidArgument(err) || s.image(ref) != nil {
			t.Errorf("got %v and record %v, want an invalid argument and none", err, s.image(ref))
		}
	})
}
