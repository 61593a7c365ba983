package check_test

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"

	"github.com/containerd/containerd/v2/core/mount"
	"github.com/containerd/containerd/v2/core/snapshots"

	"github.com/containerd-pull/containerd-pull/pkg/internal/pulltest/testregistry"
	"github.com/containerd-pull/containerd-pull/pkg/internal/pulltest/teststore"
	"github.com/containerd-pull/containerd-pull/pkg/store"
)

// vanishing is a snapshotter before whose next snapshot something else happens.
type vanishing struct {
	snapshots.Snapshotter
	before func(context.Context) error
}

// Prepare implements snapshots.Snapshotter.
func (v vanishing) Prepare(ctx context.Context, key, parent string, opts ...snapshots.Opt) ([]mount.Mount, error) {
	if err := v.before(ctx); err != nil {
		return nil, err
	}
	return v.Snapshotter.Prepare(ctx, key, parent, opts...)
}

// TestLayerVanishesDuringRepair removes the blob of a layer by force after a repair
// has found that it needs no registry: it is fetched, or it is said why not.
func TestLayerVanishesDuringRepair(t *testing.T) {
	img := small(t, "vanishing")
	for name, want := range map[string]string{"with a registry": "", "without a registry": "there is no registry to ask"} {
		t.Run(name, func(t *testing.T) {
			each(t, teststore.TwoPlaces(), func(t *testing.T, s *site) {
				ref := testregistry.Push(t, testregistry.Start(t, testregistry.Options{}), "team/app:1", img)
				s.pull(ref)
				top := len(img.Layers) - 1
				must(t, s.Snapshotter.Remove(s.ctx(), img.ChainIDs()[top].String()))
				plain := s.Snapshotter
				var once sync.Once // a collection may have taken more than one snapshot
				s.Snapshotter = vanishing{plain, func(ctx context.Context) (err error) {
					once.Do(func() {
						err = errors.Join(s.Content.Delete(ctx, img.Layers[top].Digest), s.Collect(ctx, store.GarbageNow))
					})
					return err
				}}
				c := s.checker(false)
				if want != "" {
					c.Source = nil
				}
				reports, err := c.Repair(t.Context(), s.images(ref))
				s.Snapshotter = plain
				must(t, err)
				if got := strings.Join(refusals(reports[0]), " "); !strings.Contains(got, want) || reports[0].Whole() != (want == "") {
					t.Errorf("got %+v, want reasons with %q", reports[0], want)
				}
				must(t, s.Collect(s.ctx(), store.GarbageNow)) // an ingest is left that no lease holds
				s.noLitter()
			})
		})
	}
}
