// Package watch tells what is being fetched into a containerd, by whichever client:
// it looks at the ingests of every namespace again and again, puts those of one image
// together, and makes of the differences the events of pkg/progress, so that rates
// and displays are those of a pull.
//
// It changes nothing in the daemon and takes no lease. What it can know is what the
// daemon shows: it does not see hosts, retries, or what is unpacked. Read Watcher
// first, then arrange.go for how an ingest finds its image, and pull.go for what two
// looks say.
package watch

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/errdefs"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/containerd-pull/containerd-pull/pkg/progress"
	"github.com/containerd-pull/containerd-pull/pkg/store"
	"github.com/containerd-pull/containerd-pull/pkg/store/daemon"
)

// Watcher follows the pulls of a daemon. Its fields are set before it is used; one
// goroutine uses it at a time.
type Watcher struct {
	Daemon *daemon.Observer
	// Interval is the time between two looks, Timeout bounds each of them.
	Interval, Timeout time.Duration
	// Progress takes the events of all pulls, each under the Title of its pull; nil
	// discards them.
	Progress progress.Sink
	// Warn is told when the daemon goes away and when it is back; nil if not.
	Warn func(message string)

	looks map[string]*look // by namespace
	pulls map[key]*pull
}

const (
	// staleAfter is how old what surrounds unchanging ingests may be: a pull may end,
	// and leave them to another lease.
	staleAfter = 5 * time.Second
	// unlistedAfter is the same where the manifest of one is not there yet: this program
	// stores it when it has a layer.
	unlistedAfter = time.Second
)

// look is the latest one at a namespace.
type look struct {
	time    time.Time
	ingests []string // their keys, sorted
	*setting
}

// Run looks until ctx ends, whose cause it returns, or show fails. A daemon that goes
// away is waited for; other failures of a look are given up when they do not pass.
func (w *Watcher) Run(ctx context.Context, show func([]Pull) error) error {
	const tries = 5
	tick := time.NewTicker(w.Interval)
	defer tick.Stop()
	failed := 0
	for away := false; ; {
		pulls, err := w.Look(ctx)
		switch {
		case context.Cause(ctx) != nil:
			return context.Cause(ctx)
		case errors.Is(err, store.ErrUnavailable):
			if !away {
				w.warn(err.Error() + "; waiting for it")
			}
			away = true
		case err != nil:
			if failed++; failed == tries {
				return err
			}
		default:
			if away {
				w.warn("containerd answers again at " + w.Daemon.Address())
			}
			away, failed = false, 0
			if err := show(pulls); err != nil {
				return err
			}
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
		}
	}
}

func (w *Watcher) warn(message string) {
	if w.Warn != nil {
		w.Warn(message)
	}
}

// Once looks twice, with the interval between, which is what it takes to see how fast
// something moves.
func (w *Watcher) Once(ctx context.Context) ([]Pull, error) {
	if _, err := w.Look(ctx); err != nil {
		return nil, err
	}
	select {
	case <-time.After(w.Interval):
		return w.Look(ctx)
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

// Look returns the pulls that are running now, and once more those that have ended
// since the look before, in the order of namespaces and titles.
func (w *Watcher) Look(ctx context.Context) ([]Pull, error) {
	ctx, cancel := context.WithTimeout(ctx, w.Timeout)
	defer cancel()
	ingests, err := w.Daemon.Ingests(ctx)
	if err != nil {
		return nil, err
	}
	var groups []*group
	for _, ns := range slices.Sorted(maps.Keys(ingests)) {
		if err := w.lookAt(ctx, ns, ingests[ns]); err != nil {
			return nil, err
		}
		if l := w.looks[ns]; l != nil {
			groups = append(groups, l.arrange(ingests[ns])...)
		}
	}
	pulls := w.follow(time.Now(), groups)
	maps.DeleteFunc(w.looks, func(ns string, _ *look) bool {
		return !slices.ContainsFunc(slices.Collect(maps.Keys(w.pulls)), func(k key) bool { return k.namespace == ns })
	})
	return pulls, nil
}

// lookAt looks at what surrounds the ingests of a namespace, unless what was seen
// before will do.
func (w *Watcher) lookAt(ctx context.Context, ns string, ingests []content.Status) error {
	keys := make([]string, len(ingests))
	for i, status := range ingests {
		keys[i] = status.Ref
	}
	slices.Sort(keys)
	now := time.Now()
	if !w.isStale(now, ns, keys) {
		return nil
	}
	scene, err := w.Daemon.Scene(ctx, ns)
	if err != nil {
		return err
	}
	s := &setting{Scene: scene, namespace: ns}
	if s.manifests, err = w.read(ctx, ns, scene, keys); err != nil {
		return err
	}
	if w.looks == nil {
		w.looks = map[string]*look{}
	}
	w.looks[ns] = &look{now, keys, s}
	return nil
}

// isStale reports whether the latest look at a namespace says too little about its
// ingests of now.
func (w *Watcher) isStale(now time.Time, ns string, keys []string) bool {
	before := w.looks[ns]
	if before == nil {
		return len(keys) > 0
	}
	age, waits, lasts := now.Sub(before.time), false, staleAfter
	for k, p := range w.pulls {
		if k.namespace == ns && len(p.manifests) == 0 {
			lasts = unlistedAfter
		}
		waits = waits || k.namespace == ns && !p.idle.IsZero()
	}
	return waits || !slices.Equal(before.ingests, keys) || len(keys) > 0 && age >= lasts
}

// read returns those manifests of a namespace that may list one of the ingests.
func (w *Watcher) read(ctx context.Context, ns string, s *daemon.Scene, keys []string) (map[digest.Digest]ocispec.Manifest, error) {
	wanted := map[digest.Digest]bool{}
	for _, key := range keys {
		if _, dgst, ok := parseKey(key); ok {
			for parent, info := range s.Blobs {
				wanted[parent] = wanted[parent] || mayList(info, dgst)
			}
		}
	}
	some, known := map[digest.Digest]ocispec.Manifest{}, map[digest.Digest]ocispec.Manifest{}
	if l := w.looks[ns]; l != nil {
		known = l.manifests
	}
	for dgst, want := range wanted {
		if !want {
			continue
		}
		m, ok := known[dgst]
		if !ok {
			var err error
			m, err = w.Daemon.Manifest(ctx, ns, s.Blobs[dgst])
			if err != nil && !errdefs.IsNotFound(err) {
				return nil, err
			}
		}
		some[dgst] = m
	}
	return some, nil
}

// follow tells the pulls what the latest look has shown of them.
func (w *Watcher) follow(now time.Time, groups []*group) []Pull {
	if w.pulls == nil {
		w.pulls = map[key]*pull{}
	}
	seen := map[key]*group{}
	for _, g := range groups {
		seen[g.key()] = g
		if w.pulls[g.key()] == nil {
			w.pulls[g.key()] = newPull(now, g, w.Progress)
		}
	}
	all := make([]Pull, 0, len(w.pulls))
	for k, p := range w.pulls {
		p.see(now, seen[k], w.looks[k.namespace])
		if seen[key{k.namespace, k.title, true}] != nil && seen[k] == nil {
			p.idle = now.Add(-goneAfter) // what it has left is another pull
		}
		shown := p.shown(now)
		all = append(all, shown)
		if shown.State.isOver() {
			p.end(now, shown)
			delete(w.pulls, k)
		}
	}
	slices.SortFunc(all, func(a, b Pull) int {
		return cmp.Or(cmp.Compare(a.Namespace, b.Namespace), cmp.Compare(a.Title(), b.Title()), cmp.Compare(a.State, b.State))
	})
	return all
}

// Title names a pull to a reader. Pulls that run at the same time have different
// ones.
func (i Image) Title() string {
	switch {
	case i.Name != "":
		return i.Name
	case i.Target != "" && len(i.Repositories) > 0:
		return i.Repositories[0] + "@" + i.Target.String()
	case i.Target != "":
		return i.Target.String()
	case i.Lease != "":
		return fmt.Sprintf("lease %s", i.Lease)
	}
	return "unknown image"
}
