package watch

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/containerd/v2/core/images"
	"github.com/containerd/containerd/v2/core/leases"
	"github.com/google/go-cmp/cmp"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/containerd-pull/containerd-pull/pkg/progress"
	"github.com/containerd-pull/containerd-pull/pkg/store"
	"github.com/containerd-pull/containerd-pull/pkg/store/daemon"
)

// sum is the digest of a thing of that name.
func sum(name string) digest.Digest { return digest.FromString(name) }

func moment(s int) time.Time {
	return time.Date(2026, 1, 5, 10, 0, 0, 0, time.UTC).Add(time.Duration(s) * time.Second)
}

// ingest is one of a layer, if its name is none of a document.
func ingest(name string, offset, total int64) content.Status {
	kind := "layer"
	for _, document := range []string{"index", "manifest", "config"} {
		if strings.HasPrefix(name, document) {
			kind = document
		}
	}
	return content.Status{Ref: kind + "-" + sum(name).String(), Offset: offset, Total: total, StartedAt: moment(0), UpdatedAt: moment(0)}
}

// place builds a setting.
type place struct{ *setting }

func newPlace() place {
	return place{&setting{
		Scene: &daemon.Scene{Blobs: map[digest.Digest]content.Info{}}, namespace: "default",
		manifests: map[digest.Digest]ocispec.Manifest{},
	}}
}

// blob adds a blob with labels, which came at the second created.
func (p place) blob(name string, created int, labels map[string]string) place {
	p.Blobs[sum(name)] = content.Info{Digest: sum(name), CreatedAt: moment(created), Labels: labels}
	return p
}

// manifest adds a manifest with a config, which is there, and layers of 100 bytes.
func (p place) manifest(name string, created int, layers ...string) place {
	m := ocispec.Manifest{Config: ocispec.Descriptor{Digest: sum("config of " + name), Size: 10}}
	labels := map[string]string{"containerd.io/gc.ref.content.config": m.Config.Digest.String()}
	for i, l := range layers {
		m.Layers = append(m.Layers, ocispec.Descriptor{Digest: sum(l), Size: 100})
		labels[fmt.Sprintf("containerd.io/gc.ref.content.l.%d", i)] = sum(l).String()
	}
	p.manifests[sum(name)] = m
	return p.blob(name, created, labels).blob("config of "+name, created, nil)
}

// index adds an index, with the repository that it came from.
func (p place) index(name, repository string, children ...string) place {
	labels := map[string]string{"containerd.io/distribution.source.example.com": repository}
	for i, c := range children {
		labels[fmt.Sprintf("containerd.io/gc.ref.content.m.%d", i)] = sum(c).String()
	}
	return p.blob(name, 0, labels)
}

// lease adds one that holds ingests and blobs.
func (p place) lease(id string, labels map[string]string, ingests []content.Status, blobs ...string) place {
	h := daemon.Holding{Lease: leases.Lease{ID: id, Labels: labels}, Resources: map[leases.Resource]bool{}}
	for _, i := range ingests {
		h.Resources[leases.Resource{ID: i.Ref, Type: store.ResourceIngest}] = true
	}
	for _, b := range blobs {
		h.Resources[leases.Resource{ID: sum(b).String(), Type: store.ResourceContent}] = true
	}
	p.Leases = append(p.Leases, h)
	return p
}

func (p place) record(name, target string) place {
	p.Images = append(p.Images, images.Image{Name: name, Target: ocispec.Descriptor{Digest: sum(target)}})
	return p
}

// one gives the ingest of layer a.
func one() []content.Status { return []content.Status{ingest("a", 1, 100)} }

// TestArrange: which image an ingest belongs to.
func TestArrange(t *testing.T) {
	own := map[string]string{store.LabelRef: "x", store.LabelName: "example.com/app:1"}
	for _, tt := range []struct {
		name    string
		place   place
		ingests []content.Status
		want    []string // titles with the number of blobs
	}{
		{"nothing", newPlace(), nil, nil},
		{"by index and label", newPlace().manifest("m", 1, "a", "b").index("i", "app", "m"), one(), []string{"example.com/app@" + sum("i").String() + " 3"}},
		{"by an image record", newPlace().manifest("m", 1, "a").record("sha256:1", "m").record("example.com/app@sha256:1", "m").record("example.com/app:2", "m"), one(), []string{"example.com/app:2 2"}},
		{"by manifest alone", newPlace().manifest("m", 1, "a"), one(), []string{sum("m").String() + " 2"}},
		{"the youngest of two", newPlace().manifest("old", 1, "a").manifest("new", 2, "a").record("old", "old").record("new", "new"), one(), []string{"new 2"}},
		{"that of the lease, not the youngest", newPlace().manifest("old", 1, "a").manifest("new", 2, "a").record("old", "old").record("new", "new").lease("1", nil, one(), "old"), one(), []string{"old 2"}},
		{"of this program, before its manifest", newPlace().lease(store.LeasePrefix+"1", own, one()), one(), []string{"example.com/app:1 1"}},
		{"a name that only claims to be of this program", newPlace().lease("1", own, one()), one(), []string{"lease 1 1"}},
		{"by the lease alone", newPlace().lease("1", nil, one()), one(), []string{"lease 1 1"}},
		{"by nothing", newPlace(), one(), []string{"unknown image 1"}},
		{"an index itself", newPlace(), []content.Status{ingest("index", 1, 10)}, []string{sum("index").String() + " 1"}},
		{"a config and a layer", newPlace().manifest("m", 1, "a"), append(one(), ingest("config of m", 1, 10)), []string{sum("m").String() + " 2"}},
		{"two images", newPlace().manifest("m", 1, "a").manifest("n", 1, "b").record("m", "m").record("n", "n"), append(one(), ingest("b", 2, 3)), []string{"m 2", "n 2"}},
		{"two platforms of an image", newPlace().manifest("m", 1, "a").manifest("n", 1, "b").index("i", "app", "m", "n"), append(one(), ingest("b", 2, 3)), []string{"example.com/app@" + sum("i").String() + " 4"}},
		{"an index that lists itself", newPlace().manifest("m", 1, "a").index("i", "app", "m", "i"), one(), []string{"example.com/app@" + sum("i").String() + " 2"}},
		{"what is no pull's", newPlace(), []content.Status{{Ref: "build-1"}, {Ref: "layer-sha256:0"}, {Ref: ""}}, nil},
		{"a key with a name", newPlace().manifest("m", 1, "a").record("m", "m"), []content.Status{{Ref: "layer-latest@" + sum("a").String()}}, []string{"m 2"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var got []string
			for _, g := range tt.place.arrange(tt.ingests) {
				got = append(got, fmt.Sprintf("%s %d", g.Title(), len(g.blobs)))
			}
			slices.Sort(got)
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

// TestMayList: a manifest is read when its labels name the blob, or name no layer,
// as where layers are not kept.
func TestMayList(t *testing.T) {
	p := newPlace().manifest("m", 1, "a").manifest("bare", 1).index("i", "app", "m").blob("layer", 1, nil)
	for name, want := range map[string]bool{"m": true, "bare": true, "i": false, "layer": false} {
		if got := mayList(p.Blobs[sum(name)], sum("a")); got != want {
			t.Errorf("%s: got %v", name, got)
		}
	}
	if mayList(p.Blobs[sum("m")], sum("b")) {
		t.Error("a manifest of other layers would be read")
	}
}

// history plays looks to a Watcher, one each second, and collects what it shows.
type history struct {
	t      *testing.T
	w      Watcher
	second int
	events []string
}

func newHistory(t *testing.T) *history {
	h := &history{t: t}
	h.w.Progress = func(e progress.Event) { h.events = append(h.events, string(e.Kind)) }
	return h
}

// look shows the ingests of a place, and returns the pulls.
func (h *history) look(p place, ingests ...content.Status) []Pull {
	h.second++
	h.w.looks = map[string]*look{"default": {setting: p.setting}}
	return h.w.follow(moment(h.second), p.arrange(ingests))
}

// want compares the only pull with its state and bytes.
func (h *history) want(pulls []Pull, state State, done, total int64) Pull {
	h.t.Helper()
	if len(pulls) != 1 {
		h.t.Fatalf("second %d: got %+v, want one pull", h.second, pulls)
	}
	if p := pulls[0]; p.State != state || p.Bytes != (progress.Bytes{Done: done, Total: total}) {
		h.t.Errorf("second %d: got %s, %+v of %+v; want %s, %d of %d", h.second, p.State, p.Bytes, p, state, done, total)
	}
	return pulls[0]
}

// TestFollow: a pull from its first byte to its end.
func TestFollow(t *testing.T) {
	h := newHistory(t)
	p := newPlace().manifest("m", 1, "a", "b").index("i", "app", "m")
	h.want(h.look(p, ingest("a", 10, 100)), Fetching, 10, 200)
	got := h.want(h.look(p, ingest("a", 30, 100)), Fetching, 30, 200)
	if got.Rate != 20 || got.ETA != 8500*time.Millisecond || !got.Listed || got.Layers != 2 || got.Blobs[0].State != Present {
		t.Errorf("got rate %v, ETA %s and %+v", got.Rate, got.ETA, got)
	}
	h.want(h.look(p, ingest("a", 100, 100)), Waiting, 100, 200)
	h.want(h.look(p, ingest("a", 100, 100), ingest("b", 5, 100)), Fetching, 105, 200)
	p.blob("a", 5, nil)
	h.want(h.look(p, ingest("b", 100, 100)), Fetched, 200, 200)
	p.blob("b", 6, nil)
	last := h.want(h.look(p), Done, 200, 200)
	if last.LayersDone != 2 || last.Blobs[1].State != Done {
		t.Errorf("got at last %+v", last)
	}
	if all := h.look(p); len(all) != 0 {
		t.Errorf("got %+v after the end", all)
	}
	want := []string{"resolve", "present", "fetch.start", "fetch.progress", "plan", "fetch.progress", "fetch.done", "fetch.start", "fetch.progress", "fetch.done", "fetch.done", "fetch.done", "end"}
	if diff := cmp.Diff(want, h.events); diff != "" {
		t.Errorf("events (-want +got):\n%s", diff)
	}
}

// TestStalled: nothing comes, and then something does; the ingest goes and the pull
// begins again, or does not.
func TestStalled(t *testing.T) {
	h := newHistory(t)
	p := newPlace().manifest("m", 1, "a")
	for range 14 {
		h.want(h.look(p, ingest("a", 10, 100)), Fetching, 10, 100)
	}
	for range 2 {
		got := h.want(h.look(p, ingest("a", 10, 100)), Stalled, 10, 100)
		if got.Silent != time.Duration(h.second)*time.Second || got.ETA != 0 || got.Rate != 0 {
			t.Errorf("second %d: got %+v", h.second, got)
		}
	}
	h.want(h.look(p, ingest("a", 20, 100)), Fetching, 20, 100)
	h.want(h.look(p), Stalled, 20, 100) // aborted
	again := ingest("a", 1, 100)
	again.UpdatedAt = moment(h.second)
	h.want(h.look(p, again), Fetching, 1, 100)
	for range 15 {
		h.want(h.look(p), Stalled, 1, 100)
	}
	got := h.want(h.look(p), Ended, 1, 100)
	if got.LayersDone != 0 || h.events[len(h.events)-1] != "end" {
		t.Errorf("got %+v and %v", got, h.events)
	}
}

// TestClockOfAnother: times of a daemon whose clock is ahead say nothing.
func TestClockOfAnother(t *testing.T) {
	h := newHistory(t)
	ahead := ingest("a", 10, 100)
	ahead.UpdatedAt = moment(1000)
	p := newPlace().manifest("m", 1, "a")
	for range 15 {
		h.want(h.look(p, ahead), Fetching, 10, 100)
	}
	h.want(h.look(p, ahead), Stalled, 10, 100)
}

// TestCameBetweenLooks: a layer whose ingest was never seen counts as fetched.
func TestCameBetweenLooks(t *testing.T) {
	h := newHistory(t)
	p := newPlace().manifest("m", 1, "a", "b")
	h.want(h.look(p, ingest("a", 10, 100)), Fetching, 10, 200)
	p.blob("b", 3, nil)
	if got := h.want(h.look(p, ingest("a", 10, 100)), Fetching, 110, 200); got.Rate != 100 {
		t.Errorf("got rate %v", got.Rate)
	}
}

// TestInterrupted: what a pull of this program has left is no running pull, and the
// one that left it is over.
func TestInterrupted(t *testing.T) {
	h := newHistory(t)
	labels := map[string]string{store.LabelRef: "x", store.LabelName: "example.com/app:1", store.LabelOwner: "another/boot/1/1"}
	left := func() place { return newPlace().lease(store.LeasePrefix+"1", labels, one()) }
	h.want(h.look(left(), one()...), Interrupted, 1, 100)
	if len(h.events) != 0 {
		t.Errorf("displays are told %v", h.events)
	}
	h = newHistory(t)
	h.look(newPlace().lease("1", nil, one()).record("example.com/app:1", "m").manifest("m", 1, "a"), one()...)
	var states []State
	for _, p := range h.look(left(), one()...) {
		states = append(states, p.State)
	}
	if diff := cmp.Diff([]State{Ended, Interrupted}, states); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}
