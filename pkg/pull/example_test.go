package pull_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"runtime"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/containerd-pull/containerd-pull/pkg/internal/pulltest"
	"github.com/containerd-pull/containerd-pull/pkg/internal/pulltest/testregistry"
	"github.com/containerd-pull/containerd-pull/pkg/pull"
	"github.com/containerd-pull/containerd-pull/pkg/registry"
	"github.com/containerd-pull/containerd-pull/pkg/source"
	"github.com/containerd-pull/containerd-pull/pkg/store"
	"github.com/containerd-pull/containerd-pull/pkg/store/root"
)

// The image is fetched into a root folder, which takes no daemon. It is not
// unpacked here, since that takes root; leave Unpack out to have it unpacked.
func ExamplePuller_Pull() {
	err := withRegistry(func(dir, image string) error {
		ctx := context.Background()
		st, err := root.Open(ctx, store.Options{Root: filepath.Join(dir, "root"), Snapshotter: "native"})
		if err != nil {
			return err
		}
		defer st.Close()
		reg, err := registry.New(registry.Options{UserAgent: "example"})
		if err != nil {
			return err
		}
		ref, err := source.ParseRef(image)
		if err != nil {
			return err
		}
		p := pull.Puller{Store: st, Source: reg}
		result, err := p.Pull(ctx, pull.Request{
			Ref:    ref,
			Unpack: pull.UnpackNever,
			Labels: map[string]string{"example.com/team": "core"},
		})
		if err != nil {
			return err
		}
		fmt.Println("changed:", result.Changed)
		fmt.Println("registered what was resolved:", result.Target.Digest == result.Platforms[0].Manifest)
		return nil
	})
	fmt.Println(err)
	// Output:
	// changed: true
	// registered what was resolved: true
	// <nil>
}

// A plan says what a pull would do, and changes nothing.
func ExamplePuller_Plan() {
	err := withRegistry(func(dir, image string) error {
		ctx := context.Background()
		st, err := root.Open(ctx, store.Options{Root: filepath.Join(dir, "root"), Snapshotter: "native"})
		if err != nil {
			return err
		}
		defer st.Close()
		reg, err := registry.New(registry.Options{})
		if err != nil {
			return err
		}
		ref, err := source.ParseRef(image)
		if err != nil {
			return err
		}
		p := pull.Puller{Store: st, Source: reg}
		plan, err := p.Plan(ctx, pull.Request{Ref: ref, Platforms: []ocispec.Platform{{OS: "linux", Architecture: runtime.GOARCH}}})
		if err != nil {
			return err
		}
		for _, image := range plan.Images {
			fmt.Printf("%d layers to unpack: %v\n", len(image.Layers), image.Unpack)
		}
		fmt.Println("layers to fetch:", len(plan.Missing.Layers))
		fmt.Println("nothing to do:", plan.Missing.Nothing())
		return nil
	})
	fmt.Println(err)
	// Output:
	// 3 layers to unpack: true
	// layers to fetch: 3
	// nothing to do: false
	// <nil>
}

// withRegistry calls do with a temporary folder and with the reference of an
// image in a registry on loopback.
func withRegistry(do func(dir, image string) error) error {
	dir, err := os.MkdirTemp("", "example-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	image := pulltest.SmallImage(pulltest.Gzip)
	reg, err := testregistry.New(testregistry.Options{})
	if err != nil {
		return err
	}
	defer reg.Close()
	if err := reg.Push("team/app:1", image); err != nil {
		return err
	}
	return do(dir, reg.Ref("team/app:1"))
}
