package pull_test

import (
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/containerd-pull/containerd-pull/pkg/internal/pulltest"
	"github.com/containerd-pull/containerd-pull/pkg/internal/pulltest/testregistry"
	"github.com/containerd-pull/containerd-pull/pkg/pull"
	"github.com/containerd-pull/containerd-pull/pkg/registry"
	"github.com/containerd-pull/containerd-pull/pkg/registry/hosts"
	"github.com/containerd-pull/containerd-pull/pkg/source"
	"github.com/containerd-pull/containerd-pull/pkg/store"
	"github.com/containerd-pull/containerd-pull/pkg/store/root"
)

// documentNames stand in a fuzzed document for the digests and sizes of the
// others, which no fuzzer would find.
func documentNames(child, config []byte) *strings.Replacer {
	return strings.NewReplacer(
		"CHILD", digest.FromBytes(child).String(), "1111", strconv.Itoa(len(child)),
		"CONFIG", digest.FromBytes(config).String(), "2222", strconv.Itoa(len(config)))
}

// FuzzPlan walks any documents that a registry may serve: what a tag points to,
// a manifest or index below it, and a config. Either there is a plan that can be
// carried out, or an error with a class that blames the image, soon.
func FuzzPlan(f *testing.F) {
	pulltest.Need(f, pulltest.Root)
	const (
		manifest = `{"schemaVersion":2,"config":{"mediaType":"application/vnd.oci.image.config.v1+json","digest":"CONFIG","size":2222},"layers":[{"mediaType":"application/vnd.oci.image.layer.v1.tar+gzip","digest":"CHILD","size":1111}]}`
		index    = `{"schemaVersion":2,"manifests":[{"mediaType":"application/vnd.oci.image.manifest.v1+json","digest":"CHILD","size":1111,"platform":{"os":"linux","architecture":"amd64"}}]}`
		nested   = `{"schemaVersion":2,"manifests":[{"mediaType":"application/vnd.oci.image.index.v1+json","digest":"CHILD","size":1111},{"mediaType":"application/vnd.oci.image.index.v1+json","digest":"CHILD","size":1111}]}`
		config   = `{"os":"linux","architecture":"amd64","rootfs":{"type":"layers","diff_ids":["sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"]}}`
	)
	f.Add(manifest, "", config, false)
	f.Add(index, manifest, config, false)
	f.Add(nested, index, config, true)
	f.Add(`{"schemaVersion":2,"config":{},"layers":[],"manifests":[]}`, "", "", true)
	f.Add(`{"schemaVersion":1,"fsLayers":[]}`, "", "", false)
	f.Add(strings.Replace(manifest, `"size":1111`, `"size":-1`, 1), "", config, false)
	f.Add(strings.Replace(manifest, "CHILD", "sha256:../../etc/passwd", 1), "", config, false)
	f.Add(manifest, "", "this is no JSON", false)
	f.Add(manifest, "", `{"os":"linux","architecture":"amd64","rootfs":{"type":"squashed","diff_ids":["x"]}}`, true)
	f.Add(manifest, "", `{"os":"linux","architecture":"amd64","rootfs":{"type":"layers","diff_ids":[]}}`, true)
	f.Add(index, strings.Replace(manifest, `"layers"`, `"manifests"`, 1), config, true)
	s, err := root.Open(f.Context(), store.Options{Root: f.TempDir()})
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(func() { s.Close() })
	reg := testregistry.Start(f, testregistry.Options{})
	f.Fuzz(func(t *testing.T, top, child, config string, all bool) {
		names := documentNames([]byte(""), []byte(config))
		child = names.Replace(child)
		top = documentNames([]byte(child), []byte(config)).Replace(top)
		reg.SetBehave(serving(top, child, config))
		client, err := registry.New(registry.Options{
			Hosts: hosts.Options{PlainHTTP: true}, StallTimeout: 2 * time.Second, Retry: registry.Retry{Count: -1},
		})
		if err != nil {
			t.Fatal(err)
		}
		puller := &pull.Puller{Store: s, Source: client}
		start := time.Now()
		ref, err := source.ParseRef(reg.Ref("team/app:1"))
		if err != nil {
			t.Fatal(err)
		}
		plan, err := puller.Plan(t.Context(), pull.Request{Ref: ref, AllPlatforms: all})
		if took := time.Since(start); took > 10*time.Second {
			t.Errorf("got an end after %s, want it soon", took)
		}
		if code := exitCode(err); err != nil && code != 4 && code != 8 && code != 9 {
			t.Errorf("got code %d: %v, want a class that blames the image", code, err)
		}
		if err == nil {
			feasible(t, plan)
		}
	})
}

// serving answers with the first document for a tag, and with the others for
// their digests.
func serving(top string, below ...string) testregistry.Behave {
	// Each call has connections of its own, which must not add up.
	gone := testregistry.Behaviour{Status: http.StatusNotFound, Header: http.Header{"Connection": {"close"}}}
	return func(r *http.Request) testregistry.Behaviour {
		for _, text := range append(below, top) {
			if strings.HasSuffix(r.URL.Path, "/"+digest.FromString(text).String()) {
				return said(text)
			}
		}
		if strings.HasSuffix(r.URL.Path, "/manifests/1") {
			return said(top)
		}
		return gone
	}
}

func said(text string) testregistry.Behaviour {
	return testregistry.Behaviour{Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/octet-stream")
		w.Header().Set("Connection", "close")
		fmt.Fprint(w, text) // fails only for a client that has gone
	})}
}

// feasible wants a plan to name only what can be a blob, and as many diff IDs as
// layers to unpack.
func feasible(t *testing.T, plan *pull.Plan) {
	t.Helper()
	for _, image := range plan.Images {
		for _, desc := range append(image.Layers, image.Manifest, image.Config) {
			if err := source.ValidDigest(desc.Digest); err != nil || desc.Size < 0 {
				t.Errorf("got %v of %d bytes in the plan (%v), want what may be a blob", desc.Digest, desc.Size, err)
			}
		}
		if image.Unpack && len(image.Layers) != len(image.DiffIDs) {
			t.Errorf("got %d diff IDs of %d layers in the plan, want as many", len(image.DiffIDs), len(image.Layers))
		}
	}
}
