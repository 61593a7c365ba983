package check_test

import (
	"bytes"
	"errors"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/containerd/containerd/v2/core/content"
	"github.com/google/go-cmp/cmp"
	"github.com/opencontainers/go-digest"

	"github.com/containerd-pull/containerd-pull/pkg/internal/pulltest"
	"github.com/containerd-pull/containerd-pull/pkg/internal/pulltest/testregistry"
	"github.com/containerd-pull/containerd-pull/pkg/internal/pulltest/teststore"
	"github.com/containerd-pull/containerd-pull/pkg/store"
	"github.com/containerd-pull/containerd-pull/pkg/store/root"
)

// build builds the command.
func build(t *testing.T) string {
	t.Helper()
	program := filepath.Join(t.TempDir(), "containerd-pull")
	if out, err := exec.CommandContext(t.Context(), "go", "build", "-o", program, "../../cmd/containerd-pull").CombinedOutput(); err != nil {
		t.Fatalf("building the command: %v\n%s", err, out)
	}
	return program
}

// victim is a store whose commands are killed.
type victim struct {
	*site
	program string
	hurt    *pulltest.Image
	others  *pulltest.Image // which nothing happens to
	refs    [2]string
}

// newVictim pulls both images, which share layers.
func newVictim(s *site, program string) *victim {
	s.t.Helper()
	v := &victim{site: s, program: program, hurt: small(s.t, "hurt")}
	v.back()
	s.t.Cleanup(v.away)
	own := pulltest.NewLayer(pulltest.Gzip, pulltest.Regular("opt", "other"))
	v.others = pulltest.NewImage(pulltest.Spec{Layers: append(v.hurt.Layers[:2:2], own)})
	reg := testregistry.Start(s.t, testregistry.Options{})
	v.refs = [2]string{testregistry.Push(s.t, reg, "team/hurt:1", v.hurt), testregistry.Push(s.t, reg, "team/others:1", v.others)}
	for _, ref := range v.refs {
		v.pull(ref)
	}
	return v
}

// away closes an embedded root, for a command to open it.
func (v *victim) away() {
	v.t.Helper()
	if v.daemon == nil {
		must(v.t, v.Close())
	}
}

// back opens it again.
func (v *victim) back() {
	v.t.Helper()
	if v.daemon == nil {
		var err error
		v.Store, err = root.Open(v.t.Context(), store.Options{Root: v.root, Snapshotter: v.place.Snapshotter})
		must(v.t, err)
	}
}

// run runs the command and kills it after so long; 0 is never. It returns the code,
// -1 of a command that was killed.
func (v *victim) run(command string, after time.Duration) int {
	v.t.Helper()
	v.away()
	defer v.back()
	args := append(strings.Fields(command), "--snapshotter", v.place.Snapshotter)
	if v.daemon == nil {
		args = append(args, "--root", v.root)
	} else {
		args = append(args, "--address", v.daemon.Address)
	}
	if strings.HasPrefix(command, "verify") {
		args = append(args, "--progress", "none")
	}
	if strings.Contains(command, "--repair") {
		args = append(args, "--plain-http")
	}
	var out bytes.Buffer
	c := exec.CommandContext(v.t.Context(), v.program, args...)
	c.Stdout, c.Stderr = &out, &out
	must(v.t, c.Start())
	if after > 0 {
		timer := time.AfterFunc(after, func() { _ = c.Process.Kill() }) // it may have ended
		defer timer.Stop()
	}
	err := c.Wait()
	if _, ok := errors.AsType[*exec.ExitError](err); err != nil && !ok {
		v.t.Fatal(err)
	}
	if code := c.ProcessState.ExitCode(); code <= 0 {
		return code
	}
	v.t.Errorf("got %v of %s: %s", c.ProcessState, command, &out)
	return c.ProcessState.ExitCode()
}

// has is what must not be lost: the blobs and snapshots of the image that nothing
// happens to, as they were made.
func (v *victim) has() map[string]time.Time {
	v.t.Helper()
	all := map[string]time.Time{}
	blobs := map[digest.Digest]content.Info{}
	must(v.t, v.Content.Walk(v.ctx(), func(info content.Info) error { blobs[info.Digest] = info; return nil }))
	for _, b := range append(v.others.Blobs(), pulltest.NewBlob(v.others.Raw)) {
		if info, ok := blobs[b.Digest]; ok {
			all[b.Digest.String()] = info.CreatedAt
		}
	}
	there := v.snapshots()
	for _, id := range v.others.ChainIDs() {
		if info, ok := there[id.String()]; ok {
			all[id.String()] = info.Created
		}
	}
	return all
}

// wounds are what is done to the image before its repair; only to what it shares with
// none.
func wounds() []func(v *victim) {
	top := func(v *victim) string { return v.hurt.ChainIDs()[2].String() }
	return []func(v *victim){
		func(v *victim) { spoil(v.t, v.blob(v.hurt.Layers[2].Digest), flip) },
		func(v *victim) { spoil(v.t, v.blob(v.hurt.Config.Digest), flip) },
		func(v *victim) { must(v.t, v.Content.Delete(v.ctx(), v.hurt.Desc.Digest)) },
		func(v *victim) { must(v.t, v.Snapshotter.Remove(v.ctx(), top(v))) },
		func(v *victim) { spoil(v.t, filepath.Join(v.folder(v.hurt, 2), "etc/release"), flip) },
	}
}

// TestKillRepairAndGC kills repairs and collections at random moments: CHECK_KILLS in
// each kind of store, or 8. One more run heals what was damaged and frees what was left;
// what other images have stays as it was, and no lease or lock is left.
func TestKillRepairAndGC(t *testing.T) {
	pulltest.Need(t, pulltest.Root)
	program := build(t)
	for _, p := range teststore.TwoPlaces() {
		t.Run(p.Title, func(t *testing.T) {
			t.Parallel()
			killed(t, p, program)
		})
	}
}

// killed kills commands on one kind of store.
func killed(t *testing.T, p teststore.Place, program string) {
	s := &site{place: p, t: t, root: filepath.Join(t.TempDir(), "root")}
	if p.Version != "" {
		s.Store, s.root, s.daemon = p.Open(t)
	}
	v, random := newVictim(s, program), dice(t, "")
	want := v.has()
	took := map[string]time.Duration{"verify --deep --repair": 0, "gc": 0}
	round := func(command string, after func(undisturbed time.Duration) time.Duration) {
		t.Helper()
		if command == "gc" {
			abandon(t, v.Store, v.hurt)
		} else {
			wounds()[random.IntN(len(wounds()))](v)
		}
		start := time.Now()
		if v.run(command, after(took[command])) == 0 && took[command] == 0 {
			took[command] = time.Since(start)
		}
		if code := v.run(command, 0); code != 0 {
			t.Errorf("got code %d of %s after a kill", code, command)
		}
		must(t, v.Collect(v.ctx(), store.GarbageNow)) // an ingest may be left that no lease holds
		v.noLitter()
		if diff := cmp.Diff(want, v.has()); diff != "" {
			t.Errorf("what the other image has differs after %s (-before +after):\n%s", command, diff)
		}
		for _, ref := range v.refs {
			v.whole(true, ref)
		}
	}
	for command := range took { // which says how long they take
		round(command, func(time.Duration) time.Duration { return 0 })
	}
	for i := range count(t, "CHECK_KILLS", 8) {
		round([]string{"verify --deep --repair", "gc"}[i%2], func(undisturbed time.Duration) time.Duration {
			return time.Duration(1 + random.Int64N(int64(undisturbed)))
		})
		if t.Failed() {
			t.Fatalf("after kill %d", i+1)
		}
	}
}
