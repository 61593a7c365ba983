package pull_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/containerd/errdefs"

	"github.com/containerd-pull/containerd-pull/pkg/failure"
	"github.com/containerd-pull/containerd-pull/pkg/internal/pulltest"
	"github.com/containerd-pull/containerd-pull/pkg/internal/pulltest/testregistry"
	"github.com/containerd-pull/containerd-pull/pkg/pull"
	"github.com/containerd-pull/containerd-pull/pkg/store"
)

// lowest watches a file system and returns the least that was free.
func lowest(t *testing.T, dir string) func() int64 {
	t.Helper()
	least := freeSpace(t, dir)
	ctx, stop := context.WithCancel(t.Context())
	var watching sync.WaitGroup
	watching.Go(func() {
		for ctx.Err() == nil {
			least = min(least, freeSpace(t, dir))
			time.Sleep(200 * time.Microsecond)
		}
	})
	return func() int64 {
		stop()
		watching.Wait()
		return least
	}
}

func randomText(seed string, n int) string {
	p := make([]byte, n)
	rand.NewChaCha8(sha256.Sum256([]byte(seed))).Read(p) // never fails
	return string(p)
}

// TestReserve: whether it is foretold or found out under way, a pull never takes
// what is to stay free, and one that would have to leaves nothing.
func TestReserve(t *testing.T) {
	const size = 48 << 20
	for _, tc := range []struct {
		name    string
		file    pulltest.File
		reserve store.Reserve
		told    bool // before anything is fetched
		fits    bool
	}{
		{"fits", pulltest.Regular("f", randomText("fits", 4<<20)), store.Reserve{Bytes: 24 << 20}, false, true},
		{"fits in percent", pulltest.Regular("f", randomText("part", 4<<20)), store.Reserve{Percent: 50}, false, true},
		{"foretold", pulltest.Regular("f", randomText("told", 6<<20)), store.Reserve{Bytes: 40 << 20}, true, false},
		{"foretold in percent", pulltest.Regular("f", randomText("told too", 6<<20)), store.Reserve{Percent: 90}, true, false},
		{"unpacks to more", pulltest.Regular("f", strings.Repeat("0", 30<<20)), store.Reserve{Bytes: 20 << 20}, false, false},
	} {
		for _, engine := range []pull.Engine{pull.EngineAuto, pull.EngineDaemon} {
			t.Run(fmt.Sprintf("%s, %s", tc.name, engine), func(t *testing.T) {
				each(t, []place{{name: "embedded", snapshotter: "overlayfs"}, {name: "native", snapshotter: "native"}, {name: "2.4", snapshotter: "overlayfs", version: "2.4"}}, func(t *testing.T, s *site) {
					if engine == pull.EngineDaemon && s.version == "" {
						return
					}
					s, dir := diskSite(t, s.place, wholeRoot, fmt.Sprintf("size=%d", size))
					reg := testregistry.Start(t, testregistry.Options{})
					img := pulltest.NewImage(pulltest.Spec{Layers: []pulltest.Layer{pulltest.NewLayer(pulltest.Gzip, tc.file)}})
					ref := testregistry.Push(t, reg, "team/app:1", img)
					s.limits.Reserve = tc.reserve
					s.store()
					least := lowest(t, dir)
					_, err := s.pull(ref, withEngine(engine))
					want := max(tc.reserve.Bytes, int64(tc.reserve.Percent/100*size))
					if got := least(); got < want {
						t.Errorf("got %d bytes free at the least, want %d", got, want)
					}
					if tc.fits {
						if err != nil {
							t.Error(err)
						}
						return
					}
					wantRefused(t, s, err, ref)
					if gets := reg.BlobGets()[img.Layers[0].Digest]; (gets == 0) != tc.told {
						t.Errorf("got %d requests for the layer, want none: %v", gets, tc.told)
					}
					s.empty()
				})
			})
		}
	}
}

// wantRefused wants the error of a disk that is too full for the reserve.
func wantRefused(t *testing.T, s *site, err error, ref string) {
	t.Helper()
	if !errors.Is(err, syscall.ENOSPC) || !strings.Contains(err.Error(), "are to stay free") || !strings.Contains(err.Error(), s.root) || failure.HintOf(err) == "" {
		t.Errorf("got %v with hint %q, want one that names the file system, what is free and what is to stay free", err, failure.HintOf(err))
	}
	if s.image(ref) != nil {
		t.Error("got a record, want none")
	}
	s.noLitter()
}

// TestReserveBesideAnotherWriter: what another process takes while the pull waits
// for bytes counts.
func TestReserveBesideAnotherWriter(t *testing.T) {
	each(t, twoPlaces(), func(t *testing.T, s *site) {
		s, dir := diskSite(t, s.place, wholeRoot, "size=64m")
		reg := testregistry.Start(t, testregistry.Options{})
		img := pulltest.NewImage(pulltest.Spec{Layers: []pulltest.Layer{pulltest.NewLayer(pulltest.Uncompressed, pulltest.Regular("f", randomText("other", 12<<20)))}})
		ref := testregistry.Push(t, reg, "team/app:1", img)
		s.limits.Reserve = store.Reserve{Bytes: 16 << 20}
		taken := filepath.Join(dir, "taken")
		begun, goOn := make(chan struct{}), make(chan struct{})
		reg.SetBehave(onBlob(img.Layers[0].Digest, testregistry.Behaviour{Handler: heldBack(t, img.Layers[0].Blob, 1<<20, begun, goOn)}))
		done := make(chan error, 1)
		go func() {
			defer close(goOn)
			<-begun
			left := freeSpace(t, dir) - 18<<20
			done <- os.WriteFile(taken, make([]byte, left), 0o600)
		}()
		least := lowest(t, dir)
		_, err := s.pull(ref)
		if err := errors.Join(<-done, os.Remove(taken)); err != nil {
			t.Fatal(err)
		}
		wantRefused(t, s, err, ref)
		if got := least(); got < 15<<20 { // what was on its way when the other wrote
			t.Errorf("got %d bytes free at the least, want 16 MiB", got)
		}
		s.empty()
	})
}

// heldBack serves a blob, and closes begun and waits for goOn once it has served so
// many bytes of it.
func heldBack(t *testing.T, b pulltest.Blob, first int64, begun chan<- struct{}, goOn <-chan struct{}) http.Handler {
	t.Helper()
	var once sync.Once
	data, err := b.Bytes()
	if err != nil {
		t.Fatal(err)
	}
	return http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		http.ServeContent(w, req, "", time.Time{}, &gate{ReadSeeker: bytes.NewReader(data), from: first, wait: func() {
			once.Do(func() { close(begun) })
			select {
			case <-goOn:
			case <-req.Context().Done():
			}
		}})
	})
}

// gate calls wait before each read from its offset on.
type gate struct {
	io.ReadSeeker
	from int64
	wait func()
}

func (g *gate) Read(p []byte) (int, error) {
	if at, err := g.Seek(0, io.SeekCurrent); err != nil || at >= g.from {
		g.wait()
	}
	return g.ReadSeeker.Read(p[:min(len(p), 32<<10)])
}

// TestReserveThatCannotBeKept is refused, unless nothing is written where it could
// not be.
func TestReserveThatCannotBeKept(t *testing.T) {
	s := newSite(t, places()[0])
	ref := testregistry.Push(t, testregistry.Start(t, testregistry.Options{}), "team/app:1", small(t, "blind", pulltest.Gzip, pulltest.Spec{}))
	s.limits.Reserve = store.Reserve{Percent: 1}
	s.store().Name = "btrfs" // whose files are not plain folders
	if _, err := s.pull(ref); !errdefs.IsFailedPrecondition(err) || !strings.Contains(err.Error(), "--reserve cannot be kept") {
		t.Errorf("got %v, want that the reserve cannot be kept", err)
	}
	s.noLitter()
	s.mustPull(ref, func(r *pull.Request) { r.Unpack = pull.UnpackNever })
}
