package pull_test

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/containerd-pull/containerd-pull/pkg/internal/pulltest"
	"github.com/containerd-pull/containerd-pull/pkg/internal/pulltest/testdaemon"
	"github.com/containerd-pull/containerd-pull/pkg/internal/pulltest/testregistry"
	"github.com/containerd-pull/containerd-pull/pkg/pull"
	"github.com/containerd-pull/containerd-pull/pkg/store"
	"github.com/containerd-pull/containerd-pull/pkg/store/root"
)

// TestBake pulls into roots that no daemon has seen, boots each version on one,
// and goes on with it: the daemon pulls, this client pulls through the daemon,
// and when the daemon is stopped it pulls into its root.
func TestBake(t *testing.T) {
	pulltest.Need(t, pulltest.Root, pulltest.Program("runc"), pulltest.Contents("busybox.tar.gz"))
	reg := testregistry.Start(t, testregistry.Options{})
	ref := testregistry.Push(t, reg, "team/busybox:1", pulltest.BusyboxImage(t))
	theirs := testregistry.Push(t, reg, "team/theirs:1", small(t, "theirs", pulltest.Gzip, pulltest.Spec{}))
	own := testregistry.Push(t, reg, "team/own:1", small(t, "own", pulltest.Gzip, pulltest.Spec{}))
	last := testregistry.Push(t, reg, "team/last:1", small(t, "last", pulltest.Gzip, pulltest.Spec{}))
	t.Run("versions", func(t *testing.T) {
		for _, version := range testdaemon.Versions() {
			for _, p := range places()[:2] {
				t.Run(p.name+" under "+version, func(t *testing.T) {
					t.Parallel()
					s := newSite(t, p)
					s.mustPull(ref)
					d := s.boot(version)
					s.ready(d, ref)
					if got, want := s.run(d, ref), "busybox runs\n"; got != want {
						t.Errorf("got %q from the container, want %q", got, want)
					}
					s.pullByCtr(d, theirs)
					s.mustPull(own)
					s.collect()
					s.unboot(d)
					s.mustPull(last)
					if err := s.store().Collect(t.Context(), store.Garbage); err != nil {
						t.Fatal(err)
					}
					d = s.boot(version)
					for _, r := range []string{ref, theirs, own, last} {
						s.ready(d, r)
					}
				})
			}
		}
	})
}

// pullByCtr pulls as ctr can into any snapshotter.
func (s *site) pullByCtr(d *testdaemon.Daemon, ref string) {
	s.t.Helper()
	args := []string{"images", "pull", "--plain-http", "--snapshotter", s.snapshotter}
	if d.Version == "2.4" {
		args = append(args, "--local")
	}
	d.Ctr(s.t, append(args, ref)...)
}

// unboot stops the daemon, so that the root is free again.
func (s *site) unboot(d *testdaemon.Daemon) {
	s.t.Helper()
	s.close()
	if err := d.Stop(); err != nil {
		s.t.Fatal(err)
	}
	s.daemon = nil
}

// TestBakedManyPlatforms keeps every platform through a daemon's collection.
func TestBakedManyPlatforms(t *testing.T) {
	index := pulltest.MultiPlatform(pulltest.Gzip)
	s := newSite(t, places()[0])
	reg := testregistry.Start(t, testregistry.Options{})
	ref := testregistry.Push(t, reg, "team/multi:1", index)
	s.mustPull(ref, func(r *pull.Request) { r.AllPlatforms = true })
	s.boot("2.4")
	s.collect()
	s.wantChains(index.Children[:2])
	s.ready(s.daemon, ref)
}

// TestRootInUse is told of a daemon at once.
func TestRootInUse(t *testing.T) {
	for _, version := range testdaemon.Versions() {
		t.Run(version, func(t *testing.T) {
			t.Parallel()
			d := testdaemon.Start(t, testdaemon.Options{Version: version})
			start := time.Now()
			s, err := root.Open(t.Context(), store.Options{Root: d.Root})
			if !errors.Is(err, store.ErrBusy) {
				t.Errorf("got store %v and %v, want %v", s, err, store.ErrBusy)
			}
			if took := time.Since(start); took > 2*time.Second {
				t.Errorf("got the error after %s, want it within 2 s", took)
			}
			d.Ctr(t, "images", "list") // the daemon did not notice
		})
	}
}

// TestRootWaits for another pull into the root, as long as its context lets it.
func TestRootWaits(t *testing.T) {
	pulltest.Need(t, pulltest.Root)
	o := store.Options{Root: t.TempDir()}
	first, err := root.Open(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeoutCause(t.Context(), 100*time.Millisecond, errStop)
	defer cancel()
	if s, err := root.Open(ctx, o); !errors.Is(err, errStop) {
		t.Errorf("got store %v and %v while another is open, want the cause of the context", s, err)
	}
	time.AfterFunc(100*time.Millisecond, func() {
		if err := first.Close(); err != nil {
			t.Error(err)
		}
	})
	second, err := root.Open(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	if err := second.Close(); err != nil {
		t.Error(err)
	}
}

// TestRootLayout compares names, modes and owners of everything that is made
// around blobs and snapshots with what a daemon makes.
func TestRootLayout(t *testing.T) {
	img := small(t, "layout", pulltest.Gzip, pulltest.Spec{})
	for _, p := range places()[:2] {
		t.Run(p.name, func(t *testing.T) {
			reg := testregistry.Start(t, testregistry.Options{})
			ref := testregistry.Push(t, reg, "team/layout:1", img)
			s := newSite(t, p)
			s.mustPull(ref)
			s.close()
			d := testdaemon.Start(t, testdaemon.Options{})
			s.pullByCtr(d, ref)
			want, got := layout(t, d.Root), layout(t, s.root)
			for path := range want {
				if !strings.HasPrefix(path, "io.containerd.content") && !strings.HasPrefix(path, "io.containerd.metadata") &&
					!strings.HasPrefix(path, "io.containerd.snapshotter.v1."+p.snapshotter) && path != "." {
					delete(want, path) // of another plugin
				}
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("layout differs from a daemon's (-want +got):\n%s", diff)
			}
		})
	}
}

// layout lists the modes and owners below a root. The numbers of snapshots
// depend on their order, and what is in them is compared elsewhere.
func layout(t *testing.T, root string) map[string]string {
	t.Helper()
	inside := regexp.MustCompile(`snapshots/\d+/(fs/|work/.)|v1\.native/snapshots/\d+/`)
	number := regexp.MustCompile(`snapshots/\d+`)
	all := map[string]string{}
	err := filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(root, path)
		if err != nil || inside.MatchString(rel) {
			return err
		}
		info, err := os.Lstat(path)
		if err != nil {
			return err
		}
		name := number.ReplaceAllString(rel, "snapshots/N")
		if strings.HasSuffix(name, "snapshots/N/fs") || strings.HasSuffix(name, "native/snapshots/N") {
			return nil // the root of a layer, whose mode the layer decides
		}
		all[name] = info.Mode().String()
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}
