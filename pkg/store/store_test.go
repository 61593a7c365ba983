package store_test

import (
	"context"
	"errors"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/containerd/containerd/v2/core/images"
	"github.com/containerd/containerd/v2/core/mount"
	"github.com/containerd/containerd/v2/core/snapshots"
	"github.com/containerd/errdefs"
	"github.com/google/go-cmp/cmp"
	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/identity"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/sync/errgroup"

	"github.com/containerd-pull/containerd-pull/pkg/internal/pulltest"
	"github.com/containerd-pull/containerd-pull/pkg/internal/pulltest/testdaemon"
	"github.com/containerd-pull/containerd-pull/pkg/store"
)

func image(name, content string, labels map[string]string) images.Image {
	return images.Image{Name: name, Labels: labels, Target: ocispec.Descriptor{
		MediaType: ocispec.MediaTypeImageManifest, Digest: digest.FromString(content), Size: 10,
	}}
}

// TestRegister points a record to a new target and leaves what others said of
// it.
func TestRegister(t *testing.T) {
	s := openRoot(t, store.Options{})
	ctx := s.Context(t.Context())
	if img, err := s.Image(ctx, ref); img != nil || err != nil {
		t.Errorf("got %v and %v before, want none", img, err)
	}
	if err := s.Register(ctx, image(ref, "one", map[string]string{"ours": "1", "kept": "1"})); err != nil {
		t.Fatal(err)
	}
	foreign := image(ref, "one", map[string]string{"foreign": "x"})
	if _, err := s.Images.Update(ctx, foreign, "labels.foreign"); err != nil {
		t.Fatal(err)
	}
	if err := s.Register(ctx, image(ref, "two", map[string]string{"ours": "2"})); err != nil {
		t.Fatal(err)
	}
	img, err := s.Image(ctx, ref)
	if err != nil || img == nil || img.Target.Digest != digest.FromString("two") {
		t.Fatalf("got %+v and %v, want the second target", img, err)
	}
	want := map[string]string{"ours": "2", "kept": "1", "foreign": "x"}
	if diff := cmp.Diff(want, img.Labels); diff != "" {
		t.Errorf("labels differ (-want +got):\n%s", diff)
	}
}

// commit makes a committed snapshot.
func commit(ctx context.Context, t *testing.T, s *store.Store, name, parent string) {
	t.Helper()
	if _, err := s.Snapshotter.Prepare(ctx, "active "+name, parent); err != nil {
		t.Fatal(err)
	}
	if err := s.Snapshotter.Commit(ctx, name, "active "+name); err != nil {
		t.Fatal(err)
	}
}

func TestCheckChain(t *testing.T) {
	s := openRoot(t, store.Options{})
	ctx, _, _ := lease(t, s, ref)
	ids := []digest.Digest{digest.FromString("a"), digest.FromString("b"), digest.FromString("c")}
	chain := identity.ChainIDs([]digest.Digest{ids[0], ids[1], ids[2]})
	commit(ctx, t, s, chain[0].String(), "")
	commit(ctx, t, s, chain[1].String(), chain[0].String())
	if err := errors.Join(s.CheckChain(ctx, nil), s.CheckChain(ctx, ids[:1]), s.CheckChain(ctx, ids[:2])); err != nil {
		t.Errorf("got %v, want whole chains", err)
	}
	if err := s.CheckChain(ctx, ids); !errdefs.IsNotFound(err) {
		t.Errorf("got %v for a chain without its top, want not found", err)
	}
	commit(ctx, t, s, chain[2].String(), chain[0].String())
	if err := s.CheckChain(ctx, ids); !errdefs.IsDataLoss(err) {
		t.Errorf("got %v for a snapshot on another parent, want a failed precondition", err)
	}
	if ids[0] != digest.FromString("a") || ids[2] != digest.FromString("c") {
		t.Errorf("got diff IDs %v, want them unchanged", ids)
	}
}

func TestHold(t *testing.T) {
	s := openRoot(t, store.Options{})
	ctx, _, id := lease(t, s, ref)
	commit(s.Context(t.Context()), t, s, "there", "")
	if _, err := s.Snapshotter.Prepare(ctx, "active", ""); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]bool{"there": true, "active": false, "absent": false} {
		held, err := s.Hold(ctx, name)
		if held != want || err != nil {
			t.Errorf("got %v and %v for %q, want %v", held, err, name, want)
		}
	}
	if !holds(t, s, id, "there") {
		t.Error("the snapshot is not under the lease")
	}
	if held, err := s.Hold(s.Context(t.Context()), "there"); !held || err != nil {
		t.Errorf("got %v and %v without a lease, want true", held, err)
	}
}

func TestUpperOf(t *testing.T) {
	tests := []struct {
		name   string
		mounts []mount.Mount
		want   store.Upper
		ok     bool
	}{
		{"bind", []mount.Mount{{Type: "bind", Source: "/r/1/fs", Options: []string{"rw", "rbind"}}}, store.Upper{Dir: "/r/1/fs"}, true},
		{
			"overlay", []mount.Mount{{Type: "overlay", Source: "overlay", Options: []string{"workdir=/r/3/work", "upperdir=/r/3/fs", "lowerdir=/r/2/fs:/r/1/fs"}}},
			store.Upper{Dir: "/r/3/fs", Lowers: []string{"/r/2/fs", "/r/1/fs"}, Overlay: true}, true,
		},
		{
			"view", []mount.Mount{{Type: "overlay", Options: []string{"lowerdir=/r/2/fs:/r/1/fs"}}},
			store.Upper{Lowers: []string{"/r/2/fs", "/r/1/fs"}, Overlay: true}, true,
		},
		{"overlay without folders", []mount.Mount{{Type: "overlay", Options: []string{"index=off"}}}, store.Upper{Overlay: true}, false},
		{"nothing", nil, store.Upper{}, false},
		{"two", []mount.Mount{{Type: "bind", Source: "/a"}, {Type: "bind", Source: "/b"}}, store.Upper{}, false},
		{"a device", []mount.Mount{{Type: "ext4", Source: "/dev/mapper/x"}}, store.Upper{}, false},
	}
	for _, tt := range tests {
		got, ok := store.UpperOf(tt.mounts)
		if diff := cmp.Diff(tt.want, got); diff != "" || ok != tt.ok {
			t.Errorf("%s: got ok %v, want %v; folders differ (-want +got):\n%s", tt.name, ok, tt.ok, diff)
		}
	}
}

func TestLowers(t *testing.T) {
	for _, snapshotter := range []string{"overlayfs", "native"} {
		s := openRoot(t, store.Options{Snapshotter: snapshotter})
		ctx, _, _ := lease(t, s, ref)
		commit(ctx, t, s, "one", "")
		commit(ctx, t, s, "two", "one")
		for name, want := range map[string]int{"one": 1, "two": map[string]int{"overlayfs": 2, "native": 1}[snapshotter]} {
			dirs, err := s.Lowers(ctx, name)
			if err != nil || len(dirs) != want {
				t.Errorf("%s: got %v and %v below %s, want %d folders", snapshotter, dirs, err, name, want)
			}
		}
		err := s.Snapshotter.Walk(ctx, func(_ context.Context, info snapshots.Info) error {
			if info.Kind != snapshots.KindCommitted {
				t.Errorf("%s: got %s snapshot %s, want none left", snapshotter, info.Kind, info.Name)
			}
			return nil
		})
		if err != nil {
			t.Error(err)
		}
	}
}

// blindSnapshotter belongs to a daemon that does not see our files: one in
// another mount namespace, whose paths happen to exist here too.
type blindSnapshotter struct{ snapshots.Snapshotter }

func (blindSnapshotter) Usage(context.Context, string) (snapshots.Usage, error) {
	return snapshots.Usage{Inodes: 1}, nil
}

// TestWritableIsProven and not believed because a path exists.
func TestWritableIsProven(t *testing.T) {
	pulltest.Need(t, pulltest.Root)
	dir := t.TempDir()
	mounts := []mount.Mount{{Type: "bind", Source: dir}}
	s := &store.Store{Snapshotter: blindSnapshotter{}, Name: "overlayfs"}
	if ok, why := s.Writable(t.Context(), "key", mounts); ok || !strings.Contains(why, dir) {
		t.Errorf("got %v because %q, want no, because of %s", ok, why, dir)
	}
	if left := pulltest.Must(filepath.Glob(filepath.Join(dir, ".*")))(t); len(left) > 0 {
		t.Errorf("got %v left behind, want nothing", left)
	}
	other := &store.Store{Snapshotter: blindSnapshotter{}, Name: "stargz"}
	if ok, why := other.Writable(t.Context(), "key", mounts); ok || !strings.Contains(why, "stargz") {
		t.Errorf("got %v because %q, want no, because of the snapshotter", ok, why)
	}
}

func TestWritable(t *testing.T) {
	d := testdaemon.Start(t, testdaemon.Options{})
	dialled := pulltest.Must(store.Dial(t.Context(), store.Options{Address: d.Address}))(t)
	defer dialled.Close()
	for name, s := range map[string]*store.Store{"embedded": openRoot(t, store.Options{}), "daemon": dialled} {
		ctx, _, _ := lease(t, s, ref)
		mounts := pulltest.Must(s.Snapshotter.Prepare(ctx, "active", ""))(t)
		if ok, why := s.Writable(ctx, "active", mounts); !ok {
			t.Errorf("%s: got no because %q, want yes", name, why)
		}
		if err := s.Snapshotter.Remove(ctx, "active"); err != nil {
			t.Error(err)
		}
	}
}

func TestOpenRefuses(t *testing.T) {
	pulltest.Need(t, pulltest.Root)
	if s, err := store.Open(t.Context(), store.Options{Root: t.TempDir(), Snapshotter: "zfs"}); !errdefs.IsInvalidArgument(err) {
		t.Errorf("got %v and %v with snapshotter zfs, want an invalid argument", s, err)
	}
	if s, err := store.Open(t.Context(), store.Options{Root: "/dev/null/root"}); err == nil {
		t.Errorf("got %v in a folder that cannot be, want an error", s)
	}
}

func TestDialSaysWhatIsWrong(t *testing.T) {
	deaf := filepath.Join(t.TempDir(), "sock")
	listener := pulltest.Must(net.Listen("unix", deaf))(t)
	defer listener.Close()
	for name, address := range map[string]string{"no socket": "/nowhere/containerd.sock", "no answer": deaf, "no socket, as URL": "unix:///nowhere/c.sock"} {
		start := time.Now()
		s, err := store.Dial(t.Context(), store.Options{Address: address, ConnectTimeout: time.Second})
		if !errors.Is(err, store.ErrUnavailable) {
			t.Errorf("%s: got %v and %v, want %v", name, s, err, store.ErrUnavailable)
		}
		if took := time.Since(start); took > 3*time.Second {
			t.Errorf("%s: got the error after %s, want it within about the time-out of 1 s", name, took)
		}
	}
	ctx, cancel := context.WithCancelCause(t.Context())
	cause := errors.New("never mind")
	cancel(cause)
	if _, err := store.Dial(ctx, store.Options{Address: deaf}); !errors.Is(err, cause) {
		t.Errorf("got %v after a cancel, want its cause", err)
	}
}

// TestDialSurvivesARestart hangs up on whoever connects, like a daemon that is
// being killed, before there is one.
func TestDialSurvivesARestart(t *testing.T) {
	pulltest.Need(t, pulltest.Root)
	d := testdaemon.Start(t, testdaemon.Options{})
	if err := d.Kill(); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(d.Address); err != nil {
		t.Fatal(err)
	}
	dying := pulltest.Must(net.Listen("unix", d.Address))(t)
	var g errgroup.Group
	g.Go(func() error {
		for range 2 { // the question who listens, and gRPC's connection
			conn, err := dying.Accept()
			if err != nil {
				return err
			}
			conn.Close()
		}
		dying.Close()
		return d.Start(t.Context())
	})
	s, err := store.Dial(t.Context(), store.Options{Address: d.Address})
	if err := g.Wait(); err != nil {
		t.Fatal(err)
	}
	if err != nil {
		t.Fatalf("got %v from a daemon that restarts, want it waited for", err)
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
}

func TestDialChoosesTheSnapshotter(t *testing.T) {
	for _, version := range testdaemon.Versions() {
		t.Run(version, func(t *testing.T) {
			t.Parallel()
			d := testdaemon.Start(t, testdaemon.Options{Version: version})
			d.Ctr(t, "namespaces", "create", "labelled", "containerd.io/defaults/snapshotter=native")
			for _, tt := range []struct{ namespace, asked, want string }{
				{"", "", "overlayfs"}, {"", "native", "native"}, {"labelled", "", "native"}, {"labelled", "overlayfs", "overlayfs"}, {"absent", "", "overlayfs"},
			} {
				s, err := store.Dial(t.Context(), store.Options{Address: "unix://" + d.Address, Namespace: tt.namespace, Snapshotter: tt.asked})
				if err != nil {
					t.Fatal(err)
				}
				if s.Name != tt.want {
					t.Errorf("got snapshotter %s in namespace %q when asked for %q, want %s", s.Name, tt.namespace, tt.asked, tt.want)
				}
				if err := s.Close(); err != nil {
					t.Error(err)
				}
			}
			_, err := store.Dial(t.Context(), store.Options{Address: d.Address, Snapshotter: "stargz"})
			if !errdefs.IsInvalidArgument(err) || !strings.Contains(err.Error(), "overlayfs") {
				t.Errorf("got %v for an unknown snapshotter, want an invalid argument that lists those there are", err)
			}
		})
	}
}

// TestNamespaces are apart from each other in one root.
func TestNamespaces(t *testing.T) {
	root := t.TempDir()
	s := openRoot(t, store.Options{Root: root, Namespace: "k8s.io"})
	if err := s.Register(s.Context(t.Context()), image(ref, "one", nil)); err != nil {
		t.Fatal(err)
	}
	s.Namespace = "default"
	if img, err := s.Image(s.Context(t.Context()), ref); img != nil || err != nil {
		t.Errorf("got %v and %v in another namespace, want none", img, err)
	}
}

// TestCollect frees what no record refers to and no lease holds.
func TestCollect(t *testing.T) {
	s := openRoot(t, store.Options{})
	ctx, l, _ := lease(t, s, ref)
	held := write(ctx, t, s, "held", true)
	if err := s.Collect(t.Context(), store.Garbage); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Content.Info(ctx, held); err != nil {
		t.Errorf("got %v for a blob under a lease, want it kept", err)
	}
	if err := errors.Join(l.Delete(ctx), s.Collect(t.Context(), store.Garbage)); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Content.Info(ctx, held); !errdefs.IsNotFound(err) {
		t.Errorf("got %v for a blob that nobody wants, want it gone", err)
	}
}
