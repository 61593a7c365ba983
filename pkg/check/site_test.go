package check_test

import (
	"context"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/containerd/v2/core/images"
	"github.com/containerd/containerd/v2/core/leases"
	"github.com/containerd/containerd/v2/core/snapshots"
	"github.com/opencontainers/go-digest"

	"github.com/containerd-pull/containerd-pull/pkg/check"
	"github.com/containerd-pull/containerd-pull/pkg/internal/pulltest"
	"github.com/containerd-pull/containerd-pull/pkg/internal/pulltest/testdaemon"
	"github.com/containerd-pull/containerd-pull/pkg/internal/pulltest/teststore"
	"github.com/containerd-pull/containerd-pull/pkg/progress"
	"github.com/containerd-pull/containerd-pull/pkg/pull"
	"github.com/containerd-pull/containerd-pull/pkg/registry"
	"github.com/containerd-pull/containerd-pull/pkg/registry/hosts"
	"github.com/containerd-pull/containerd-pull/pkg/source"
	"github.com/containerd-pull/containerd-pull/pkg/store"
)

// each runs the test at each place, with a fresh root.
func each(t *testing.T, all []teststore.Place, test func(t *testing.T, s *site)) {
	t.Helper()
	pulltest.Need(t, pulltest.Root)
	for _, p := range all {
		t.Run(p.Title, func(t *testing.T) {
			t.Parallel()
			s := &site{place: p, t: t}
			s.Store, s.root, s.daemon = p.Open(t)
			test(t, s)
		})
	}
}

// site is a place in use.
type site struct {
	*store.Store
	place  teststore.Place
	t      testing.TB
	root   string
	daemon *testdaemon.Daemon
}

// in is the site in a part of its test.
func (s *site) in(t testing.TB) *site {
	part := *s
	part.t = t
	return &part
}

func (s *site) ctx() context.Context { return s.Context(s.t.Context()) }

func (s *site) pull(ref string, edits ...func(*pull.Request)) {
	s.t.Helper()
	parsed, err := source.ParseRef(ref)
	if err != nil {
		s.t.Fatal(err)
	}
	r := pull.Request{Ref: parsed}
	for _, edit := range edits {
		edit(&r)
	}
	reg, err := newRegistry(r.Ref)
	if err != nil {
		s.t.Fatal(err)
	}
	p := &pull.Puller{Store: s.Store, Source: reg}
	if _, err := p.Pull(s.t.Context(), r); err != nil {
		s.t.Fatal(err)
	}
}

func newRegistry(source.Ref) (source.Source, error) {
	return registry.New(registry.Options{
		Hosts: hosts.Options{PlainHTTP: true}, StallTimeout: 2 * time.Second, Retry: registry.Retry{Count: 2, Delay: 10 * time.Millisecond},
	})
}

func (s *site) checker(deep bool) *check.Checker {
	return &check.Checker{Store: s.Store, Deep: deep, Source: newRegistry}
}

func (s *site) images(refs ...string) []images.Image {
	s.t.Helper()
	var all []images.Image
	for _, ref := range refs {
		img, err := s.Image(s.ctx(), ref)
		if err != nil {
			s.t.Fatal(err)
		}
		if img == nil {
			s.t.Fatalf("no record of %s", ref)
		}
		all = append(all, *img)
	}
	return all
}

// check returns the report of one image.
func (s *site) check(deep bool, ref string) check.Report {
	s.t.Helper()
	reports, err := s.checker(deep).Check(s.t.Context(), s.images(ref))
	if err != nil {
		s.t.Fatal(err)
	}
	report := reports[0]
	s.noLitter()
	return report
}

func (s *site) repair(deep bool, refs ...string) []check.Report {
	s.t.Helper()
	all, err := s.checker(deep).Repair(s.t.Context(), s.images(refs...))
	if err != nil {
		s.t.Fatal(err)
	}
	s.noLitter()
	return all
}

// checkEvents returns what a check of one image shows.
func (s *site) checkEvents(ref string) []progress.Event {
	s.t.Helper()
	var mu sync.Mutex
	var all []progress.Event
	c := s.checker(false)
	c.Progress = func(e progress.Event) {
		mu.Lock()
		defer mu.Unlock()
		all = append(all, e)
	}
	if _, err := c.Check(s.t.Context(), s.images(ref)); err != nil {
		s.t.Fatal(err)
	}
	return all
}

// whole fails the test unless nothing is wrong with ref.
func (s *site) whole(deep bool, ref string) check.Report {
	s.t.Helper()
	report := s.check(deep, ref)
	for _, f := range report.Findings {
		s.t.Errorf("got finding %s %s %s %q, want none", f.Kind, f.Digest, f.Path, f.Message)
	}
	for _, note := range report.Notes {
		s.t.Errorf("got note %q, want none", note)
	}
	return report
}

// ready fails the test unless the daemon finds ref complete and unpacked.
func (s *site) ready(ref string) {
	s.t.Helper()
	if s.daemon == nil {
		return
	}
	teststore.WantReady(s.t, s.daemon, s.Name, ref)
}

// noLitter fails the test if a lease, a view or an unfinished snapshot is left.
func (s *site) noLitter() {
	s.t.Helper()
	list, err := s.Leases.List(s.ctx())
	if err != nil {
		s.t.Fatal(err)
	}
	for _, l := range list {
		if l.ID == keeper {
			continue
		}
		s.t.Errorf("got lease %s with %v, want none", l.ID, l.Labels)
	}
	for name, info := range s.snapshots() {
		if info.Kind != snapshots.KindCommitted {
			s.t.Errorf("got %s snapshot %s, want none", info.Kind, name)
		}
	}
	all, err := s.Content.ListStatuses(s.ctx())
	if err != nil {
		s.t.Fatal(err)
	}
	for _, in := range all {
		s.t.Errorf("got ingest %s, want none", in.Ref)
	}
}

const keeper = "keeper"

// keepAll keeps what there is from being collected, so that a daemon does not
// add to the damage of a test.
func (s *site) keepAll() {
	s.t.Helper()
	l, err := s.Leases.Create(s.ctx(), leases.WithID(keeper))
	if err != nil {
		s.t.Fatal(err)
	}
	keep := func(kind, id string) error {
		return s.Leases.AddResource(s.ctx(), l, leases.Resource{ID: id, Type: kind})
	}
	must(s.t, s.Content.Walk(s.ctx(), func(info content.Info) error { return keep("content", info.Digest.String()) }))
	for name := range s.snapshots() {
		must(s.t, keep("snapshots/"+s.Name, name))
	}
}

func (s *site) snapshots() map[string]snapshots.Info {
	s.t.Helper()
	return teststore.Snapshots(s.ctx(), s.t, s.Store)
}

// blob is the file of a blob.
func (s *site) blob(dgst digest.Digest) string {
	return filepath.Join(s.root, "io.containerd.content.v1.content", "blobs", "sha256", dgst.Encoded())
}

// folder is that of the snapshot of layer n of img.
func (s *site) folder(img *pulltest.Image, n int) string {
	s.t.Helper()
	lowers, err := s.Lowers(s.ctx(), img.ChainIDs()[n].String())
	if err != nil {
		s.t.Fatal(err)
	}
	defer store.CloseAll(lowers)
	return lowers[0].Name()
}

// spoil changes a file in place, without its name, mode or size.
func spoil(t testing.TB, path string, edit func([]byte) []byte) {
	t.Helper()
	body, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_TRUNC, 0)
	if err != nil {
		t.Fatal(err)
	}
	_, err = f.Write(edit(body))
	if cerr := f.Close(); err != nil || cerr != nil {
		t.Fatal(err, cerr)
	}
}

// flip changes one bit in the middle.
func flip(p []byte) []byte {
	p[len(p)/2] ^= 0x10
	return p
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
