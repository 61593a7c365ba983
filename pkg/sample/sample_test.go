package sample_test

import (
	"encoding/json"
	"net/http"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/containerd-pull/containerd-pull/pkg/sample"
)

// The reference leads to an index with an image for this machine.
func TestServe(t *testing.T) {
	r, err := sample.Serve(0)
	if err != nil {
		t.Fatalf("serving the sample: %v", err)
	}
	t.Cleanup(func() { r.Close() })
	repository, tag, _ := strings.Cut(strings.TrimPrefix(r.Ref(), r.Host()+"/"), ":")
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+r.Host()+"/v2/"+repository+"/manifests/"+tag, nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatalf("asking for %s: %v", r.Ref(), err)
	}
	defer resp.Body.Close()
	var index ocispec.Index
	if err := json.NewDecoder(resp.Body).Decode(&index); err != nil {
		t.Fatalf("decoding the index: %v", err)
	}
	var got []string
	digests := map[digest.Digest]bool{}
	for _, desc := range index.Manifests {
		got = append(got, desc.Platform.Architecture)
		digests[desc.Digest] = true
	}
	if !slices.Equal(got, sample.Architectures()) || !slices.Contains(got, runtime.GOARCH) {
		t.Errorf("got architectures %q, want %q with %s", got, sample.Architectures(), runtime.GOARCH)
	}
	if len(digests) != len(got) {
		t.Errorf("got %d different images, want %d", len(digests), len(got))
	}
}
