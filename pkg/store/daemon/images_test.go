package daemon_test

import (
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/containerd-pull/containerd-pull/pkg/internal/pulltest"
	"github.com/containerd-pull/containerd-pull/pkg/internal/pulltest/testdaemon"
	"github.com/containerd-pull/containerd-pull/pkg/internal/pulltest/teststore"
	"github.com/containerd-pull/containerd-pull/pkg/store"
)

// TestTrialOfImages: what is found is remembered, what only fails is not, and what is
// not removed afterwards is only told.
func TestTrialOfImages(t *testing.T) {
	pulltest.Need(t, pulltest.Root)
	d := testdaemon.Start(t, testdaemon.Options{})
	failed := func(code codes.Code) error { return status.Error(code, "failed once") }
	const snapshots = "/containerd.services.snapshots.v1.Snapshots/"
	open := func(namespace string, lies map[string]testdaemon.Lie) func() (bool, string) {
		s := teststore.Dial(t, store.Options{Address: testdaemon.Front(t, d.Address, testdaemon.FrontOptions{Lies: lies}), Namespace: namespace, Snapshotter: store.Erofs})
		return func() (bool, string) {
			_, u, why := upper(t, s)
			return u != nil, why
		}
	}
	failing := func(err error, times int64) testdaemon.Lie {
		var said atomic.Int64
		return func(_, answer []byte) ([]byte, error) {
			if said.Add(1) > times {
				return answer, nil
			}
			return nil, err
		}
	}
	ask := open("left", map[string]testdaemon.Lie{snapshots + "Remove": failing(failed(codes.Internal), 3)})
	if ok, why := ask(); !ok || !strings.Contains(why, "is left until the lease ends") {
		t.Errorf("got %v because %q where the trial is not removed, want the client, and a word about it", ok, why)
	}
	for class, remembered := range map[error]bool{
		failed(codes.FailedPrecondition): true, failed(codes.DeadlineExceeded): false,
		status.Error(codes.Unknown, "write layer.erofs: no space left on device"): false,
	} {
		ask := open(status.Code(class).String(), map[string]testdaemon.Lie{snapshots + "Commit": failing(class, 1)})
		if ok, why := ask(); ok || !strings.HasPrefix(why, "containerd does not take an image") {
			t.Errorf("%v: got %v because %q, want what the trial found", class, ok, why)
		}
		if ok, why := ask(); ok == remembered {
			t.Errorf("%v: got %v because %q the next time, want it remembered: %v", class, ok, why, remembered)
		}
	}
	dir := filepath.Join(d.Root, "io.containerd.snapshotter.v1.erofs/snapshots/1000")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "layer.erofs.dmverity"), []byte("{}"), 0o600); err != nil {
		t.Fatal(err)
	}
	if ok, why := open("verity", nil)(); ok || !strings.Contains(why, "dm-verity") {
		t.Errorf("got %v because %q beside dm-verity data, want it left to the daemon", ok, why)
	}
}
