// Package check answers one question: is what is registered still whole? It
// hashes the blobs that an image promises, looks at the labels that keep them
// from being collected and at the chain of snapshots and, if asked, compares
// the unpacked files with the layers.
//
// Check changes nothing; Repair (repair.go) mends what it finds. Neither follows
// a tag nor writes an image record. Read walk.go for what an image promises,
// unit.go for what of it belongs to one platform, deep.go for the comparison of
// files; how an image is pulled is in pkg/pull.
package check

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"runtime"
	"slices"
	"time"

	"github.com/containerd/containerd/v2/core/images"
	"github.com/containerd/containerd/v2/core/snapshots"
	"github.com/containerd/errdefs"
	"github.com/containerd/platforms"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/containerd-pull/containerd-pull/pkg/progress"
	"github.com/containerd-pull/containerd-pull/pkg/source"
	"github.com/containerd-pull/containerd-pull/pkg/store"
	"github.com/containerd-pull/containerd-pull/pkg/unpack"
)

// Checker checks images of one store.
type Checker struct {
	Store    *store.Store
	Progress progress.Sink
	// Deep also compares the unpacked files with the layers.
	Deep bool
	// Platforms that must be there; AllPlatforms takes every one of an index. With
	// neither, it is those of which the store has more than manifest and config.
	Platforms    []ocispec.Platform
	AllPlatforms bool
	// Source returns where Repair fetches what is missing of an image.
	Source func(source.Ref) (source.Source, error)
	// Downloads and Unpacks bound what Repair does at once; 0 is one per CPU.
	Downloads, Unpacks int
	// Bounds are those of each layer that Repair unpacks, and Reserve is what it
	// leaves free on the file systems of blobs and snapshots.
	Bounds  unpack.Bounds
	Reserve store.Reserve
}

// Kind is what is wrong. The values are API.
type Kind string

const (
	Missing   Kind = "missing"   // a blob is not in the content store
	Corrupt   Kind = "corrupt"   // a blob has other bytes than its digest says
	Malformed Kind = "malformed" // a document has the right bytes and makes no sense
	Label     Kind = "label"     // a label of a blob is missing or wrong
	Snapshot  Kind = "snapshot"  // a snapshot is missing or has the wrong parent
	Tree      Kind = "tree"      // a file of a snapshot is not as the layer says
	DiffID    Kind = "diff-id"   // a layer unpacks to something else than the config says
)

// Finding is one thing that is wrong with an image.
type Finding struct {
	Kind     Kind
	Platform string        // empty for what concerns all of them
	Digest   digest.Digest // of the blob; the chain ID of a snapshot
	Path     string        // of the file in the snapshot, from its root
	Message  string
	// Unrepaired is why Repair could not mend it.
	Unrepaired string

	fix repairOptions
}

// key identifies a finding across two checks.
func (f Finding) key() string {
	return fmt.Sprint(f.Kind, "\x00", f.Digest, "\x00", f.Path, "\x00", f.fix.key)
}

// Report is what was found out about one image.
type Report struct {
	Image     images.Image
	Platforms []string
	Counts
	Compared int // snapshots, file by file, with Deep
	Findings []Finding
	Repaired []Finding
	// Notes say what could not be looked at, and why.
	Notes []string

	seen  inventory
	units []*repairUnit
	held  []digest.Digest // blobs that the store has of it
	gone  bool            // another client removed it, or pulled it anew
}

// Whole reports whether nothing is wrong with the image.
func (r Report) Whole() bool { return len(r.Findings) == 0 }

// Check reports on imgs, in their order. It changes nothing, except that with
// Deep the layers are unpacked into snapshots that are removed again. An error
// means that the store could not be asked.
func (c *Checker) Check(ctx context.Context, imgs []images.Image) (reports []Report, err error) {
	ctx = c.Store.Context(ctx)
	if !c.Deep {
		return c.check(ctx, imgs)
	}
	leased, done, err := c.lease(ctx)
	if err != nil {
		return nil, err
	}
	reports, err = c.check(leased, imgs)
	return reports, errors.Join(err, done())
}

// lease holds the snapshots that layers are unpacked into for comparison, and
// what is being repaired.
func (c *Checker) lease(ctx context.Context) (context.Context, func() error, error) {
	leased, lease, err := c.Store.Lease(ctx, "verify")
	if err != nil {
		return ctx, nil, store.WithCause(ctx, err)
	}
	return leased, func() error {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), cleanupTime)
		defer cancel()
		return lease.Delete(ctx)
	}, nil
}

func (c *Checker) check(ctx context.Context, imgs []images.Image) ([]Report, error) {
	r, err := c.newRun(ctx)
	if err != nil {
		return nil, store.WithCause(ctx, err)
	}
	return r.all(ctx, imgs)
}

// run is one Check: what is known of blobs and snapshots, each looked at once
// however many images share it.
type run struct {
	*Checker
	blobs     *blobs
	snapshots map[string]snapshots.Info
	guard     *store.Guard
	lost      map[string]string      // what is wrong with the folders of snapshots, by name
	trees     map[string]*comparison // by chain ID
	// blank are configs that were fetched anew without the label which shows that
	// their image was unpacked. The image is going to be unpacked.
	blank map[digest.Digest]bool
	// userXattr is nil until it is known.
	userXattr *bool
}

func (c *Checker) newRun(ctx context.Context) (*run, error) {
	r := &run{Checker: c, guard: store.NewGuard(c.Reserve), blobs: newBlobs(c.Store, c.Progress), trees: map[string]*comparison{}, blank: map[digest.Digest]bool{}}
	return r, r.refresh(ctx)
}

// refresh lists the snapshots anew.
func (r *run) refresh(ctx context.Context) error {
	r.snapshots, r.lost = map[string]snapshots.Info{}, map[string]string{}
	err := r.Store.Snapshotter.Walk(ctx, func(_ context.Context, info snapshots.Info) error {
		r.snapshots[info.Name] = info
		return nil
	})
	if err != nil {
		return fmt.Errorf("listing snapshots: %w", err)
	}
	return nil
}

// all reports on imgs.
func (r *run) all(ctx context.Context, imgs []images.Image) ([]Report, error) {
	var reports []Report
	for _, img := range imgs {
		report, err := r.image(ctx, img)
		if err != nil {
			return reports, store.WithCause(ctx, fmt.Errorf("checking %s: %w", img.Name, err))
		}
		reports = append(reports, report)
	}
	return reports, nil
}

func (r *run) hasSnapshot(name string) bool { _, ok := r.snapshots[name]; return ok }

// image reports on one image. What is wrong with an image that was removed or
// pulled anew meanwhile does not count.
func (r *run) image(ctx context.Context, img images.Image) (Report, error) {
	w := &walk{
		run: r, report: Report{Image: img, seen: newInventory()},
		kept: map[digest.Digest]map[string]string{}, indexes: map[digest.Digest]*document{}, absent: map[digest.Digest]bool{},
	}
	start := time.Now()
	r.Progress.Emit(progress.Event{Kind: progress.Verify, Ref: img.Name, Digest: img.Target.Digest})
	if err := w.target(ctx); err != nil {
		return Report{}, err
	}
	w.report.Counts = w.report.seen.counts()
	r.Progress.Emit(progress.Event{
		Kind: progress.Verified, Ref: img.Name, Digest: img.Target.Digest,
		Bytes: progress.Bytes{Done: w.report.Bytes}, Findings: len(w.report.Findings), Duration: time.Since(start),
	})
	w.report.held = w.held()
	if w.report.Whole() {
		return w.report, nil
	}
	now, err := r.Store.Image(ctx, img.Name)
	if err != nil {
		return Report{}, err
	}
	if now == nil || now.Target.Digest != img.Target.Digest {
		w.report.Findings, w.report.gone = nil, true
		w.report.Notes = append(w.report.Notes, "it was removed or pulled anew while it was checked")
	}
	return w.report, nil
}

func limit(n int) int {
	if n > 0 {
		return n
	}
	return runtime.GOMAXPROCS(0)
}

// abortive reports whether err ends the whole check; other errors say something
// about one blob or file.
func abortive(ctx context.Context, err error) bool {
	return ctx.Err() != nil || errdefs.IsUnavailable(err) || errdefs.IsCanceled(err) || errdefs.IsDeadlineExceeded(err)
}

// held lists what the store has of the image, good or bad.
func (w *walk) held() []digest.Digest {
	all := slices.Collect(maps.Keys(w.kept))
	for _, p := range w.report.units {
		for i, v := range p.verdicts {
			if v.record {
				all = append(all, p.layers[i].Digest)
			}
		}
		for i, v := range p.besideVerdicts {
			if v.record {
				all = append(all, p.beside[i].Digest)
			}
		}
	}
	return all
}

func isCommitted(info snapshots.Info) bool { return info.Kind == snapshots.KindCommitted }

func (w *walk) found(f Finding) { w.report.Findings = append(w.report.Findings, f) }

func (w *walk) note(format string, args ...any) {
	w.report.Notes = append(w.report.Notes, fmt.Sprintf(format, args...))
}

func platformName(p *ocispec.Platform) string {
	if p == nil || p.OS == "" {
		return ""
	}
	return platforms.FormatAll(*p)
}
