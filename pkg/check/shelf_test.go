package check_test

import (
	"bytes"
	"context"
	"io"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/containerd/v2/core/images"
	"github.com/containerd/errdefs"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/containerd-pull/containerd-pull/pkg/check"
	"github.com/containerd-pull/containerd-pull/pkg/fetch"
	"github.com/containerd-pull/containerd-pull/pkg/image"
	"github.com/containerd-pull/containerd-pull/pkg/internal/pulltest"
	"github.com/containerd-pull/containerd-pull/pkg/internal/pulltest/teststore"
	"github.com/containerd-pull/containerd-pull/pkg/source"
	"github.com/containerd-pull/containerd-pull/pkg/store"
	"github.com/containerd-pull/containerd-pull/pkg/unpack"
)

// shelf is an embedded root that images are put into by hand, without a pull and
// without a registry.
type shelf struct {
	*store.Store
	t    *testing.T
	root string
}

func newShelf(t *testing.T) *shelf {
	t.Helper()
	root := filepath.Join(t.TempDir(), "root")
	return &shelf{teststore.Open(t, store.Options{Root: root, Snapshotter: "native"}), t, root}
}

func (s *shelf) ctx() context.Context { return s.Context(s.t.Context()) }

// document stores an index or a manifest with the labels that keep its children.
func (s *shelf) document(desc ocispec.Descriptor, raw []byte) {
	s.t.Helper()
	s.blob(pulltest.NewBlob(raw))
	if children, err := image.ChildrenOf(desc, raw); err == nil {
		s.label(desc.Digest, image.Labels(children, images.ChildGCLabels))
	}
}

func (s *shelf) label(dgst digest.Digest, labels map[string]string) {
	s.t.Helper()
	var fields []string
	for key := range labels {
		fields = append(fields, "labels."+key)
	}
	if len(fields) > 0 { // an update of no fields replaces all
		if _, err := s.Content.Update(s.ctx(), content.Info{Digest: dgst, Labels: labels}, fields...); err != nil {
			s.t.Fatal(err)
		}
	}
}

// put stores the whole tree of an image.
func (s *shelf) put(img *pulltest.Image) {
	s.t.Helper()
	for _, child := range img.Children {
		s.put(child)
	}
	for _, b := range img.Blobs() {
		s.blob(b)
	}
	s.document(img.Desc, img.Raw)
}

func (s *shelf) blob(b pulltest.Blob) {
	s.t.Helper()
	if _, err := s.Content.Info(s.ctx(), b.Digest); errdefs.IsNotFound(err) {
		data, err := b.Bytes()
		if err != nil {
			s.t.Fatal(err)
		}
		teststore.Blob(s.ctx(), s.t, s.Store, string(data))
	}
}

// unpack unpacks an image that was put there.
func (s *shelf) unpack(img *pulltest.Image) {
	s.t.Helper()
	u := unpack.New(unpack.Options{Store: s.Store, Fetcher: fetch.New(nil, s.Content, nil), Scheduler: unpack.NewScheduler(s.Store, 1, 1)})
	children, err := image.ChildrenOf(img.Desc, img.Raw)
	if err != nil {
		s.t.Fatal(err)
	}
	done, err := u.Unpack(s.ctx(), unpack.Image{Layers: children[1:], DiffIDs: img.DiffIDs()})
	if err != nil {
		s.t.Fatal(err)
	}
	s.label(img.Config.Digest, map[string]string{image.LabelSnapshot + s.Name: done.ChainID.String()})
}

// register writes a record that points to target.
func (s *shelf) register(target ocispec.Descriptor) images.Image {
	s.t.Helper()
	target.Platform = nil
	img := images.Image{Name: "registry.test/team/app:1", Target: target}
	if err := s.Register(s.ctx(), img); err != nil {
		s.t.Fatal(err)
	}
	return img
}

func (s *shelf) check(img images.Image, edits ...func(*check.Checker)) check.Report {
	s.t.Helper()
	c := check.Checker{Store: s.Store}
	for _, edit := range edits {
		edit(&c)
	}
	reports, err := c.Check(s.t.Context(), []images.Image{img})
	if err != nil {
		s.t.Fatal(err)
	}
	return reports[0]
}

func (s *shelf) repair(img images.Image, from source.Source) check.Report {
	s.t.Helper()
	c := check.Checker{Store: s.Store}
	if from != nil {
		c.Source = func(source.Ref) (source.Source, error) { return from, nil }
	}
	reports, err := c.Repair(s.t.Context(), []images.Image{img})
	if err != nil {
		s.t.Fatal(err)
	}
	return reports[0]
}

// file is that of a blob.
func (s *shelf) file(dgst digest.Digest) string {
	return filepath.Join(s.root, "io.containerd.content.v1.content", "blobs", "sha256", dgst.Encoded())
}

// kinds lists what was found, in order.
func kinds(r check.Report) (all []check.Kind) {
	for _, f := range r.Findings {
		all = append(all, f.Kind)
	}
	return all
}

// wantFindings wants one finding for each text, which its message holds.
func wantFindings(t *testing.T, r check.Report, kind check.Kind, texts ...string) {
	t.Helper()
	left := slices.Clone(r.Findings)
	for _, text := range texts {
		i := slices.IndexFunc(left, func(f check.Finding) bool { return f.Kind == kind && strings.Contains(f.Message, text) })
		if i < 0 {
			t.Errorf("got findings %+v, want one of kind %s that says %q", r.Findings, kind, text)
			continue
		}
		left = slices.Delete(left, i, i+1)
	}
	if len(left) > 0 {
		t.Errorf("got findings %+v besides", left)
	}
}

// memory is a Source that serves one image out of memory.
type memory struct {
	target *pulltest.Image
	mu     sync.Mutex
	blobs  map[digest.Digest][]byte
	served []digest.Digest
}

func serve(t *testing.T, img *pulltest.Image) *memory {
	t.Helper()
	m := &memory{target: img, blobs: map[digest.Digest][]byte{}}
	m.add(t, img)
	return m
}

func (m *memory) add(t *testing.T, img *pulltest.Image) {
	t.Helper()
	m.blobs[img.Desc.Digest] = img.Raw
	for _, b := range img.Blobs() {
		var err error
		m.blobs[b.Digest], err = b.Bytes()
		if err != nil {
			t.Fatal(err)
		}
	}
	for _, child := range img.Children {
		m.add(t, child)
	}
}

func (m *memory) get(dgst digest.Digest) ([]byte, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	body, ok := m.blobs[dgst]
	if !ok {
		return nil, errdefs.ErrNotFound
	}
	m.served = append(m.served, dgst)
	return body, nil
}

func (m *memory) Resolve(context.Context, source.Ref) (source.Target, error) {
	return source.Target{Desc: m.target.Desc, Body: m.target.Raw, Host: "memory"}, nil
}

func (m *memory) Refresh(ctx context.Context, ref source.Ref, _ source.Target) (source.Target, error) {
	return m.Resolve(ctx, ref)
}

func (m *memory) Manifest(_ context.Context, _ source.Ref, desc ocispec.Descriptor) (source.Target, error) {
	body, err := m.get(desc.Digest)
	return source.Target{Desc: desc, Body: body, Host: "memory"}, err
}

func (m *memory) Open(_ context.Context, _ source.Ref, desc ocispec.Descriptor, rng source.Range) (*source.Body, error) {
	body, err := m.get(desc.Digest)
	if err != nil {
		return nil, err
	}
	end := rng.Offset + rng.Of(int64(len(body)))
	return &source.Body{ReadCloser: io.NopCloser(bytes.NewReader(body[rng.Offset:end])), Host: "memory", Ranged: true}, nil
}

func (m *memory) Document(ctx context.Context, ref source.Ref, desc ocispec.Descriptor) (*source.Body, error) {
	return m.Open(ctx, ref, desc, source.Range{})
}

func (m *memory) Blame(source.Ref, ocispec.Descriptor, string, error) {}
func (m *memory) Suspect(source.Ref, ocispec.Descriptor, ...string)   {}
func (m *memory) Backoff(_ context.Context, _ int, cause error) error { return cause }
func (m *memory) Slow(error) bool                                     { return false }
func (m *memory) StallTimeout() time.Duration                         { return time.Minute }
