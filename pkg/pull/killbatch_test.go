package pull_test

import (
	"fmt"
	"math/rand/v2"
	"os"
	"syscall"
	"testing"

	"github.com/opencontainers/go-digest"

	"github.com/containerd-pull/containerd-pull/pkg/internal/pulltest"
	"github.com/containerd-pull/containerd-pull/pkg/internal/pulltest/testregistry"
)

// aTeam is 20 images that share two bases and four layers in between, and how many
// bytes their blobs have, each once.
func aTeam() (images []*pulltest.Image, bytes int64) {
	noisy := func(name string, size int) pulltest.Layer {
		noise := make([]byte, size)
		rand.NewChaCha8([32]byte([]byte(fmt.Sprintf("%-32s", name)))).Read(noise) // never fails
		return pulltest.NewLayer(pulltest.Gzip, pulltest.Regular(name, string(noise)))
	}
	seen := map[digest.Digest]bool{}
	for i := range 20 {
		img := pulltest.NewImage(pulltest.Spec{Layers: []pulltest.Layer{
			noisy(fmt.Sprint("base", i%2), 6<<20), noisy(fmt.Sprint("team", i%4), 3<<20), noisy(fmt.Sprint("app", i), 150<<10),
		}})
		for _, b := range img.Blobs() {
			if !seen[b.Digest] {
				bytes += b.Size
			}
			seen[b.Digest] = true
		}
		images = append(images, img)
	}
	return images, bytes
}

// TestKillBatch kills and interrupts a call of 20 images when some of the bytes have
// come. The next call fetches the rest, and in the end little came twice.
func TestKillBatch(t *testing.T) {
	pulltest.Need(t, pulltest.Root)
	program := build(t)
	images, bytes := aTeam()
	each(t, twoPlaces(), func(t *testing.T, s *site) {
		random := dice(t)
		reg := testregistry.Start(t, testregistry.Options{Behave: slowly(killRate)})
		var refs []string
		for i, img := range images {
			refs = append(refs, testregistry.Push(t, reg, fmt.Sprintf("team/app:%d", i), img))
		}
		for i, with := range []os.Signal{syscall.SIGKILL, syscall.SIGINT, syscall.SIGKILL} {
			at := bytes/4*int64(i) + random.Int64N(bytes/4)
			c := s.command(program, refs[0], refs[1:]...)
			s.waitFor(func() bool { return reg.BlobBytes() >= at })
			if err := c.Process.Signal(with); err != nil {
				t.Fatal(err)
			}
			if code, want := c.code(t), map[os.Signal]int{syscall.SIGKILL: -1, syscall.SIGINT: 130}[with]; code != want {
				t.Fatalf("got exit code %d after %v, want %d: %s", code, with, want, &c.stderr)
			}
		}
		if c := s.command(program, refs[0], refs[1:]...); c.code(t) != 0 {
			t.Fatalf("got %v from the last call: %s", c.ProcessState, &c.stderr)
		}
		if got, most := reg.BlobBytes(), bytes*11/10; got > most {
			t.Errorf("got %d bytes served for %d, want at most %d", got, bytes, most)
		}
		s.wantChains(images)
		s.noLitter()
	})
}
