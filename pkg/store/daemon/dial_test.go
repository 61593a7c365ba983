package daemon_test

import (
	"context"
	"errors"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/containerd/errdefs"
	"golang.org/x/sync/errgroup"

	"github.com/containerd-pull/containerd-pull/pkg/failure"
	"github.com/containerd-pull/containerd-pull/pkg/internal/pulltest"
	"github.com/containerd-pull/containerd-pull/pkg/internal/pulltest/testdaemon"
	"github.com/containerd-pull/containerd-pull/pkg/store"
	"github.com/containerd-pull/containerd-pull/pkg/store/daemon"
)

func TestDialSaysWhatIsWrong(t *testing.T) {
	deaf := filepath.Join(t.TempDir(), "sock")
	listener, err := net.Listen("unix", deaf)
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	for name, address := range map[string]string{"no socket": "/nowhere/containerd.sock", "no answer": deaf, "no socket, as URL": "unix:///nowhere/c.sock"} {
		start := time.Now()
		s, err := daemon.Dial(t.Context(), store.Options{Address: address, ConnectTimeout: time.Second})
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
	if _, err := daemon.Dial(ctx, store.Options{Address: deaf}); !errors.Is(err, cause) {
		t.Errorf("got %v after a cancel, want its cause", err)
	}
}

// TestN16HintsOfSockets: each reason for which a socket cannot be used has a remedy of
// its own.
func TestN16HintsOfSockets(t *testing.T) {
	dead := filepath.Join(t.TempDir(), "dead")
	listener, err := net.ListenUnix("unix", &net.UnixAddr{Name: dead})
	if err != nil {
		t.Fatal(err)
	}
	listener.SetUnlinkOnClose(false)
	listener.Close()
	wanted := map[string]string{"/nowhere/containerd.sock": "there is no such socket", dead: "no process listens at the socket"}
	if os.Geteuid() != 0 { // root may open any
		locked := filepath.Join(t.TempDir(), "locked")
		if err := os.Mkdir(locked, 0o000); err != nil {
			t.Fatal(err)
		}
		wanted[filepath.Join(locked, "sock")] = "this user may not open the socket"
	}
	for address, hint := range wanted {
		_, err := daemon.Dial(t.Context(), store.Options{Address: address, ConnectTimeout: time.Second})
		if got := failure.HintOf(err); !errors.Is(err, store.ErrUnavailable) || !strings.HasPrefix(got, hint) {
			t.Errorf("%s: got %v, hint %q, want the hint %q", address, err, got, hint)
		}
	}
}

// TestDialSurvivesARestart hangs up on the first connections, like a daemon that
// is being killed, before there is one.
func TestDialSurvivesARestart(t *testing.T) {
	pulltest.Need(t, pulltest.Root)
	d := testdaemon.Start(t, testdaemon.Options{})
	if err := d.Kill(); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(d.Address); err != nil {
		t.Fatal(err)
	}
	dying, err := net.Listen("unix", d.Address)
	if err != nil {
		t.Fatal(err)
	}
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
	s, err := daemon.Dial(t.Context(), store.Options{Address: d.Address})
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
				s, err := daemon.Dial(t.Context(), store.Options{Address: "unix://" + d.Address, Namespace: tt.namespace, Snapshotter: tt.asked})
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
			_, err := daemon.Dial(t.Context(), store.Options{Address: d.Address, Snapshotter: "stargz"})
			if !errdefs.IsInvalidArgument(err) || !strings.Contains(err.Error(), "overlayfs") {
				t.Errorf("got %v for an unknown snapshotter, want an invalid argument that lists those there are", err)
			}
		})
	}
}
