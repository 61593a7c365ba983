package output

import (
	"bytes"
	"errors"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/containerd-pull/containerd-pull/pkg/batch"
	"github.com/containerd-pull/containerd-pull/pkg/config"
	"github.com/containerd-pull/containerd-pull/pkg/progress"
	"github.com/containerd-pull/containerd-pull/pkg/pull"
	"github.com/containerd-pull/containerd-pull/pkg/source"
)

// The forms of these samples are those that the tools wrote: docker 28.2.2
// against its containerd image store, nerdctl 2.3.5, podman, crictl and ctr
// 2.4.2, each with its output in a pipe.

const (
	debianIndex  = "sha256:3f1d6c17773a45c97bd8f158d665c9709d7b29ed7917ac934086ad96f92e4510"
	debianLayer  = "sha256:e756f3fdd6a378aa16205b0f75d178b7532b110e86be7659004fc6a21183226c"
	debianConfig = "sha256:48fe97716e3966181f17a61de06db677c9dbfdfc17a862d53d25a4de2fa812d7"
	debianChain  = "sha256:321c43651a571d3dddf63d959f7b9695ea0f189527580a6f9a3d60fd153962f0"
	otherLayer   = "sha256:64bb0415b0a1e194a91c7b2fdf50404a1e5aef69aaf39d1548b690e06fc5d4d3"
)

func newJob(t *testing.T, typed string) batch.Job {
	t.Helper()
	ref, err := source.ParseRef(typed)
	if err != nil {
		t.Fatal(err)
	}
	return batch.Job{Ref: ref, Config: new(config.Config), Typed: typed, Untagged: !strings.Contains(typed, ":")}
}

func debian(t *testing.T, typed string, changed bool) batch.Outcome {
	t.Helper()
	j := newJob(t, typed)
	return batch.Outcome{Job: j, Result: &pull.Result{
		Name: j.Ref.Name, Target: ocispec.Descriptor{MediaType: ocispec.MediaTypeImageIndex, Digest: debianIndex, Size: 8925}, Changed: changed,
		Platforms: []pull.Platform{{
			Platform: ocispec.Platform{OS: "linux", Architecture: "amd64"}, Config: debianConfig, ChainID: debianChain, Unpacked: true,
		}},
	}}
}

func TestDockerLines(t *testing.T) {
	resolved := progress.Event{Kind: progress.Resolved, Digest: debianIndex}
	layer := func(kind progress.Kind, dgst digest.Digest) progress.Event {
		e := progress.Event{Kind: kind, Digest: dgst, Blob: progress.Layer}
		if kind == progress.UnpackDone { // its kind says so already
			e.Blob = ""
		}
		return e
	}
	document := progress.Event{Kind: progress.FetchDone, Digest: debianConfig, Blob: progress.Config}
	fresh := []progress.Event{
		resolved, document, layer(progress.Planned, debianLayer), layer(progress.FetchStart, debianLayer), layer(progress.FetchProgress, debianLayer),
		layer(progress.FetchDone, debianLayer), layer(progress.UnpackStart, debianLayer), layer(progress.UnpackDone, debianLayer),
	}
	for _, tc := range []struct {
		name    string
		typed   string
		events  []progress.Event
		changed bool
		want    string
	}{
		{"fresh", "debian", fresh, true, `Using default tag: latest
latest: Pulling from library/debian
e756f3fdd6a3: Pulling fs layer
e756f3fdd6a3: Download complete
e756f3fdd6a3: Pull complete
Digest: ` + debianIndex + `
Status: Downloaded newer image for debian:latest
docker.io/library/debian:latest
`},
		{"up to date", "debian:latest", []progress.Event{resolved, layer(progress.Present, debianLayer), layer(progress.Present, otherLayer)}, false, `latest: Pulling from library/debian
Digest: ` + debianIndex + `
Status: Image is up to date for debian:latest
docker.io/library/debian:latest
`},
		{"no registry asked", "debian:12", nil, false, `12: Pulling from library/debian
Digest: ` + debianIndex + `
Status: Image is up to date for debian:12
docker.io/library/debian:12
`},
		{"some there", "registry.example.com/lib/app:v1", append([]progress.Event{layer(progress.Present, otherLayer)}, fresh...), true, `v1: Pulling from lib/app
64bb0415b0a1: Already exists
e756f3fdd6a3: Pulling fs layer
e756f3fdd6a3: Download complete
e756f3fdd6a3: Pull complete
Digest: ` + debianIndex + `
Status: Downloaded newer image for registry.example.com/lib/app:v1
registry.example.com/lib/app:v1
`},
		{"there, and unpacked anew", "debian:latest", []progress.Event{resolved, layer(progress.Present, debianLayer), layer(progress.UnpackDone, debianLayer)}, false, `latest: Pulling from library/debian
e756f3fdd6a3: Already exists
e756f3fdd6a3: Pull complete
Digest: ` + debianIndex + `
Status: Image is up to date for debian:latest
docker.io/library/debian:latest
`},
		{"stages that were not reported, or twice", "debian:latest", []progress.Event{
			resolved, layer(progress.UnpackDone, debianLayer), layer(progress.FetchDone, debianLayer), layer(progress.FetchStart, debianLayer), layer(progress.Present, debianLayer),
		}, true, `latest: Pulling from library/debian
e756f3fdd6a3: Pulling fs layer
e756f3fdd6a3: Download complete
e756f3fdd6a3: Pull complete
Digest: ` + debianIndex + `
Status: Downloaded newer image for debian:latest
docker.io/library/debian:latest
`},
		{"by digest", "ubuntu@" + debianIndex, []progress.Event{resolved}, false, `docker.io/library/ubuntu@` + debianIndex + `: Pulling from library/ubuntu
Digest: ` + debianIndex + `
Status: Image is up to date for ubuntu@` + debianIndex + `
docker.io/library/ubuntu@` + debianIndex + `
`},
		{"by tag and digest", "ubuntu:24.04@" + debianIndex, []progress.Event{resolved}, true, `docker.io/library/ubuntu@` + debianIndex + `: Pulling from library/ubuntu
Digest: ` + debianIndex + `
Status: Downloaded newer image for ubuntu@` + debianIndex + `
docker.io/library/ubuntu:24.04@` + debianIndex + `
`},
	} {
		for _, live := range []bool{true, false} {
			var stdout bytes.Buffer
			one := debian(t, tc.typed, tc.changed)
			d := newDockerPull(&stdout, []batch.Job{one.Job}, live)
			for _, e := range tc.events {
				e.Ref = one.Ref.Name
				d.event(e)
				d.event(progress.Event{Kind: progress.FetchStart, Blob: progress.Layer, Ref: "another.example/image:latest", Digest: debianChain})
			}
			if err := d.close([]batch.Outcome{one}); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tc.want, stdout.String()); diff != "" {
				t.Errorf("%s, live %v (-want +got):\n%s", tc.name, live, diff)
			}
		}
	}
}

// TestDockerLinesComeAtOnce: lines are written while the pull runs, and a slow
// reader does not hold up the pull.
func TestDockerLinesComeAtOnce(t *testing.T) {
	lines := make(chan string)
	one := debian(t, "debian", true)
	d := newDockerPull(writerFunc(func(p []byte) (int, error) { lines <- string(p); return len(p), nil }), []batch.Job{one.Job}, true)
	for range 3 {
		d.event(progress.Event{Kind: progress.FetchStart, Blob: progress.Layer, Ref: one.Ref.Name, Digest: debianLayer})
	}
	got := <-lines
	if !strings.Contains(got, "Pulling fs layer") {
		got += <-lines
	}
	if want := "Using default tag: latest\nlatest: Pulling from library/debian\ne756f3fdd6a3: Pulling fs layer\n"; got != want {
		t.Errorf("got %q before the end, want %q", got, want)
	}
	go func() {
		for range lines {
		}
	}()
	if err := d.close([]batch.Outcome{one}); err != nil {
		t.Fatal(err)
	}
	close(lines)
}

type writerFunc func([]byte) (int, error)

func (f writerFunc) Write(p []byte) (int, error) { return f(p) }

// nerdctlApp is the image of the sample, fetched or there already.
func nerdctlApp(t *testing.T, there bool) batch.Outcome {
	t.Helper()
	const (
		index    = "sha256:f82683f0949692806251e0b726934ec70fb6cc988ea72e0d9ae114fae329bc6a"
		manifest = "sha256:05a886469647b4a349f3c4a4b8b1a7d3bd2d0d8b6ad6d6b1f6e6f1a8c7ab1c2d"
		cfg      = "sha256:b5b64866ff2712b8e05dcd0475a153e9418516ce05842eae6d51d16aa753d660"
		layer    = "sha256:826be71e789f6999c8a5ee2ac8d5b63a5e3ac0e8a6c5f6c2b5a3df1a0b1c2d3e"
	)
	l := ocispec.Descriptor{MediaType: ocispec.MediaTypeImageLayerGzip, Digest: layer}
	j := newJob(t, "registry.example.com/lib/app:v1")
	o := batch.Outcome{Job: j, Result: &pull.Result{
		Name: j.Ref.Name, Target: ocispec.Descriptor{MediaType: ocispec.MediaTypeImageIndex, Digest: index}, Changed: !there,
		Platforms: []pull.Platform{{Manifest: manifest, Config: cfg, Layers: []ocispec.Descriptor{l, l}}},
		Fetched:   62_900_000, Duration: 889 * time.Millisecond,
	}}
	if there {
		o.Result.Fetched, o.Result.Reused, o.Result.Duration = 500, 62_899_500, 361*time.Millisecond
		o.Observed.Fetched = map[digest.Digest]bool{index: true} // the target, which is asked for in any case
		return o
	}
	o.Observed.Fetched = map[digest.Digest]bool{index: true, manifest: true, cfg: true, layer: true}
	o.Observed.Unpacked = map[digest.Digest]bool{layer: true}
	return o
}

func TestNerdctlFrame(t *testing.T) {
	bar := "|" + strings.Repeat("+", 38) + "|"
	for _, tc := range []struct {
		there bool
		want  string
	}{
		{false, "registry.example.com/lib/app:v1\tsaved\t\n" +
			"└──index-sha256:f82683f0949692806251e0b7\tcomplete   \t" + bar + "\t\n" +
			"   └──manifest-sha256:05a886469647b4a349\tcomplete   \t" + bar + "\t\n" +
			"      ├──config-sha256:b5b64866ff2712b8e\tcomplete   \t" + bar + "\t\n" +
			"      └──layer-sha256:826be71e789f6999c8\textracted  \t" + bar + "\t\n" +
			"application/vnd.oci.image.index.v1+json sha256:f82683f0949692806251e0b726934ec70fb6cc988ea72e0d9ae114fae329bc6a\n" +
			"Completed pull from OCI Registry (registry.example.com/lib/app:v1)\telapsed: 0.9 s\ttotal:  60.0 M\t(67.5 MiB/s)\t\n"},
		{true, "registry.example.com/lib/app:v1\tsaved\t\n" +
			"└──index-sha256:f82683f0949692806251e0b726934ec70fb6cc988ea72e0d9ae114fae329bc6a\talready exists\t\n" +
			"   └──manifest-sha256:05a886469647b4a349f3c4a4b8b1a7d3bd2d0d8b6ad6d6b1f6e6f1a8c7ab1c2d\talready exists\t\n" +
			"      ├──config-sha256:b5b64866ff2712b8e05dcd0475a153e9418516ce05842eae6d51d16aa753d660\talready exists\t\n" +
			"      └──layer-sha256:826be71e789f6999c8a5ee2ac8d5b63a5e3ac0e8a6c5f6c2b5a3df1a0b1c2d3e\talready exists\t\n" +
			"application/vnd.oci.image.index.v1+json sha256:f82683f0949692806251e0b726934ec70fb6cc988ea72e0d9ae114fae329bc6a\n" +
			"Pulling from OCI Registry (registry.example.com/lib/app:v1)\telapsed: 0.4 s\ttotal:  60.0 M\t(166.2 MiB/s)\t\n"},
	} {
		var stdout bytes.Buffer
		frameOf(nerdctlApp(t, tc.there)).write(&stdout)
		if diff := cmp.Diff(tc.want, stdout.String()); diff != "" {
			t.Errorf("there %v (-want +got):\n%s", tc.there, diff)
		}
	}
}

// Several platforms, and an image without an index.
func TestNerdctlTree(t *testing.T) {
	o := nerdctlApp(t, true)
	o.Result.Platforms = append(o.Result.Platforms, pull.Platform{Manifest: debianIndex, Config: debianConfig})
	var stdout bytes.Buffer
	frameOf(o).write(&stdout)
	for _, want := range []string{"   ├──manifest-sha256:05a8", "   │  ├──config-sha256:b5b6", "   └──manifest-sha256:3f1d", "      └──config-sha256:48fe"} {
		if !strings.Contains(stdout.String(), "\n"+want) {
			t.Errorf("got %s, want a line that begins with %q", &stdout, want)
		}
	}
	o.Result.Target = ocispec.Descriptor{MediaType: ocispec.MediaTypeImageManifest, Digest: debianIndex}
	o.Result.Platforms = o.Result.Platforms[1:]
	if got := frameOf(o).nodes; len(got) != 1 || got[0].name != "manifest-"+debianIndex || len(got[0].children) != 1 {
		t.Errorf("tree of a manifest: got %v, want the manifest and its config", got)
	}
}

func TestBinarySize(t *testing.T) {
	for n, want := range map[float64]string{0: "0.0 B", 1023: "1023.0 B", 1024: "1.0 KiB", 1 << 20: "1.0 MiB", 62_900_000: "60.0 MiB", 1 << 60: "1024.0 PiB"} {
		if got := binarySize(n); got != want {
			t.Errorf("%v bytes: got %q, want %q", n, got, want)
		}
	}
}

// TestLines are the styles and pieces that are a line of each image.
func TestLines(t *testing.T) {
	several := debian(t, "debian", true)
	several.Result.Platforms = append([]pull.Platform{{Platform: ocispec.Platform{OS: "plan9", Architecture: "mips"}, Config: debianLayer}}, several.Result.Platforms...)
	several.Result.Platforms[1].Platform = ocispec.Platform{OS: "linux", Architecture: runtime.GOARCH}
	failed := debian(t, "debian", false)
	failed.Result, failed.Err = nil, errors.New("x")
	for _, tc := range []struct {
		name string
		cfg  config.Config
		all  []batch.Outcome
		want string
	}{
		{"plain", config.Config{}, []batch.Outcome{debian(t, "debian", true), failed, debian(t, "app:v1@"+debianIndex, true)}, "docker.io/library/debian:latest\ndocker.io/library/app:v1\n"},
		{"podman", config.Config{OutputStyle: "podman"}, []batch.Outcome{debian(t, "debian", true), failed}, debianConfig[7:] + "\n"},
		{"podman, several platforms", config.Config{OutputStyle: "podman", Quiet: true}, []batch.Outcome{several}, debianConfig[7:] + "\n"},
		{"crictl", config.Config{OutputStyle: "crictl"}, []batch.Outcome{debian(t, "debian", true)}, "Image is up to date for " + debianConfig + "\n"},
		{"docker, quietly", config.Config{OutputStyle: "docker", Quiet: true}, []batch.Outcome{debian(t, "ubuntu@"+debianIndex, true)}, "docker.io/library/ubuntu@" + debianIndex + "\n"},
		{"nerdctl, quietly", config.Config{OutputStyle: "nerdctl", Quiet: true}, []batch.Outcome{debian(t, "debian", true)}, ""},
		{"ctr", config.Config{PrintChainID: true}, []batch.Outcome{several}, "image chain ID: " + debianChain + "\n"},
		{"pieces", config.Config{Print: []string{"digest", "repodigest", "ref"}}, []batch.Outcome{several}, debianIndex + "\ndocker.io/library/debian@" + debianIndex + "\ndocker.io/library/debian:latest\n"},
		{"pieces of each platform", config.Config{Print: []string{"id", "chainid"}}, []batch.Outcome{several}, debianLayer + "\n" + debianConfig + "\n" + debianChain + "\n"},
	} {
		var stdout bytes.Buffer
		out, err := NewPull(Options{Out: &stdout, Config: &tc.cfg, Jobs: []batch.Job{tc.all[0].Job}})
		if err != nil {
			t.Fatal(err)
		}
		if err := out.Write(tc.all); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(tc.want, stdout.String()); diff != "" {
			t.Errorf("%s (-want +got):\n%s", tc.name, diff)
		}
	}
}
