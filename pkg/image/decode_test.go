package image_test

import (
	"encoding/json"
	"runtime"
	"strings"
	"testing"

	"github.com/containerd/errdefs"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/containerd-pull/containerd-pull/pkg/image"
)

// bombs are documents of 4 MiB that would become many times as much.
func bombs() map[string]string {
	many := func(s string) string { return strings.Repeat(s+",", (4<<20)/(len(s)+1)) }
	return map[string]string{
		"layers":      `{"layers":[` + many(`{}`) + `{}]}`,
		"manifests":   `{"manifests":[` + many(`{}`) + `{}]}`,
		"platforms":   `{"manifests":[` + many(`{"platform":{}}`) + `{}]}`,
		"annotations": `{"annotations":{` + many(`"\"":""`) + `"a":""}}`,
		"diff IDs":    `{"rootfs":{"diff_ids":[` + many(`""`) + `""]}}`,
		"urls":        `{"config":{"urls":[` + many(`""`) + `""]}}`,
		"features":    `{"os.features":[` + many(`""`) + `""]}`,
		"unclosed":    `{"layers":[` + many(`{}`),
		"deep":        strings.Repeat("[", 4<<20),
	}
}

// TestM2DocumentsAreCountedFirst refuses what holds too much before it is decoded.
func TestM2DocumentsAreCountedFirst(t *testing.T) {
	for name, body := range bombs() {
		for _, into := range []any{&ocispec.Manifest{}, &ocispec.Index{}, &image.Config{}} {
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			err := image.Parse(manifest("m"), []byte(body), into)
			runtime.ReadMemStats(&after)
			if took := after.TotalAlloc - before.TotalAlloc; !errdefs.IsInvalidArgument(err) || took > 16<<20 {
				t.Errorf("%s into %T: got %.200v and %d bytes of memory, want an invalid argument and little of it", name, into, err, took)
			}
		}
	}
}

// TestM2LargeDocumentsAreDecoded takes an index as large as it may be, with all
// that descriptors are written with.
func TestM2LargeDocumentsAreDecoded(t *testing.T) {
	var index ocispec.Index
	for range image.MaxDescriptors {
		desc := manifest(`text with "quotes", a \ and {brackets]`)
		desc.Annotations = map[string]string{`one "`: `{,\`, "two": "[,]"}
		desc.Platform = &ocispec.Platform{OS: "linux", Architecture: "arm", Variant: "v7", OSFeatures: []string{"a", "b"}}
		index.Manifests = append(index.Manifests, desc)
	}
	body, err := json.Marshal(index)
	if err != nil {
		t.Fatal(err)
	}
	if err := image.Parse(manifest("i"), body, &ocispec.Index{}); err != nil {
		t.Errorf("got %v of an index of %d descriptors", err, image.MaxDescriptors)
	}
}
