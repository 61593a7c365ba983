package pull_test

import (
	"compress/gzip"
	"fmt"
	"io"
	"os"
	"testing"

	"github.com/containerd-pull/containerd-pull/pkg/internal/pulltest"
	"github.com/containerd-pull/containerd-pull/pkg/internal/pulltest/testregistry"
)

// BenchmarkPipeline pulls a Debian root file system and an application of npm
// packages into fresh roots: everything that happens between the registry's
// socket and the last file. B/s are those of the uncompressed layers. It
// measures the file system of TMPDIR as much as the program: use a tmpfs or a
// fresh ext4.
func BenchmarkPipeline(b *testing.B) {
	pulltest.Need(b, pulltest.Root, pulltest.Contents("debian.tar.gz", "npm.tar.gz"))
	reg := testregistry.Start(b, testregistry.Options{})
	for _, c := range []pulltest.Compression{pulltest.Gzip, pulltest.Zstd} {
		ref := testregistry.Push(b, reg, "bench/real:"+string(c), packedImage(b, c, "debian.tar.gz", "npm.tar.gz"))
		for _, p := range twoPlaces() {
			b.Run(string(c)+"/"+p.name, func(b *testing.B) {
				b.ReportAllocs()
				for b.Loop() {
					b.StopTimer()
					s := newSite(b, p)
					s.store()
					b.StartTimer()
					result := s.mustPull(ref)
					b.SetBytes(result.Unpacked)
				}
			})
		}
	}
}

// packedImage has layers of prepared files, packed as c says.
func packedImage(b *testing.B, c pulltest.Compression, names ...string) *pulltest.Image {
	b.Helper()
	var layers []pulltest.Layer
	for _, name := range names {
		layers = append(layers, pulltest.LayerFromTar(c, unzipped(b, name)))
	}
	return pulltest.NewImage(pulltest.Spec{Layers: layers})
}

func unzipped(b *testing.B, name string) []byte {
	b.Helper()
	path, err := pulltest.Content(name)
	if err != nil {
		b.Fatal(err)
	}
	f, err := os.Open(path)
	if err != nil {
		b.Fatal(err)
	}
	defer f.Close()
	r, err := gzip.NewReader(f)
	if err != nil {
		b.Fatal(err)
	}
	data, err := io.ReadAll(r)
	if err != nil {
		b.Fatal(err)
	}
	return data
}

// BenchmarkPresent pulls an image that is there already, of few layers and of many.
func BenchmarkPresent(b *testing.B) {
	reg := testregistry.Start(b, testregistry.Options{})
	for name, img := range map[string]*pulltest.Image{"few": small(b, "present", pulltest.Gzip, pulltest.Spec{}), "many": sixtyLayers()} {
		ref := testregistry.Push(b, reg, "bench/"+name+":1", img)
		for _, p := range twoPlaces() {
			b.Run(name+"/"+p.name, func(b *testing.B) {
				s := newSite(b, p)
				s.mustPull(ref)
				for b.Loop() {
					s.mustPull(ref)
				}
			})
		}
	}
}

// sixtyLayers is an image of that many small layers.
func sixtyLayers() *pulltest.Image {
	var spec pulltest.Spec
	for i := range 60 {
		spec.Layers = append(spec.Layers, pulltest.NewLayer(pulltest.Gzip, pulltest.Regular(fmt.Sprint("file", i), "text")))
	}
	return pulltest.NewImage(spec)
}
