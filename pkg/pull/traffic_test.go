package pull_test

import (
	"crypto/sha256"
	"fmt"
	"math/rand/v2"
	"net/http"
	"strings"
	"sync"
	"testing"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/containerd-pull/containerd-pull/pkg/internal/pulltest"
	"github.com/containerd-pull/containerd-pull/pkg/internal/pulltest/testregistry"
	"github.com/containerd-pull/containerd-pull/pkg/progress"
	"github.com/containerd-pull/containerd-pull/pkg/pull"
)

// trafficImages are images that share layers among each other, among their
// platforms, and within one manifest.
func trafficImages(r *rand.Rand) []*pulltest.Image {
	var pool []pulltest.Layer
	for i := range 6 {
		c := []pulltest.Compression{pulltest.Gzip, pulltest.Uncompressed, pulltest.Zstd}[i%3]
		pool = append(pool, pulltest.NewLayer(c, pulltest.Regular(fmt.Sprintf("file%d", i), strings.Repeat(fmt.Sprint(r.Uint64()), 1+r.IntN(400)))))
	}
	var all []*pulltest.Image
	for range 4 {
		var platforms []*pulltest.Image
		for _, arch := range []string{"amd64", "arm64", "riscv64"} {
			spec := pulltest.Spec{Platform: ocispec.Platform{OS: "linux", Architecture: arch}, Env: []string{fmt.Sprint("SEED=", r.Uint64())}}
			for range 1 + r.IntN(5) {
				spec.Layers = append(spec.Layers, pool[r.IntN(len(pool))])
			}
			platforms = append(platforms, pulltest.NewImage(spec))
		}
		all = append(all, pulltest.NewIndex(platforms...))
	}
	return all
}

// distinct adds the sizes of everything that a pull of img wants: the documents
// of all platforms, unless metadata is skipped, and the layers of those chosen.
func distinct(img *pulltest.Image, req pull.Request, result *pull.Result) map[digest.Digest]int64 {
	chosen := map[digest.Digest]bool{}
	for _, p := range result.Platforms {
		chosen[p.Manifest] = true
	}
	sizes := map[digest.Digest]int64{img.Desc.Digest: img.Desc.Size}
	for _, child := range img.Children {
		if chosen[child.Desc.Digest] || !req.SkipMetadata {
			sizes[child.Desc.Digest], sizes[child.Config.Digest] = child.Desc.Size, child.Config.Size
		}
		for _, l := range child.Layers {
			if chosen[child.Desc.Digest] {
				sizes[l.Digest] = l.Size
			}
		}
	}
	return sizes
}

// traffic collects what the events of a call say.
type traffic struct {
	mu    sync.Mutex
	state progress.State
	done  map[digest.Digest]progress.Kind // of each blob, the event that settled it
	twice []digest.Digest                 // blobs that were settled differently, or twice
}

func (c *traffic) event(e progress.Event) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.state.Apply(e)
	if e.Kind != progress.FetchDone && e.Kind != progress.Present {
		return
	}
	if c.done == nil {
		c.done = map[digest.Digest]progress.Kind{}
	}
	if _, again := c.done[e.Digest]; again {
		c.twice = append(c.twice, e.Digest)
	}
	c.done[e.Digest] = e.Kind
}

// TestTrafficAddsUp pulls images that share blobs, at random, into several
// namespaces of one store. Whatever was there before, the bytes fetched are those
// that the registry served, and with those reused they are the image's.
func TestTrafficAddsUp(t *testing.T) {
	each(t, places(), func(t *testing.T, s *site) {
		r := rand.New(rand.NewChaCha8(sha256.Sum256([]byte(t.Name()))))
		imgs := trafficImages(r)
		reg := testregistry.Start(t, testregistry.Options{})
		for i, img := range imgs {
			testregistry.Push(t, reg, fmt.Sprintf("team/app%d:1", i), img)
		}
		for step := range 24 {
			s.close()
			s.namespace = fmt.Sprintf("ns%d", r.IntN(3))
			i := r.IntN(len(imgs))
			req := s.request(reg.Ref(fmt.Sprintf("team/app%d:1", i)), func(q *pull.Request) { chooseTraffic(r, s, q) })
			reg.ResetLog()
			var seen traffic
			result, err := s.puller(seen.event).Pull(t.Context(), req)
			if err != nil {
				t.Fatal(err)
			}
			name := fmt.Sprintf("step %d, %+v in %s", step, req, s.namespace)
			checkTraffic(t, name, result, distinct(imgs[i], req, result), &seen)
			if got, want := result.Fetched, served(reg); got != want && req.Engine != pull.EngineTransfer {
				t.Errorf("%s: got %d bytes fetched, want the %d that the registry served", name, got, want)
			}
		}
	})
}

// chooseTraffic asks for platforms, an engine and a policy at random.
func chooseTraffic(r *rand.Rand, s *site, q *pull.Request) {
	q.AllPlatforms = r.IntN(3) == 0
	q.SkipMetadata = r.IntN(3) == 0
	if r.IntN(3) == 0 {
		q.Unpack = pull.UnpackNever
	}
	if r.IntN(3) == 0 { // which is content without the documents of other platforms
		q.Policy, q.SkipMetadata = pull.PolicyMissing, true
	}
	if strings.HasPrefix(s.version, "2.") && r.IntN(3) == 0 {
		q.Engine = pull.EngineTransfer
	}
}

func checkTraffic(t *testing.T, name string, result *pull.Result, want map[digest.Digest]int64, seen *traffic) {
	t.Helper()
	var total int64
	for _, size := range want {
		total += size
	}
	if result.Fetched+result.Reused != total {
		t.Errorf("%s: got %d fetched + %d reused = %d, want %d", name, result.Fetched, result.Reused, result.Fetched+result.Reused, total)
	}
	sum := seen.state.Totals()
	if sum.BytesFetched != result.Fetched || sum.BytesReused != result.Reused {
		t.Errorf("%s: got totals %+v, want those of %+v", name, sum, result)
	}
	var reused int64
	for dgst, size := range want {
		if seen.done[dgst] == "" {
			t.Errorf("%s: got no event that settles %s", name, dgst)
		}
		if seen.done[dgst] == progress.Present {
			reused += size
		}
	}
	if len(seen.twice) > 0 || reused != result.Reused {
		t.Errorf("%s: got %d bytes present and %v settled twice, want %d and none", name, reused, seen.twice, result.Reused)
	}
}

// served sums up the bodies of blobs, manifests and indexes.
func served(reg *testregistry.Registry) (sum int64) {
	for _, req := range reg.Requests() {
		if req.Method == http.MethodGet && (req.Kind() == "blobs" || req.Kind() == "manifests") {
			sum += req.Bytes
		}
	}
	return sum
}
