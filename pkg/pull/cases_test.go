package pull_test

import (
	"archive/tar"
	"context"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/containerd-pull/containerd-pull/pkg/internal/pulltest"
	"github.com/containerd-pull/containerd-pull/pkg/internal/pulltest/testregistry"
	"github.com/containerd-pull/containerd-pull/pkg/internal/pulltest/tree"
	"github.com/containerd-pull/containerd-pull/pkg/pull"
	"github.com/containerd-pull/containerd-pull/pkg/registry"
	"github.com/containerd-pull/containerd-pull/pkg/registry/credential"
	"github.com/containerd-pull/containerd-pull/pkg/registry/hosts"
	"github.com/containerd-pull/containerd-pull/pkg/source"
)

// TestFaults lets each fault happen to an embedded root and to a daemon. What
// every failure leaves, and how it heals, is in fault.play.
func TestFaults(t *testing.T) {
	all := stage(t)
	t.Run("places", func(t *testing.T) {
		for _, f := range slices.Concat(bodies(), answers(), outages(), documents(), archives(), otherHosts(), credentials()) {
			t.Run(f.name, func(t *testing.T) { each(t, all, f.play) })
		}
	})
	if err := noMounts(all[1].shared.Root); err != nil {
		t.Fatal(err)
	}
}

// noMounts says what is mounted over snapshots of a root.
func noMounts(root string) error {
	table, err := os.ReadFile("/proc/self/mountinfo")
	if err == nil && strings.Contains(string(table), root) {
		err = fmt.Errorf("got mounts of %s, want none:\n%s", root, table)
	}
	return err
}

// inLayer lets a behaviour befall the second layer's bytes each time.
func inLayer(b testregistry.Behaviour) func(*scene) {
	return func(c *scene) { c.reg.SetBehave(testregistry.Always(testregistry.Object(c.layer), b)) }
}

// inOrder lets behaviours befall the second layer's bytes, one after the other.
func inOrder(list ...testregistry.Behaviour) func(*scene) {
	return func(c *scene) { c.reg.SetBehave(testregistry.Sequence(testregistry.Object(c.layer), list...)) }
}

// always lets a behaviour befall all that match.
func always(m testregistry.Match, b testregistry.Behaviour) func(*scene) {
	return func(c *scene) { c.reg.SetBehave(testregistry.Always(m, b)) }
}

func nothing(*scene) {}

// patient is for faults that come more often than twice.
func patient(c *scene) { c.options.Retry = registry.Retry{Count: 20, Delay: 10 * time.Millisecond} }

// hasty is for faults of which each try takes as long as a stall may.
func hasty(strike func(*scene)) func(*scene) {
	return func(c *scene) {
		c.options.StallTimeout, c.options.Retry.Count = 500*time.Millisecond, 1
		strike(c)
	}
}

// body serves these bytes, with their length.
func body(data []byte) testregistry.Behaviour {
	return testregistry.Behaviour{Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Length", fmt.Sprint(len(data)))
		w.Write(data) // fails only for a client that has gone
	})}
}

// inConfig lets a behaviour befall the config each time.
func inConfig(b testregistry.Behaviour) func(*scene) {
	return func(c *scene) { c.reg.SetBehave(testregistry.Always(testregistry.Object(c.img.Config.Digest), b)) }
}

func bodies() []fault {
	const half = bulk / 2
	corrupt := testregistry.Behaviour{Fault: testregistry.Corrupt, After: half}
	cut := testregistry.Behaviour{Fault: testregistry.Truncate, After: half / 2}
	reset := testregistry.Behaviour{Fault: testregistry.Reset, After: half / 2}
	wrong := []string{"LAYER"}
	return []fault{
		{name: "B1 corrupt once", strike: inOrder(corrupt), check: func(c *scene) { c.asked(2, 2) }},
		{name: "B2 corrupt", strike: inLayer(corrupt), codes: []int{8}, says: wrong, check: func(c *scene) { c.asked(2, 2) }},
		{name: "B2 corrupt at the end", strike: inLayer(testregistry.Behaviour{Fault: testregistry.Corrupt, After: bulk}), codes: []int{8}, says: wrong},
		{name: "B2 corrupt config", strike: inConfig(testregistry.Behaviour{Fault: testregistry.Corrupt, After: 100}), codes: []int{8}},
		{name: "B3 corrupt mirror", tune: func(c *scene) { c.mirror(false) }, strike: func(c *scene) {
			c.other.SetBehave(testregistry.Always(testregistry.Object(c.layer), corrupt))
		}, check: corruptMirror},
		{name: "B4 cut twice", strike: inOrder(cut, cut), check: (*scene).served},
		{name: "B4 reset twice", strike: inOrder(reset, reset), check: (*scene).served},
		{name: "B4 cut eight times", strike: inOrder(slices.Repeat([]testregistry.Behaviour{{Fault: testregistry.Truncate, After: bulk / 10}}, 8)...), check: (*scene).served},
		{name: "B5 cut before the first byte", strike: inLayer(testregistry.Behaviour{Fault: testregistry.Truncate}), codes: []int{7}, says: wrong},
		{name: "B5 reset before the first byte", strike: inLayer(testregistry.Behaviour{Fault: testregistry.Reset}), codes: []int{7}, says: wrong},
		{name: "B5 cut, and nothing more", strike: func(c *scene) {
			c.reg.SetBehave(testregistry.Sequence(testregistry.Object(c.layer), append([]testregistry.Behaviour{cut}, slices.Repeat([]testregistry.Behaviour{{Fault: testregistry.Reset}}, 9)...)...))
		}, codes: []int{7}, says: wrong},
		{name: "B6 short with its length", strike: inLayer(testregistry.Behaviour{Fault: testregistry.Short, After: 50}), codes: []int{8}, says: wrong},
		{name: "B6 short without a length", strike: inLayer(testregistry.Behaviour{Fault: testregistry.Short, After: half, Chunked: true}), codes: []int{8}, says: wrong},
		{name: "B7 endless", strike: inLayer(testregistry.Behaviour{Fault: testregistry.Endless}), codes: []int{8}, says: wrong, check: func(c *scene) {
			c.asked(2, 2)
			c.atMost(2 * bulk)
		}},
		{name: "B7 endless once", strike: inOrder(testregistry.Behaviour{Fault: testregistry.Endless}), check: func(c *scene) { c.asked(2, 2) }},
		{name: "B7 endless config", strike: inConfig(testregistry.Behaviour{Fault: testregistry.Endless}), codes: []int{8}},
		{name: "B7 longer with its length", strike: func(c *scene) {
			layer, err := c.img.Layers[1].Bytes()
			if err != nil {
				c.t.Fatal(err)
			}
			data := append(layer, 'x')
			inLayer(body(data))(c)
		}, codes: []int{8}, says: wrong},
		{name: "B8 inflates without end", strike: inLayer(testregistry.Behaviour{Handler: testregistry.Bomb()}), codes: []int{8}, says: wrong, check: func(c *scene) { c.atMost(2 * bulk) }},
		{name: "B9 cut, then ranges ignored", strike: inOrder(cut, testregistry.Behaviour{IgnoreRange: true})},
		{name: "B10 sent away", guard: guarded(testregistry.Options{TLS: true}), strike: inOrder(testregistry.Behaviour{Fault: testregistry.GoAway, After: half}), check: (*scene).served},
	}
}

// mirror puts the second host before the registry.
func (c *scene) mirror(resolve bool) {
	c.options.Hosts.Mirrors = []hosts.Mirror{{Host: c.reg.Host(), Endpoints: []string{c.other.URL()}, Resolve: resolve}}
}

func corruptMirror(c *scene) {
	if !c.gaveUp(c.other.Host()) {
		c.t.Errorf("got events %+v, want one that the mirror is not asked again", c.events)
	}
	if n := c.other.BlobGets()[c.layer]; n != 1 {
		c.t.Errorf("got %d requests to the mirror for the layer, want 1", n)
	}
	c.asked(1, 1)
}

func answers() []fault {
	limited := func(after string) testregistry.Behaviour {
		return testregistry.Behaviour{Status: http.StatusTooManyRequests, Header: http.Header{"Retry-After": {after}}}
	}
	down := func(status int) testregistry.Behaviour { return testregistry.Behaviour{Status: status} }
	bad := []testregistry.Behaviour{down(502), down(503), down(504)}
	head := func(status int) func(*scene) {
		return always(testregistry.Method(http.MethodHead, testregistry.Everything), down(status))
	}
	once := func(m testregistry.Match, list ...testregistry.Behaviour) func(*scene) {
		return func(c *scene) { c.reg.SetBehave(testregistry.Sequence(m, list...)) }
	}
	return []fault{
		{name: "R1 limited for two seconds", tune: patient, strike: inOrder(limited("2"), limited("2"), limited("2")), check: waited},
		// The limit is the host's, so whichever layer is asked for next may be the one that is named.
		{name: "R2 limited for a day", strike: inLayer(limited("86400")), codes: []int{6}, says: []string{"retry in 24h"}, check: func(c *scene) { c.asked(1, 1) }},
		{name: "R2 tags limited for a day", strike: always(testregistry.Manifests, limited("86400")), codes: []int{6}, says: []string{"retry in 24h"}},
		{name: "R3 status 500 three times", tune: patient, strike: inOrder(down(500), down(500), down(500))},
		{name: "R4 bad gateways of blobs", tune: patient, strike: inOrder(bad...)},
		{name: "R4 bad gateways of manifests", tune: patient, strike: once(testregistry.Manifests, bad...)},
		{name: "R5 status 500", strike: inLayer(down(500)), codes: []int{7}, says: []string{"LAYER", "500"}, check: func(c *scene) { c.asked(3, 3) }},
		{name: "R5 status 500 of manifests", strike: always(testregistry.Manifests, down(500)), codes: []int{7}},
		{name: "R8 HEAD is answered 405", strike: head(405)},
		{name: "R8 HEAD is answered 404", strike: head(404)},
		{name: "R8 HEAD is answered 501", strike: head(501)},
		{name: "R9 no length, no digest", strike: always(testregistry.Manifests, testregistry.Behaviour{Chunked: true, Header: http.Header{"Docker-Content-Digest": nil}})},
		{name: "refused layer", strike: inLayer(down(403)), codes: []int{5}, says: []string{"LAYER"}},
		{name: "missing layer", strike: inLayer(down(404)), codes: []int{4}, says: []string{"LAYER"}},
		{name: "missing config", strike: inConfig(down(404)), codes: []int{4}},
		{name: "unexpected status", strike: inLayer(down(418)), codes: []int{9}, says: []string{"LAYER", "418"}},
	}
}

// waited wants two seconds before each try after the first.
func waited(c *scene) {
	all := c.requests(c.layer)
	if len(all) < 4 || len(all) > 6 {
		c.t.Errorf("got %d requests for the layer, want 4 to 6", len(all))
	}
	for i := 1; i < len(all); i++ {
		if wait := all[i].Time.Sub(all[i-1].Time); wait < 2*time.Second {
			c.t.Errorf("got %s before try %d, want 2 s", wait, i)
		}
	}
}

func outages() []fault {
	stall := testregistry.Behaviour{Fault: testregistry.Stall, After: bulk / 2}
	return []fault{
		{name: "R6 stalled once", strike: hasty(inOrder(stall)), check: (*scene).served},
		{name: "R6 stalled", strike: hasty(inLayer(testregistry.Behaviour{Fault: testregistry.Stall})), codes: []int{7}, says: []string{"LAYER"}},
		{name: "R6 trickles once", tune: func(c *scene) { c.options.MinRate = bulk / 4 }, strike: hasty(inOrder(testregistry.Behaviour{Rate: 2000})), check: func(c *scene) { c.asked(2, 3) }},
		{name: "R6 trickles", tune: func(c *scene) { c.options.MinRate = bulk / 4 }, strike: hasty(inLayer(testregistry.Behaviour{Rate: 2000})), codes: []int{7}, says: []string{"LAYER", "bytes per second"}, check: func(c *scene) { c.asked(2, 2) }},
		{name: "R7 stalled before the header", strike: hasty(always(testregistry.Manifests, testregistry.Behaviour{Fault: testregistry.Stall})), codes: []int{7}},
		{name: "R7 stalled in the handshake", guard: guarded(testregistry.Options{TLS: true}), strike: hasty(outage((*testregistry.Registry).Deafen)), codes: []int{7}},
		{name: "R7 connect is never answered", strike: hasty(outage((*testregistry.Registry).Vanish)), codes: []int{7}},
		{name: "connection refused", strike: outage((*testregistry.Registry).Stop), codes: []int{7}},
		{name: "R10 dies and returns", tune: func(c *scene) { c.options.Retry = registry.Retry{Count: 200, Delay: 20 * time.Millisecond} }, strike: dies, check: func(c *scene) {
			if err := <-c.restart; err != nil {
				c.t.Error(err)
			}
			c.served()
		}},
	}
}

func outage(begin func(*testregistry.Registry) error) func(*scene) {
	return func(c *scene) {
		if err := begin(c.reg); err != nil {
			c.t.Fatal(err)
		}
	}
}

// dies lets the registry die in the middle of the layer and return a second
// later.
func dies(c *scene) {
	var once sync.Once
	c.reg.SetBehave(func(r *http.Request) testregistry.Behaviour {
		if !testregistry.Object(c.layer)(r) {
			return testregistry.Behaviour{}
		}
		b := testregistry.Behaviour{}
		once.Do(func() {
			b = testregistry.Behaviour{Fault: testregistry.Stall, After: bulk / 2}
			time.AfterFunc(200*time.Millisecond, func() {
				err := c.reg.Stop()
				time.Sleep(time.Second)
				if err == nil {
					err = c.reg.Start()
				}
				c.restart <- err
			})
		})
		return b
	})
}

// document is an image of one document that no builder would write.
func document(mediaType, text string) func(*scene) *pulltest.Image {
	return func(*scene) *pulltest.Image { return pulltest.RawImage(mediaType, []byte(text)) }
}

// edited is a small image with a config or a manifest that lies.
func edited(spec pulltest.Spec) func(*scene) *pulltest.Image {
	return func(c *scene) *pulltest.Image { return small(c.t, c.seed(), pulltest.Gzip, spec) }
}

func well(c *scene) *pulltest.Image {
	return small(c.t, "well "+c.seed(), pulltest.Gzip, pulltest.Spec{})
}

// typed lets manifests be served as a type that they are not.
func typed(mediaType string) func(*scene) {
	return always(testregistry.Manifests, testregistry.Behaviour{Header: http.Header{"Content-Type": {mediaType}}})
}

func documents() []fault {
	const manifest, index = ocispec.MediaTypeImageManifest, ocispec.MediaTypeImageIndex
	diffIDs := func(change func([]digest.Digest) []digest.Digest) func(*scene) *pulltest.Image {
		return edited(pulltest.Spec{EditConfig: func(c *ocispec.Image) { c.RootFS.DiffIDs = change(c.RootFS.DiffIDs) }})
	}
	wrong := func(n int) func([]digest.Digest) []digest.Digest {
		return func(all []digest.Digest) []digest.Digest { all[n] = digest.FromString("another"); return all }
	}
	multi := func(c *scene) *pulltest.Image { return pulltest.MultiPlatform(pulltest.Gzip) }
	riscv := ocispec.Platform{OS: "linux", Architecture: "riscv64"}
	return []fault{
		{name: "M1 manifest and index", image: document(manifest, `{"schemaVersion":2,"config":{},"layers":[],"manifests":[]}`), good: well, strike: nothing, codes: []int{9}},
		{name: "M2 manifest as index", strike: typed(index), codes: []int{9}},
		{name: "M2 index as manifest", image: multi, strike: typed(manifest), codes: []int{9}},
		{name: "M2 manifest as text", strike: typed("text/html; charset=utf-8"), codes: []int{9}, says: []string{"text/html", "registry?"}},
		{name: "M2 mediaType says the other", image: document(manifest, `{"schemaVersion":2,"mediaType":"`+index+`","config":{},"layers":[]}`), good: well, strike: nothing, codes: []int{9}},
		{name: "M3 manifest of 5 MB", image: edited(pulltest.Spec{EditManifest: func(m *ocispec.Manifest) {
			m.Annotations = map[string]string{"a": strings.Repeat("x", 5<<20)}
		}}), good: well, strike: nothing, codes: []int{9}, says: []string{"4194304"}},
		{name: "M3 manifest without end", strike: always(testregistry.Manifests, testregistry.Behaviour{Handler: testregistry.Flood(manifest, 100<<20)}), codes: []int{9}, check: func(c *scene) { c.atMost(4 << 20) }},
		{name: "M3 manifest inflates without end", strike: always(testregistry.Manifests, testregistry.Behaviour{Handler: testregistry.Bomb()}), codes: []int{9}, check: func(c *scene) { c.atMost(4 << 20) }},
		{name: "M4 fewer diff IDs", image: diffIDs(func(all []digest.Digest) []digest.Digest { return all[:2] }), good: well, strike: nothing, codes: []int{8}},
		{name: "M4 more diff IDs", image: diffIDs(func(all []digest.Digest) []digest.Digest { return append(all, digest.FromString("more")) }), good: well, strike: nothing, codes: []int{8}},
		{name: "M4 wrong first diff ID", image: diffIDs(wrong(0)), good: well, strike: nothing, codes: []int{8}},
		{name: "M4 wrong last diff ID", image: diffIDs(wrong(2)), good: well, strike: nothing, codes: []int{8}},
		{name: "M5 config is no JSON", image: edited(pulltest.Spec{RawConfig: []byte("this is no JSON")}), good: well, strike: nothing, codes: []int{9}},
		{name: "M5 unknown type of rootfs", image: edited(pulltest.Spec{EditConfig: func(c *ocispec.Image) { c.RootFS.Type = "squashed" }}), good: well, strike: nothing, codes: []int{9}},
		{name: "M5 a megabyte of labels", image: func(c *scene) *pulltest.Image {
			return bulkyWith(c, pulltest.Spec{Labels: manyLabels()})
		}, strike: nothing, check: noForeignLabels},
		{name: "M6 schema 1", image: document("application/vnd.docker.distribution.manifest.v1+prettyjws", `{"schemaVersion":1,"name":"x","fsLayers":[]}`), good: well, strike: nothing, codes: []int{9}, says: []string{"schema 1", "push the image again"}},
		{name: "M7 no such platform", image: multi, good: edited(pulltest.Spec{Platform: riscv}), edits: []func(*pull.Request){withPlatforms("linux/riscv64")}, strike: nothing, codes: []int{4}, says: []string{"linux/riscv64", "linux/amd64", "linux/arm64"}},
	}
}

// theirs is in everything that an image says of itself.
const theirs = "said-by-the-image"

func manyLabels() map[string]string {
	labels := map[string]string{"containerd.io/gc.root": theirs, "containerd.io/snapshot/x": theirs, "containerd.io/gc.expire": theirs}
	for i := range 1000 {
		labels[fmt.Sprintf("%s-%d", theirs, i)] = strings.Repeat(theirs, 60)
	}
	return labels
}

// noForeignLabels looks for the image's own labels in all of containerd's.
func noForeignLabels(c *scene) {
	c.t.Helper()
	all := []map[string]string{c.image(c.ref).Labels}
	for _, info := range c.blobs() {
		all = append(all, info.Labels)
	}
	for _, info := range c.snapshots() {
		all = append(all, info.Labels)
	}
	if text := fmt.Sprint(all); strings.Contains(text, theirs) {
		c.t.Errorf("got labels %s, want none of the image's own", text)
	}
}

// packed is an image with one layer below these bytes, which claim to be the
// archive of that diff ID.
func packed(data func(archive, packed []byte) []byte) func(*scene) *pulltest.Image {
	return func(c *scene) *pulltest.Image {
		archive := pulltest.Tar(pulltest.Regular("file", strings.Repeat(c.seed(), 100)))
		gzip := pulltest.Gzip.Compress(archive)
		l := pulltest.Layer{Blob: pulltest.NewBlob(data(archive, gzip)), DiffID: digest.FromBytes(archive), Compression: pulltest.Gzip}
		first := pulltest.NewLayer(pulltest.Gzip, pulltest.Regular("first", c.seed()))
		return pulltest.NewImage(pulltest.Spec{Layers: []pulltest.Layer{first, l}})
	}
}

func archives() []fault {
	flipped := func(_, gzip []byte) []byte { gzip[len(gzip)-6] ^= 1; return gzip } // of the checksum
	deep := pulltest.Regular(strings.Repeat("d/", 10_000)+"f", "x")
	device := pulltest.CharDevice("dev/x", 1<<21-1, 1<<21-1)
	strange := pulltest.Regular("a\xff\xfe\x01", "x")
	either := []int{0, 9}
	return []fault{
		{name: "T3 ten thousand folders deep", image: layeredImage(deep), good: well, strike: nothing, codes: either},
		{name: "T3 device beyond the kernel", image: layeredImage(device), good: well, strike: nothing, codes: either},
		{name: "T3 name that is no text", image: layeredImage(strange, strange), good: well, strike: nothing, codes: either},
		{name: "gzip breaks off", image: packed(func(_, z []byte) []byte { return z[:len(z)-20] }), good: well, strike: nothing, codes: []int{9}, says: []string{"LAYER"}},
		{name: "gzip without its end", image: packed(func(_, z []byte) []byte { return z[:len(z)-4] }), good: well, strike: nothing, codes: []int{9}, says: []string{"LAYER"}},
		{name: "gzip with a wrong checksum", image: packed(flipped), good: well, strike: nothing, codes: []int{8, 9}, says: []string{"LAYER"}},
		{name: "no archive", image: packed(func(_, _ []byte) []byte { return []byte(strings.Repeat("no archive at all ", 100)) }), good: well, strike: nothing, codes: []int{9}, says: []string{"LAYER"}},
	}
}

func layeredImage(files ...pulltest.File) func(*scene) *pulltest.Image {
	return func(c *scene) *pulltest.Image {
		spec := pulltest.Spec{Layers: []pulltest.Layer{
			pulltest.NewLayer(pulltest.Gzip, pulltest.Regular("first", c.seed())),
			pulltest.NewLayer(pulltest.Gzip, append(files, pulltest.Regular("last", c.seed()))...),
		}}
		return pulltest.NewImage(spec)
	}
}

// TestEscapes pulls layers that try to write to a folder of the host. They may
// be refused, or stay inside; the folder is as it was (cases T1 and T2). Each
// archive of pkg/layer's tests does the same below this.
func TestEscapes(t *testing.T) {
	all := stage(t)
	t.Run("places", func(t *testing.T) {
		for name := range escapes("") {
			t.Run(name, func(t *testing.T) {
				each(t, all, func(t *testing.T, s *site) {
					canary := newCanary(t)
					before := canary.tree(t)
					fault{image: layeredImage(escapes(canary.dir)[name]...), good: well, strike: nothing, codes: []int{0, 9}}.play(t, s)
					if diff := tree.Diff(canary.tree(t), before); diff != "" {
						t.Errorf("the host's folder differs: %s", diff)
					}
				})
			})
		}
	})
}

type canary struct{ dir string }

func newCanary(t *testing.T) canary {
	t.Helper()
	c := canary{filepath.Join(t.TempDir(), "canary")}
	for _, err := range []error{
		os.MkdirAll(filepath.Join(c.dir, "dir"), 0o750),
		os.WriteFile(filepath.Join(c.dir, "file"), []byte("of the host"), 0o640),
		os.Chown(filepath.Join(c.dir, "file"), 12, 34),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	return c
}

func (c canary) tree(t *testing.T) []tree.Entry {
	t.Helper()
	files, err := tree.Read(c.dir)
	if err != nil {
		t.Fatal(err)
	}
	return files
}

// escapes are archives that try to reach a folder of the host.
func escapes(host string) map[string][]pulltest.File {
	up := strings.Repeat("../", 20) + strings.TrimPrefix(host, "/")
	wide := pulltest.Directory("l/dir")
	wide.Mode, wide.UID = 0o777, 9
	owned := pulltest.Hardlink("h", up+"/file")
	owned.Mode, owned.UID = 0o777, 9
	gone := func(name string) pulltest.File { return pulltest.Regular(name, "gone") }
	return map[string][]pulltest.File{
		"T1 name up":              {gone(up + "/file"), gone(up + "/new")},
		"T1 absolute name":        {gone(host + "/file"), gone(host + "/new")},
		"T1 up from inside":       {pulltest.Directory("a"), gone("a/../" + up + "/new")},
		"T2 link, then a write":   {pulltest.Symlink("l", host), gone("l/file"), gone("l/new")},
		"T2 link up, then a mode": {pulltest.Symlink("l", up), wide},
		"T2 hard link to outside": {owned, gone("h")},
		"T2 hard link by a link":  {pulltest.Symlink("l", host), pulltest.Hardlink("h", "l/file"), gone("h")},
		"T2 folder made a link":   {pulltest.Directory("d"), gone("d/file"), pulltest.Symlink("d", host), gone("d/file"), gone("d/new")},
		"T2 whiteout by a link":   {pulltest.Symlink("l", host), pulltest.Whiteout("l/file"), pulltest.Opaque("l/dir")},
		"T2 device by a link":     {pulltest.Symlink("l", host), {Name: "l/fifo", Type: tar.TypeFifo, Mode: 0o600}},
	}
}

const secret = "canary-password"

// knows gives the registry's own host a credential.
func knows(c *scene) {
	host := c.reg.Host()
	c.options.Credentials = func(_ context.Context, asked string, _ source.Ref) (credential.Credential, error) {
		if asked != host {
			return credential.Credential{}, nil
		}
		return credential.Credential{Username: "me", Password: secret}, nil
	}
}

func me() *testregistry.Credentials { return &testregistry.Credentials{User: "me", Password: secret} }

// redirected sends requests for the layer to the second host.
func redirected(c *scene) {
	inLayer(testregistry.Behaviour{Redirect: c.other.URL() + "/v2/team/app/blobs/" + c.layer.String()})(c)
}

// nothingSecret looks for secrets in what the second host was asked.
func nothingSecret(c *scene) {
	c.t.Helper()
	for _, r := range c.other.Requests() {
		if text := fmt.Sprint(r.Path, r.Query, r.Header); r.Header.Get("Authorization") != "" || strings.Contains(text, secret) {
			c.t.Errorf("got %s at the other host, want no secret", text)
		}
	}
}

// untouched wants the second host not to have been asked for anything.
func untouched(c *scene) {
	c.t.Helper()
	if all := c.other.Requests(); len(all) > 0 {
		c.t.Errorf("got requests %+v at the other host, want none", all)
	}
}

func otherHosts() []fault {
	return []fault{
		{name: "H1 redirect to a host that serves", guard: guarded(testregistry.Options{Basic: me()}), tune: knows, strike: redirected, check: func(c *scene) {
			nothingSecret(c)
			if n := c.other.BlobGets()[c.layer]; n != 1 {
				c.t.Errorf("got %d requests at the redirect's target, want 1", n)
			}
		}},
		{name: "H1 redirect to a host that asks for a password", guard: guarded(testregistry.Options{Basic: me()}), tune: knows, strike: func(c *scene) {
			redirected(c)
			c.other.SetBehave(testregistry.Always(testregistry.Everything, testregistry.Behaviour{
				Status: http.StatusUnauthorized, Header: http.Header{"Www-Authenticate": {`Basic realm="canary"`}},
			}))
		}, codes: []int{5}, says: []string{"LAYER", "127.0.0.2"}, check: nothingSecret},
		{name: "H2 urls of a layer", image: func(c *scene) *pulltest.Image {
			return bulkyWith(c, pulltest.Spec{EditManifest: func(m *ocispec.Manifest) {
				m.Layers[1].URLs = []string{c.other.URL() + "/v2/team/app/blobs/" + m.Layers[1].Digest.String()}
			}})
		}, strike: nothing, check: func(c *scene) {
			untouched(c)
			c.asked(1, 1)
		}},
		{name: "H3 mirror that may not resolve", tune: func(c *scene) { c.mirror(false) }, strike: nothing, check: func(c *scene) {
			for _, r := range c.other.Requests() {
				if r.Kind() == "manifests" && !strings.HasPrefix(r.Target(), "sha256:") {
					c.t.Errorf("got a request for tag %s at the mirror, want none", r.Target())
				}
			}
			if c.other.BlobGets()[c.layer] != 1 {
				c.t.Errorf("got blobs %v from the mirror, want the layer", c.other.BlobGets())
			}
		}},
	}
}

func credentials() []fault {
	realm := func(o testregistry.Options, path string) func(*testregistry.Registry) testregistry.Options {
		return func(other *testregistry.Registry) testregistry.Options {
			o := o
			o.Token = &testregistry.TokenOptions{Credentials: me(), Realm: other.URL() + path}
			return o
		}
	}
	sendsOn := func(other *testregistry.Registry) testregistry.Options {
		return testregistry.Options{Token: &testregistry.TokenOptions{
			Credentials: me(), Behave: testregistry.Always(testregistry.Everything, testregistry.Behaviour{Redirect: other.URL() + "/token"}),
		}}
	}
	open := func(c *scene) { c.swap(testregistry.Options{}) }
	return []fault{
		{name: "A1 realm on another host", guard: realm(testregistry.Options{}, "/token"), tune: knows, strike: open, codes: []int{5}, check: untouched},
		{name: "A1 realm without TLS", guard: realm(testregistry.Options{TLS: true}, "/token"), tune: knows, strike: func(c *scene) {
			c.swap(testregistry.Options{TLS: true})
		}, codes: []int{5}, check: untouched},
		{name: "A1 token server that sends on", guard: sendsOn, tune: knows, strike: open, codes: []int{5}, check: untouched},
		{name: "A2 token dies in the layer", guard: guarded(testregistry.Options{Token: &testregistry.TokenOptions{Credentials: me()}}), tune: knows, strike: func(c *scene) {
			cut := testregistry.Sequence(testregistry.Object(c.layer), testregistry.Behaviour{Fault: testregistry.Truncate, After: bulk / 2})
			c.reg.SetBehave(func(r *http.Request) testregistry.Behaviour {
				b := cut(r)
				if b.Fault != testregistry.Honest {
					time.AfterFunc(0, c.reg.ExpireTokens)
				}
				return b
			})
		}, check: renewed},
		{name: "wrong password", guard: guarded(testregistry.Options{Basic: &testregistry.Credentials{User: "me", Password: "another"}}), tune: knows, strike: open, codes: []int{5}},
	}
}

func renewed(c *scene) {
	c.t.Helper()
	c.served()
	if n := len(c.reg.TokenRequests()); n < 2 {
		c.t.Errorf("got %d requests for a token, want another one after the first died", n)
	}
}
