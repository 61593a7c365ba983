package pull_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/containerd-pull/containerd-pull/pkg/internal/pulltest"
	"github.com/containerd-pull/containerd-pull/pkg/internal/pulltest/testregistry"
	"github.com/containerd-pull/containerd-pull/pkg/pull"
)

// TestLeftoverBlob pulls beside files in the place of its blobs that no record
// knows, as a crash or another tool leaves them: of another size, shorter or
// longer. What is registered has the right bytes, or nothing is.
func TestLeftoverBlob(t *testing.T) {
	img := small(t, "leftover", pulltest.Gzip, pulltest.Spec{})
	for name, body := range map[string]string{"empty": "", "short": "half", "long": strings.Repeat("too long", 1<<16)} {
		for _, unpacks := range []pull.Unpack{pull.UnpackAuto, pull.UnpackNever} {
			t.Run(fmt.Sprintf("%s, unpack %v", name, unpacks), func(t *testing.T) {
				each(t, append([]place{places()[0]}, daemons("2.4")...), func(t *testing.T, s *site) {
					reg := testregistry.Start(t, testregistry.Options{})
					ref := testregistry.Push(t, reg, "team/app:1", img)
					s.store() // makes an embedded root
					dir := filepath.Join(s.root, contentPart, "blobs", "sha256")
					if err := os.MkdirAll(dir, 0o755); err != nil {
						t.Fatal(err)
					}
					for _, b := range append(img.Blobs(), pulltest.NewBlob(img.Raw)) {
						if err := os.WriteFile(filepath.Join(dir, b.Digest.Encoded()), []byte(body), 0o444); err != nil {
							t.Fatal(err)
						}
					}
					s.mustPull(ref, func(r *pull.Request) { r.Unpack = unpacks })
					s.noLitter()
					for _, b := range append(img.Blobs(), pulltest.NewBlob(img.Raw)) {
						got, err := os.ReadFile(filepath.Join(dir, b.Digest.Encoded()))
						if err != nil {
							t.Fatal(err)
						}
						if int64(len(got)) != b.Size || b.Digest.Algorithm().FromBytes(got) != b.Digest {
							t.Errorf("got %d bytes in the place of blob %s, want its %d", len(got), b.Digest, b.Size)
						}
					}
				})
			})
		}
	}
}

// TestMisfitInUse pulls beside a file of the wrong size that an image of another
// namespace relies upon as well. It is mended for both.
func TestMisfitInUse(t *testing.T) {
	img := small(t, "misfit", pulltest.Gzip, pulltest.Spec{})
	each(t, twoPlaces(), func(t *testing.T, s *site) {
		reg := testregistry.Start(t, testregistry.Options{})
		ref := testregistry.Push(t, reg, "team/app:1", img)
		s.mustPull(ref, func(r *pull.Request) { r.Unpack = pull.UnpackNever })
		s.close()
		s.namespace = "other"
		s.mustPull(ref, func(r *pull.Request) { r.Unpack = pull.UnpackNever })
		layer := img.Layers[0]
		if err := os.Truncate(s.blobPath(layer.Digest), layer.Size/2); err != nil {
			t.Fatal(err)
		}
		s.mustPull(ref)
		s.wantFiles(t, manifestOf(t, img).Layers...)
		s.noLitter()
		if s.image(ref) == nil {
			t.Error("got no record, want that of before")
		}
	})
}
