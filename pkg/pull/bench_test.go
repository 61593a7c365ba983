package pull_test

import (
	"testing"

	"github.com/containerd-pull/containerd-pull/pkg/internal/pulltest"
)

// BenchmarkPipeline pulls a Debian root file system and an application of npm
// packages into fresh roots: everything that happens between the registry's
// socket and the last file. B/s are those of the compressed layers. It measures the file system of TMPDIR as much as the
// program: use a tmpfs or a fresh ext4.
func BenchmarkPipeline(b *testing.B) {
	pulltest.Need(b, pulltest.Root, pulltest.Contents("debian.tar.gz", "npm.tar.gz"))
	reg := pulltest.StartRegistry(b, pulltest.RegistryOptions{})
	ref := pulltest.Push(b, reg, "bench/real:1", pulltest.Must(pulltest.RealImage())(b))
	for _, p := range twoPlaces() {
		b.Run(p.name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				b.StopTimer()
				s := newSite(b, p)
				s.store()
				b.StartTimer()
				result := s.mustPull(ref)
				b.SetBytes(result.Fetched)
			}
		})
	}
}
