package pull_test

import (
	"bytes"
	"os"
	"path/filepath"
	"runtime"
	"testing"

	"github.com/containerd/errdefs"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/containerd-pull/containerd-pull/pkg/internal/pulltest"
	"github.com/containerd-pull/containerd-pull/pkg/internal/pulltest/testregistry"
	"github.com/containerd-pull/containerd-pull/pkg/pull"
)

// blobDamage is what may happen to the file of a blob.
type blobDamage struct {
	name string
	// unseen: a layer of which there is a snapshot is not read, so that only what
	// can be seen of the file counts.
	unseen bool
	do     func(path string, size int) error
}

func blobDamages() []blobDamage {
	put := func(path string, body []byte) error { return os.WriteFile(path, body, 0o644) }
	return []blobDamage{
		{"removed", false, func(path string, _ int) error { return os.Remove(path) }},
		{"emptied", false, func(path string, _ int) error { return put(path, nil) }},
		{"cut in half", false, func(path string, size int) error { return os.Truncate(path, int64(size/2)) }},
		{"longer", false, func(path string, size int) error { return os.Truncate(path, int64(size+1)) }},
		{"zeroed", true, func(path string, size int) error { return put(path, make([]byte, size)) }},
		{"replaced by another's", true, func(path string, size int) error { return put(path, bytes.Repeat([]byte("{}"), size)[:size]) }},
		{"replaced by a folder", false, func(path string, _ int) error {
			if err := os.Remove(path); err != nil {
				return err
			}
			return os.Mkdir(path, 0o755)
		}},
	}
}

// blobPath is where the file of a blob lies.
func (s *site) blobPath(dgst digest.Digest) string {
	return filepath.Join(s.root, contentPart, "blobs", dgst.Algorithm().String(), dgst.Encoded())
}

// damageBlob damages the file of a blob.
func (s *site) damageBlob(t *testing.T, d blobDamage, desc ocispec.Descriptor) {
	t.Helper()
	if err := d.do(s.blobPath(desc.Digest), int(desc.Size)); err != nil {
		t.Fatal(err)
	}
}

// wantFiles fails the test unless the files of all blobs have the right bytes.
func (s *site) wantFiles(t *testing.T, all ...ocispec.Descriptor) {
	t.Helper()
	for _, desc := range all {
		body, err := os.ReadFile(s.blobPath(desc.Digest))
		if err != nil || digest.FromBytes(body) != desc.Digest {
			t.Errorf("got %d bytes of %s %s and %v, want its %d", len(body), desc.MediaType, desc.Digest, err, desc.Size)
		}
	}
}

// indexed is an image for this platform, and one for another, in an index.
func indexed(t *testing.T) (index *pulltest.Image, parts map[string]ocispec.Descriptor) {
	t.Helper()
	index = pulltest.MultiPlatform(pulltest.Gzip)
	parts = map[string]ocispec.Descriptor{"index": index.Desc}
	for _, m := range index.Children[:2] {
		kind, parsed := "another platform's ", manifestOf(t, m)
		if m.Desc.Platform.Architecture == runtime.GOARCH {
			kind = ""
			parts["layer"] = parsed.Layers[0]
		}
		parts[kind+"manifest"], parts[kind+"config"] = m.Desc, parsed.Config
	}
	return index, parts
}

// TestF3FilesOfBlobsLost damages the file of each kind of blob in each way. No
// policy takes the image for whole: it is fetched again, and policy never says
// what is wrong.
func TestF3FilesOfBlobsLost(t *testing.T) {
	img, parts := indexed(t)
	each(t, places(), func(t *testing.T, s *site) {
		ref := testregistry.Push(t, testregistry.Start(t, testregistry.Options{}), "team/app:1", img)
		s.mustPull(ref)
		var all []ocispec.Descriptor
		for _, desc := range parts {
			all = append(all, desc)
		}
		s.wantFiles(t, all...)
		policies := []pull.Policy{pull.PolicyAlways, pull.PolicyMissing, pull.PolicyNewer}
		n := 0
		for kind, desc := range parts {
			for _, d := range blobDamages() {
				policy := policies[n%len(policies)]
				n++
				other := kind == "another platform's manifest" || kind == "another platform's config"
				if d.unseen && kind == "layer" || other && policy != pull.PolicyAlways {
					continue
				}
				t.Run(kind+" "+d.name+", "+string(policy), func(t *testing.T) {
					s := s.in(t)
					s.damageBlob(t, d, desc)
					if !other {
						_, err := s.pull(ref, withPolicy(pull.PolicyNever))
						if !errdefs.IsNotFound(err) && !errdefs.IsDataLoss(err) {
							t.Errorf("got %v by policy never, want what is damaged", err)
						}
					}
					s.mustPull(ref, withPolicy(policy))
					s.wantFiles(t, all...)
					s.noLitter()
				})
			}
		}
	})
}

// TestM5WrongBytesOfALayer: a layer that has other bytes is found out when it is
// unpacked, and fetched again.
func TestM5WrongBytesOfALayer(t *testing.T) {
	img := small(t, "m5", pulltest.Gzip, pulltest.Spec{})
	layers := manifestOf(t, img).Layers
	each(t, places(), func(t *testing.T, s *site) {
		ref := testregistry.Push(t, testregistry.Start(t, testregistry.Options{}), "team/app:1", img)
		for _, d := range blobDamages() {
			for _, engine := range []pull.Engine{pull.EngineClient, pull.EngineDaemon} {
				if engine == pull.EngineDaemon && s.version == "" {
					continue
				}
				t.Run(d.name+", engine "+string(engine), func(t *testing.T) {
					s := s.in(t)
					s.mustPull(ref, func(r *pull.Request) { r.Unpack = pull.UnpackNever })
					for _, l := range layers {
						s.damageBlob(t, d, l)
					}
					s.mustPull(ref, func(r *pull.Request) { r.Engine = engine })
					s.wantFiles(t, layers...)
					s.noLitter()
					s.forget(ref)
				})
			}
		}
	})
}

// TestM5PinnedRegistersWhatIsPinned prepares a store in which every document that
// a pinned pull will look for has other bytes of the right size, with records and
// without.
func TestM5PinnedRegistersWhatIsPinned(t *testing.T) {
	img := small(t, "pinned", pulltest.Gzip, pulltest.Spec{})
	documents := []ocispec.Descriptor{img.Desc, manifestOf(t, img).Config}
	each(t, twoPlaces(), func(t *testing.T, s *site) {
		ref := testregistry.Push(t, testregistry.Start(t, testregistry.Options{}), "team/app:1", img) + "@" + img.Desc.Digest.String()
		for _, records := range []bool{true, false} {
			for _, policy := range []pull.Policy{pull.PolicyAlways, pull.PolicyMissing, pull.PolicyNewer} {
				s.mustPull(ref)
				if !records {
					s.forget(s.request(ref).Ref.Name)
				}
				for _, desc := range documents {
					if err := os.MkdirAll(filepath.Dir(s.blobPath(desc.Digest)), 0o755); err != nil {
						t.Fatal(err)
					}
					if err := os.WriteFile(s.blobPath(desc.Digest), bytes.Repeat([]byte(" "), int(desc.Size)), 0o644); err != nil {
						t.Fatal(err)
					}
				}
				s.mustPull(ref, withPolicy(policy))
				s.wantFiles(t, documents...)
				s.noLitter()
			}
		}
	})
}
