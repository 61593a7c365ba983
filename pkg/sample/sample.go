// Package sample is a registry on loopback that holds one image, and a look
// into what that image unpacks to: what a program needs to show a pull on a
// machine without a network. cmd/quickstart is that program.
//
// It opens the part of pkg/internal/pulltest that is of use outside of tests,
// which cmd cannot import. Read there how images and the registry are made.
package sample

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"runtime"
	"slices"

	"github.com/containerd/containerd/v2/core/mount"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/containerd-pull/containerd-pull/pkg/internal/pulltest"
	"github.com/containerd-pull/containerd-pull/pkg/internal/pulltest/testregistry"
	"github.com/containerd-pull/containerd-pull/pkg/internal/pulltest/tree"
)

// imageName is the image in the registry.
const imageName = "sample/hello:latest"

// Registry serves the sample image. Close ends it.
type Registry struct {
	registry *testregistry.Registry
}

// Serve starts a registry on a free port of loopback that sends at most rate
// bytes per second and request; 0 means as many as it can.
func Serve(rate int64) (*Registry, error) {
	r, err := testregistry.New(testregistry.Options{
		Behave: func(*http.Request) testregistry.Behaviour { return testregistry.Behaviour{Rate: rate} },
	})
	if err != nil {
		return nil, fmt.Errorf("starting the registry: %w", err)
	}
	if err := r.Push(imageName, image()); err != nil {
		return nil, errors.Join(fmt.Errorf("storing the sample image: %w", err), r.Close())
	}
	return &Registry{r}, nil
}

// Host is where the registry listens, with its port.
func (r *Registry) Host() string { return r.registry.Host() }

// Ref is the full reference of the image.
func (r *Registry) Ref() string { return r.registry.Ref(imageName) }

// Close stops the registry.
func (r *Registry) Close() error { return r.registry.Close() }

// Architectures lists what the image is there for: what most registries have,
// and this machine's.
func Architectures() []string {
	arches := []string{"amd64", "arm64"}
	if !slices.Contains(arches, runtime.GOARCH) {
		arches = append(arches, runtime.GOARCH)
	}
	return arches
}

// image is an index with a child for each architecture; all of them begin with
// the same layer.
func image() *pulltest.Image {
	base := pulltest.NewLayer(pulltest.Gzip, baseFiles()...)
	arches := Architectures()
	children := make([]*pulltest.Image, 0, len(arches))
	for _, arch := range arches {
		children = append(children, imageFor(arch, base))
	}
	return pulltest.NewIndex(children...)
}

func imageFor(arch string, base pulltest.Layer) *pulltest.Image {
	spec := pulltest.Spec{
		Platform: ocispec.Platform{OS: "linux", Architecture: arch},
		Layers:   []pulltest.Layer{base},
		Command:  []string{"/usr/bin/hello"},
		Env:      []string{"PATH=/usr/bin"},
		Labels:   map[string]string{"org.opencontainers.image.title": "hello"},
	}
	for _, files := range [][]pulltest.File{programFiles(arch), settingFiles()} {
		spec.Layers = append(spec.Layers, pulltest.NewLayer(pulltest.Gzip, files...))
	}
	return pulltest.NewImage(spec)
}

// The layers have what layers are made of: files, links, and a whiteout. All
// files belong to root, so that a user namespace with a single user can hold
// them, and some do not compress, so that there is something to fetch.

func baseFiles() []pulltest.File {
	return []pulltest.File{
		pulltest.Directory("etc"), pulltest.Regular("etc/hostname", "sample\n"),
		pulltest.Directory("usr"), pulltest.Directory("usr/bin"), pulltest.Directory("usr/lib"),
		pulltest.Directory("usr/share"), pulltest.Regular("usr/share/words-1.dat", noise("words", 3<<19)),
		pulltest.Symlink("usr/share/words.dat", "words-1.dat"),
		pulltest.Directory("var"), pulltest.Regular("var/build.log", "left over from the build\n"),
	}
}

func programFiles(arch string) []pulltest.File {
	return []pulltest.File{
		pulltest.Executable("usr/bin/hello", "#!/bin/sh\necho hello from "+arch+"\n"),
		pulltest.Hardlink("usr/bin/hi", "usr/bin/hello"),
		pulltest.Regular("usr/lib/libhello.so.1", noise(arch, 1<<19)),
		pulltest.Whiteout("var/build.log"),
	}
}

func settingFiles() []pulltest.File {
	return []pulltest.File{
		pulltest.Regular("etc/hostname", "hello\n"),
		pulltest.Regular("etc/motd", "Pulled by containerd-pull, without a daemon.\n"),
	}
}

// noise is n bytes that do not compress, the same ones for the same seed.
func noise(seed string, n int) string {
	var key [32]byte
	copy(key[:], seed)
	data := make([]byte, n)
	_, _ = rand.NewChaCha8(key).Read(data) // never fails
	return string(data)
}

// Entry is one file of an unpacked tree.
type Entry = tree.Entry

// Tree lists the files that the mounts of a snapshot show, sorted by path. It
// mounts them for that, which takes root, if only that of a user namespace; a
// mere bind mount is read at its source instead.
func Tree(ctx context.Context, mounts []mount.Mount) ([]Entry, error) {
	if len(mounts) == 1 && mounts[0].Type == "bind" {
		return tree.Read(mounts[0].Source)
	}
	return tree.ReadMounted(ctx, mounts)
}
