package daemon_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/containerd/errdefs"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/containerd-pull/containerd-pull/pkg/internal/pulltest/testdaemon"
	"github.com/containerd-pull/containerd-pull/pkg/internal/pulltest/teststore"
	"github.com/containerd-pull/containerd-pull/pkg/store"
	"github.com/containerd-pull/containerd-pull/pkg/store/daemon"
)

// TestTraits are those of the version.
func TestTraits(t *testing.T) {
	for _, version := range testdaemon.Versions() {
		t.Run(version, func(t *testing.T) {
			t.Parallel()
			d := testdaemon.Start(t, testdaemon.Options{Version: version})
			s := teststore.Dial(t, store.Options{Address: d.Address})
			isNew := version == testdaemon.Versions()[0]
			got := s.Traits()
			if !got.Applies || got.AppliesHere || got.TakesUsage || got.ReplacesStrays || got.Rebase != isNew {
				t.Errorf("got %+v", got)
			}
			if err := s.CanTransfer(t.Context()); (err == nil) != isNew || err != nil && !errors.Is(err, store.ErrNoTransfer) {
				t.Errorf("got %v of the transfer service", err)
			}
			if syncs, err := s.SyncsApplied(t.Context()); syncs != isNew || err != nil {
				t.Errorf("got %v and %v of syncing, want %v", syncs, err, isNew)
			}
		})
	}
}

// TestNoApplier asks a daemon whose diff service is switched off.
func TestNoApplier(t *testing.T) {
	d := testdaemon.Start(t, testdaemon.Options{Disabled: []string{"io.containerd.service.v1.diff-service", "io.containerd.grpc.v1.diff"}})
	s := teststore.Dial(t, store.Options{Address: d.Address})
	if s.Traits().Applies {
		t.Error("got a daemon that applies")
	}
	_, err := s.Applier.Apply(s.Context(t.Context()), ocispec.Descriptor{}, nil)
	if !errors.Is(err, store.ErrNoApplier) || !errdefs.IsNotImplemented(err) {
		t.Errorf("got %v, want %v", err, store.ErrNoApplier)
	}
}

// TestSharesFile compares files with those of a process that has another root
// folder.
func TestSharesFile(t *testing.T) {
	proc, there := t.TempDir(), t.TempDir()
	if err := os.Symlink(there, filepath.Join(proc, "root")); err != nil {
		t.Fatal(err)
	}
	here := t.TempDir()
	path := func(name string) string { return filepath.Join(here, name) }
	if err := os.MkdirAll(filepath.Join(there, here), 0o700); err != nil {
		t.Fatal(err)
	}
	for name, sides := range map[string][2]bool{"here": {true, false}, "there": {false, true}, "both": {true, true}} {
		for i, side := range []string{path(name), filepath.Join(there, path(name))} {
			if !sides[i] {
				continue
			}
			if err := os.WriteFile(side, nil, 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := os.WriteFile(path("linked"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Link(path("linked"), filepath.Join(there, path("linked"))); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]bool{"here": false, "there": false, "both": false, "linked": true, "neither": true} {
		if err := daemon.SharesFile(proc, path(name)); (err == nil) != want {
			t.Errorf("%s: got %v, want the file shared: %v", name, err, want)
		}
	}
	if err := daemon.SharesFile("/proc/self", here); err != nil {
		t.Errorf("got %v of this process itself", err)
	}
}

// TestDisconnected loses a daemon in the middle of the work, and goes on with the
// next one, of which everything has to be proven anew.
func TestDisconnected(t *testing.T) {
	d := testdaemon.Start(t, testdaemon.Options{})
	s, _ := shared(t, d)
	ctx, end, err := s.Attach(s.Context(t.Context()))
	if err != nil {
		t.Fatal(err)
	}
	defer end()
	if s.Disconnected(ctx) {
		t.Error("got a daemon that runs disconnected")
	}
	if err := d.Kill(); err != nil {
		t.Fatal(err)
	}
	if !s.Disconnected(ctx) {
		t.Error("got a daemon that was killed connected")
	}
	select {
	case <-ctx.Done():
	case <-time.After(5 * time.Second):
		t.Fatal("the attached context goes on without the daemon")
	}
	if cause := context.Cause(ctx); !errors.Is(cause, store.ErrUnavailable) {
		t.Errorf("got cause %v, want %v", cause, store.ErrUnavailable)
	}
	if err := d.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	again, endAgain, err := s.Attach(s.Context(t.Context()))
	if err != nil {
		t.Fatalf("got %v from a daemon that is back", err)
	}
	defer endAgain()
	if s.Disconnected(again) || !s.Disconnected(ctx) {
		t.Error("the second daemon is taken for the first")
	}
	mounts, err := s.Snapshotter.Prepare(again, "second proof", "")
	if err != nil {
		t.Fatal(err)
	}
	u, why := s.Upper(again, "second proof", mounts)
	if u == nil {
		t.Fatalf("got %s, want the proof found again", why)
	}
	u.Close()
}

// TestAttachGivesUp after the time that the connection may take.
func TestAttachGivesUp(t *testing.T) {
	d := testdaemon.Start(t, testdaemon.Options{})
	s := teststore.Dial(t, store.Options{Address: d.Address, ConnectTimeout: 300 * time.Millisecond})
	if err := d.Kill(); err != nil {
		t.Fatal(err)
	}
	start := time.Now()
	ctx, end, err := s.Attach(s.Context(t.Context()))
	if err == nil { // to a connection whose end was not seen yet
		<-ctx.Done()
		end()
		_, _, err = s.Attach(s.Context(t.Context()))
	}
	if !errors.Is(err, store.ErrUnavailable) || time.Since(start) > 5*time.Second {
		t.Errorf("got %v after %s, want %v after the time-out", err, time.Since(start), store.ErrUnavailable)
	}
}

func TestRefusal(t *testing.T) {
	said := errors.New(`image verifier judge blocked pull of x with digest y for reason: no: unknown`)
	got := daemon.AsRefusal(said)
	if !errors.Is(got, store.ErrRefused) || !errors.Is(got, said) || got.Error() != said.Error() {
		t.Errorf("got %v, want the words of the daemon as a refusal", got)
	}
	for _, err := range []error{nil, errors.New("no image verifiers here"), context.Canceled} {
		if got := daemon.AsRefusal(err); !errors.Is(got, err) || errors.Is(got, store.ErrRefused) {
			t.Errorf("got %v of %v, want it as it is", got, err)
		}
	}
}
