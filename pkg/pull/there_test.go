package pull_test

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/containerd/v2/core/snapshots"
	"github.com/containerd/errdefs"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/containerd-pull/containerd-pull/pkg/failure"
	"github.com/containerd-pull/containerd-pull/pkg/internal/pulltest"
	"github.com/containerd-pull/containerd-pull/pkg/internal/pulltest/testdaemon"
	"github.com/containerd-pull/containerd-pull/pkg/internal/pulltest/testregistry"
	"github.com/containerd-pull/containerd-pull/pkg/internal/pulltest/tree"
	"github.com/containerd-pull/containerd-pull/pkg/pull"
	"github.com/containerd-pull/containerd-pull/pkg/store"
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

// spoiling is a content store to which others bring a layer first, each time it is to be
// fetched, on a disk that changes its bytes.
type spoiling struct {
	content.Store
	layer ocispec.Descriptor
	bring func(context.Context) error
}

func (c spoiling) Writer(ctx context.Context, opts ...content.WriterOpt) (content.Writer, error) {
	var o content.WriterOpts
	for _, opt := range opts {
		if err := opt(&o); err != nil {
			return nil, err
		}
	}
	if o.Desc.Digest != c.layer.Digest {
		return c.Store.Writer(ctx, opts...)
	}
	if err := c.bring(ctx); err != nil {
		return nil, err
	}
	return nil, errdefs.ErrAlreadyExists
}

// TestN15DamagedStore blames the store where its disk keeps no layer as it was written.
func TestN15DamagedStore(t *testing.T) {
	img := small(t, "n15", pulltest.Gzip, pulltest.Spec{})
	layer := manifestOf(t, img).Layers[1]
	each(t, twoPlaces(), func(t *testing.T, s *site) {
		ref := testregistry.Push(t, testregistry.Start(t, testregistry.Options{}), "team/app:1", img)
		plain := s.store().Content
		s.store().Content = spoiling{plain, layer, func(ctx context.Context) error {
			body, err := img.Layers[1].Open()
			if err != nil {
				return err
			}
			defer body.Close()
			if err := content.WriteBlob(ctx, plain, "others-"+layer.Digest.String(), body, layer); err != nil {
				return err
			}
			return os.WriteFile(s.blobPath(layer.Digest), make([]byte, layer.Size), 0o644)
		}}
		_, err := s.pull(ref)
		if hint := failure.HintOf(err); !errdefs.IsDataLoss(err) || !strings.HasPrefix(hint, "the store is damaged, not the registry: containerd-pull verify --repair mends it") {
			t.Errorf("got %v and the hint %q, want the store blamed", err, hint)
		}
		if got := s.image(ref); got != nil {
			t.Errorf("got record %+v, want none", got)
		}
		s.noLitter()
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

// folders lists the folders of a chain's snapshots, bottom first.
func (s *site) folders(t *testing.T, chain []digest.Digest) (all []string) {
	t.Helper()
	for _, id := range chain {
		lowers, err := s.store().Lowers(s.ctx(), id.String())
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, lowers[0].Name())
		store.CloseAll(lowers)
	}
	return all
}

// layeredOn is an image on top of another's layers.
func layeredOn(base *pulltest.Image, files ...pulltest.File) *pulltest.Image {
	return pulltest.NewImage(pulltest.Spec{Layers: append(slices.Clone(base.Layers), pulltest.NewLayer(pulltest.Gzip, files...))})
}

// TestF6FolderOfASnapshotLost removes or empties the folder of each snapshot of a chain, on
// which another image and a container stand. No policy takes the image for whole;
// it is unpacked again, into the same snapshot.
func TestF6FolderOfASnapshotLost(t *testing.T) {
	img := layered(t,
		[]pulltest.File{pulltest.Directory("etc"), pulltest.Regular("etc/a", "1"), pulltest.Regular("etc/gone", "1")},
		[]pulltest.File{pulltest.Regular("etc/b", "2"), pulltest.Regular("etc/.wh.gone", "")},
		[]pulltest.File{pulltest.Directory("etc"), pulltest.Regular("etc/c", "3")})
	above := layeredOn(img, pulltest.Regular("etc/d", "4"))
	chain := img.ChainIDs()
	each(t, places(), func(t *testing.T, s *site) {
		reg := testregistry.Start(t, testregistry.Options{})
		ref, other := testregistry.Push(t, reg, "team/app:1", img), testregistry.Push(t, reg, "team/above:1", above)
		s.mustPull(ref)
		s.mustPull(other)
		if _, err := s.store().Snapshotter.Prepare(s.ctx(), "container", above.ChainIDs()[3].String(), snapshots.WithLabels(map[string]string{"containerd.io/gc.root": "now"})); err != nil {
			t.Fatal(err)
		}
		top, dirs := above.ChainIDs()[3].String(), s.folders(t, chain)
		want := s.tree(top)
		policies := []pull.Policy{pull.PolicyAlways, pull.PolicyMissing, pull.PolicyNewer}
		for i, lost := range [][]int{{0}, {1}, {2}, {0, 2}, {0, 1, 2}} {
			for j, policy := range policies {
				t.Run(fmt.Sprintf("%v, %s", lost, policy), func(t *testing.T) {
					for _, n := range lost {
						loseFolder(t, dirs[n], (i+j)%3, s.snapshotter)
					}
					s := s.in(t)
					if _, err := s.pull(ref, withPolicy(pull.PolicyNever)); !errdefs.IsNotFound(err) && exitCode(err) != 8 {
						t.Errorf("got %v by policy never, want the snapshot missing", err)
					}
					s.mustPull(ref, withPolicy(policy))
					if diff := tree.Diff(withoutTimes(s.tree(top)), withoutTimes(want)); diff != "" {
						t.Errorf("the tree above differs:\n%s", diff)
					}
					if got := s.snapshots(); len(got) != 5 {
						t.Errorf("got %d snapshots, want 4 and that of the container", len(got))
					}
					if result := s.mustPull(ref); result.Unpacked != 0 {
						t.Errorf("got %d bytes unpacked once more, want none", result.Unpacked)
					}
				})
			}
		}
	})
}

// loseFolder loses the files of a snapshot in one of three ways.
func loseFolder(t *testing.T, dir string, way int, snapshotter string) {
	t.Helper()
	if way == 0 && snapshotter == "overlayfs" { // fs is in a folder of its own
		dir = filepath.Dir(dir)
	}
	removeAll(t, dir)
	if way == 2 { // as after a power cut
		if err := os.Mkdir(dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
}

// withoutTimes are entries without times: those of directories are of the unpack.
func withoutTimes(entries []tree.Entry) []tree.Entry { return withoutTimesOf(time.Unix(0, 0), entries) }

func removeAll(t *testing.T, path string) {
	t.Helper()
	if err := os.RemoveAll(path); err != nil {
		t.Fatal(err)
	}
}

// TestF5SnapshotterLost removes the folder of the snapshotter, its database too,
// while the metadata has records of its snapshots. Both images are unpacked again. A
// container that stood on them has lost its files; a daemon keeps its record, and
// what it stands on cannot be made anew then.
func TestF5SnapshotterLost(t *testing.T) {
	img := small(t, "f5", pulltest.Gzip, pulltest.Spec{})
	above := layeredOn(img, pulltest.Regular("d", "4"))
	for _, container := range []bool{false, true} {
		t.Run(fmt.Sprintf("container %v", container), func(t *testing.T) {
			each(t, places(), func(t *testing.T, s *site) {
				reg := testregistry.Start(t, testregistry.Options{})
				ref, other := testregistry.Push(t, reg, "team/app:1", img), testregistry.Push(t, reg, "team/above:1", above)
				s.mustPull(ref)
				s.mustPull(other)
				if container {
					_, err := s.store().Snapshotter.Prepare(s.ctx(), "container", above.ChainIDs()[len(img.Layers)].String(), snapshots.WithLabels(map[string]string{"containerd.io/gc.root": "now"}))
					if err != nil {
						t.Fatal(err)
					}
				}
				s.loseSnapshotter(t)
				if _, err := s.pull(ref, withPolicy(pull.PolicyNever)); !errdefs.IsNotFound(err) && exitCode(err) != 8 {
					t.Errorf("got %v by policy never, want the snapshots missing", err)
				}
				_, err := s.pull(ref)
				if container && s.daemon != nil {
					if exitCode(err) != 8 || failure.HintOf(err) == "" {
						t.Errorf("got %v with hint %q, want class 8 and a way out", err, failure.HintOf(err))
					}
					s.noLitter()
					return
				}
				if err != nil {
					t.Fatal(err)
				}
				s.mustPull(other)
				s.noLitter()
				if diff := tree.Diff(s.tree(above.ChainIDs()[0].String()), s.tree(img.ChainIDs()[0].String())); diff != "" {
					t.Error(diff)
				}
				if d := s.boot(testdaemon.Versions()[0]); d != nil {
					s.ready(d, ref)
					s.ready(d, other)
				}
			})
		})
	}
}

// loseSnapshotter removes the snapshotter's folder while no process uses it.
func (s *site) loseSnapshotter(t *testing.T) {
	t.Helper()
	s.close()
	if s.daemon != nil {
		if err := s.daemon.Stop(); err != nil {
			t.Fatal(err)
		}
	}
	removeAll(t, filepath.Join(s.root, "io.containerd.snapshotter.v1."+s.snapshotter))
	if s.daemon != nil {
		if err := s.daemon.Restart(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
}
