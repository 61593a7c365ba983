package pull

import (
	"context"
	"fmt"
	"sync"

	"github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/containerd/v2/core/remotes"
	"github.com/containerd/errdefs"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/sync/errgroup"

	"github.com/containerd-pull/containerd-pull/pkg/failure"
	"github.com/containerd-pull/containerd-pull/pkg/fetch"
	"github.com/containerd-pull/containerd-pull/pkg/image"
	"github.com/containerd-pull/containerd-pull/pkg/progress"
	"github.com/containerd-pull/containerd-pull/pkg/store"
)

// Missing is what a pull has to bring into the store, and what it has to set
// right there. Blobs and snapshots are in the order of the plan, each once.
type Missing struct {
	// Documents of the selected images, and Layers, that the content store does
	// not have. A layer that the pull can do without is not among them.
	Documents, Layers []ocispec.Descriptor
	// Others are manifests of other platforms that are not there, or whose
	// configs are not.
	Others []ocispec.Descriptor
	// Snapshots are the chain IDs of those to be unpacked.
	Snapshots []digest.Digest
	// Unlabelled blobs are there without labels that keep what they refer to, or
	// that say where they come from.
	Unlabelled []digest.Digest
	// WrongSize are blobs in whose place there is a file of another size that
	// would be taken for them.
	WrongSize []ocispec.Descriptor
	// Leases are those that dead pulls of the image left.
	Leases int
	// Record: the image record is to be written.
	Record bool
	// Bytes are those of Documents and Layers, less what earlier pulls left of
	// them and what other namespaces have; Unpacked are those of Snapshots, and
	// Inodes those of all three. The pull takes at least so much room.
	Bytes, Unpacked, Inodes int64
}

// Nothing reports whether there is nothing to do.
func (m Missing) Nothing() bool {
	things := len(m.Documents) + len(m.Layers) + len(m.Others) + len(m.Snapshots) + len(m.Unlabelled) + len(m.WrongSize)
	return things == 0 && m.Leases == 0 && !m.Record
}

// isDone reports whether a run of pl would change nothing.
func (pl *Plan) isDone() bool { return pl.mayBeDone() && pl.Missing.Nothing() }

// mayBeDone reports whether the record is right and the request wants nothing
// that the store does not show.
func (pl *Plan) mayBeDone() bool {
	req := pl.Request
	return !pl.writesRecord() && !req.DiscardLayers && !req.SyncFS && req.Engine != EngineTransfer
}

func (pl *Plan) writesRecord() bool {
	return pl.Previous != pl.Target.Digest || len(pl.NewLabels) > 0
}

// survey finds out what of pl is missing, and how much room there is for it.
func (p *Puller) survey(ctx context.Context, pl *Plan) (store.FreeSpace, error) {
	s := p.newSurvey(pl)
	if err := s.askAll(ctx); err != nil {
		return s.space, err
	}
	pl.Missing, pl.Kept = s.missing(ctx), s.kept
	return s.space, nil
}

// checkPromised is an errdefs.ErrNotFound if something is missing that the
// record of pl promises: a document, a snapshot, or a layer of what is not
// unpacked.
func (p *Puller) checkPromised(ctx context.Context, pl *Plan) error {
	s := p.newSurvey(pl)
	if err := s.askPromised(ctx); err != nil {
		return err
	}
	switch m := s.missing(ctx); {
	case len(m.Documents) > 0:
		return failure.New(errdefs.ErrNotFound, "document %s is not in the store", m.Documents[0].Digest)
	case len(m.Snapshots) > 0:
		return failure.New(errdefs.ErrNotFound, "snapshot %s is not in the store", m.Snapshots[0])
	case len(m.Layers) > 0:
		return failure.New(errdefs.ErrNotFound, "layer %s is not in the store", m.Layers[0].Digest)
	}
	return nil
}

// survey is what the store answers about a plan.
type survey struct {
	p  *Puller
	pl *Plan

	mu        sync.Mutex // guards the answers while questions are out
	space     store.FreeSpace
	blobs     map[digest.Digest]*content.Info // of those asked for; nil is not there
	snapshots map[digest.Digest]bool          // of those asked for, by chain ID
	others    map[digest.Digest]bool          // manifests of other platforms, with their configs
	kept      []Document                      // those of others that are there
	begun     map[string]int64                // bytes of ingests, by ref
	leases    int
}

func (p *Puller) newSurvey(pl *Plan) *survey {
	return &survey{
		p: p, pl: pl, blobs: map[digest.Digest]*content.Info{}, snapshots: map[digest.Digest]bool{},
		others: map[digest.Digest]bool{}, begun: map[string]int64{},
	}
}

// questions is how many are out at once: a daemon's answers take longer on the
// way than to be found.
const questions = 16

// askAll asks for everything that a pull would write, or tidy up.
func (s *survey) askAll(ctx context.Context) error {
	return s.ask(ctx, func(ask func(func(context.Context) error)) {
		ask(s.askSpace)
		ask(s.askLeases)
		ask(s.askIngests)
		s.askOthers(ask)
		s.askContents(ask, func(Selected) bool { return true })
	})
}

// askPromised asks for what the record of the plan promises and nothing else.
func (s *survey) askPromised(ctx context.Context) error {
	return s.ask(ctx, func(ask func(func(context.Context) error)) {
		s.askContents(ask, func(sel Selected) bool { return !sel.Unpack })
	})
}

// ask has the questions asked that list passes on, several at once.
func (s *survey) ask(ctx context.Context, list func(ask func(func(context.Context) error))) error {
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(questions)
	list(func(question func(context.Context) error) {
		g.Go(func() error { return question(ctx) })
	})
	return g.Wait()
}

// askContents asks for the documents, the snapshots, and the layers of those
// images for which layers reports true; for each once.
func (s *survey) askContents(ask func(func(context.Context) error), layers func(Selected) bool) {
	blobs, parents := map[digest.Digest]bool{}, map[digest.Digest]digest.Digest{}
	for _, d := range s.pl.Documents {
		blobs[d.Desc.Digest] = true
	}
	for _, sel := range s.pl.Images {
		wanted := sel.Beside
		if layers(sel) {
			wanted = sel.blobs()
		}
		for _, l := range wanted {
			blobs[l.Digest] = true
		}
		parent := digest.Digest("")
		for _, id := range sel.chain() {
			parents[id], parent = parent, id
		}
	}
	for dgst := range blobs {
		ask(func(ctx context.Context) error { return s.askBlob(ctx, dgst) })
	}
	for id, parent := range parents {
		ask(func(ctx context.Context) error { return s.askSnapshot(ctx, id, parent) })
	}
}

// assumeEmpty answers the questions for an empty store.
func (s *survey) assumeEmpty() {
	for desc := range s.pl.blobs {
		s.blobs[desc.Digest] = nil
	}
	for _, sel := range s.pl.Images {
		for _, id := range sel.chain() {
			s.snapshots[id] = false
		}
	}
}

// lookUpBlob asks the store whether it has a blob.
func (p *Puller) lookUpBlob(ctx context.Context, dgst digest.Digest) (content.Info, bool, error) {
	info, err := p.Store.Content.Info(ctx, dgst)
	if errdefs.IsNotFound(err) {
		return info, false, nil
	}
	if err != nil {
		return info, false, fmt.Errorf("looking up blob %s: %w", dgst, err)
	}
	return info, true, nil
}

// askBlob and askSnapshot alone decide what is there.
func (s *survey) askBlob(ctx context.Context, dgst digest.Digest) error {
	info, there, err := s.p.lookUpBlob(ctx, dgst)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.blobs[dgst] = nil; there {
		s.blobs[dgst] = &info
	}
	return err
}

func (s *survey) askSnapshot(ctx context.Context, id, parent digest.Digest) error {
	there, err := s.p.Store.HasOn(ctx, id.String(), parent.String())
	s.mu.Lock()
	defer s.mu.Unlock()
	s.snapshots[id] = there
	return err
}

// askOthers asks for what is kept of other platforms.
func (s *survey) askOthers(ask func(func(context.Context) error)) {
	for _, desc := range s.pl.Others {
		ask(func(ctx context.Context) error { return s.askOther(ctx, desc.Digest) })
	}
}

// findKept finds out what of other platforms the store has.
func (p *Puller) findKept(ctx context.Context, pl *Plan) error {
	s := p.newSurvey(pl)
	err := s.ask(ctx, s.askOthers)
	pl.Kept = s.kept
	return err
}

// askOther asks for a manifest of another platform, and for the config that it
// keeps.
func (s *survey) askOther(ctx context.Context, dgst digest.Digest) error {
	manifest, there, err := s.p.lookUpBlob(ctx, dgst)
	kept := []Document{{Desc: ocispec.Descriptor{Digest: dgst, Size: manifest.Size}, Kind: progress.Manifest}}
	if config := digest.Digest(manifest.Labels[image.LabelConfig]); there && config != "" {
		var info content.Info
		info, there, err = s.p.lookUpBlob(ctx, config)
		kept = append(kept, Document{Desc: ocispec.Descriptor{Digest: config, Size: info.Size}, Kind: progress.Config})
	} else {
		there = false
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.others[dgst] = there; there {
		s.kept = append(s.kept, kept...)
	}
	return err
}

// askLeases asks for the leases that dead pulls of the image left.
func (s *survey) askLeases(ctx context.Context) error {
	orphans, err := s.p.Store.Orphans(ctx, s.pl.Name)
	s.leases = len(orphans)
	return err
}

func (s *survey) askIngests(ctx context.Context) error {
	ingests, err := s.p.Store.Content.ListStatuses(ctx)
	if err != nil {
		return fmt.Errorf("listing ingests: %w", err)
	}
	for _, in := range ingests {
		s.begun[in.Ref] = in.Offset
	}
	return nil
}

func (s *survey) askSpace(ctx context.Context) error {
	s.space = s.p.Store.FreeSpace(ctx)
	return nil
}

// missing draws the conclusion from the answers. What was not asked for is not
// missing.
func (s *survey) missing(ctx context.Context) Missing {
	t := tally{survey: s, listed: map[string]bool{}}
	t.Record, t.Leases = s.pl.writesRecord(), s.leases
	for _, desc := range s.pl.Others {
		if there, asked := s.others[desc.Digest]; asked && !there {
			t.Others = append(t.Others, desc)
		}
	}
	for _, d := range s.pl.Documents {
		t.document(ctx, d)
	}
	for _, sel := range s.pl.Images {
		for i, l := range sel.Layers {
			t.layer(ctx, l, !sel.Unpack, t.canDoWithout(sel, i))
		}
		for _, desc := range sel.Beside {
			t.layer(ctx, desc, true, false)
		}
		for i, id := range sel.chain() {
			t.snapshot(ctx, sel.Layers[i], id)
		}
	}
	return t.Missing
}

// tally is a Missing that is being counted.
type tally struct {
	*survey
	Missing
	listed map[string]bool
}

// first reports whether the digest is counted as a thing of that kind for the
// first time.
func (t *tally) first(kind string, dgst digest.Digest) bool {
	key := kind + string(dgst)
	again := t.listed[key]
	t.listed[key] = true
	return !again
}

func (t *tally) document(ctx context.Context, d Document) {
	t.file(d.Desc)
	info, asked := t.blobs[d.Desc.Digest]
	switch {
	case !asked:
	case info != nil:
		t.label(*info, t.pl.finalLabels(d, t.p.Store.Name))
	case t.first("blob", d.Desc.Digest):
		t.Documents = append(t.Documents, d.Desc)
		t.takes(ctx, d.Desc)
	}
}

// canDoWithout reports whether a pull can do without the blob of layer i of sel:
// it has a snapshot, and is going to be discarded or not what that was made of.
func (t *tally) canDoWithout(sel Selected, i int) bool {
	return sel.Unpack && t.snapshots[sel.chain()[i]] && (t.pl.Request.DiscardLayers || !t.p.Store.MakesOfBlobs())
}

// layer counts a layer, or a blob beside layers. stays is set for what is not
// unpacked.
func (t *tally) layer(ctx context.Context, desc ocispec.Descriptor, stays, unneeded bool) {
	t.file(desc)
	info, asked := t.blobs[desc.Digest]
	switch {
	case !asked:
	case info != nil:
		t.label(*info, fetch.From(t.pl.Request.Ref).Labels)
	case !unneeded && t.first("blob", desc.Digest):
		t.Layers = append(t.Layers, desc)
		if stays || !t.space.Lazy {
			t.takes(ctx, desc)
		}
	}
}

func (t *tally) snapshot(ctx context.Context, of ocispec.Descriptor, id digest.Digest) {
	if there, asked := t.snapshots[id]; !asked || there || !t.first("snapshot", id) {
		return
	}
	t.Snapshots = append(t.Snapshots, id)
	if t.space.Lazy {
		return
	}
	t.Inodes++
	if sn := t.space.Snapshots; sn != nil && !sn.Compresses {
		t.Unpacked += unpackedAtLeast(ctx, of)
	}
}

// label counts a blob that is there if it lacks labels.
func (t *tally) label(info content.Info, want map[string]string) {
	if !fetch.Labelled(info, want) && t.first("label", info.Digest) {
		t.Unlabelled = append(t.Unlabelled, info.Digest)
	}
}

// file counts a file of the wrong size. Some stores replace one that has no
// record.
func (t *tally) file(desc ocispec.Descriptor) {
	if t.space.Misfits(desc) && (t.blobs[desc.Digest] != nil || !t.p.Store.Traits().ReplacesStrays) && t.first("file", desc.Digest) {
		t.WrongSize = append(t.WrongSize, desc)
	}
}

// takes adds the room that a blob takes which is missing. It is as large as it
// is, less what an earlier pull has left of it; it takes none if another
// namespace has it.
func (t *tally) takes(ctx context.Context, desc ocispec.Descriptor) {
	if t.space.Holds(desc.Digest) {
		return
	}
	t.Inodes++
	t.Bytes += max(desc.Size-t.begun[remotes.MakeRefKey(ctx, desc)], 0)
}
