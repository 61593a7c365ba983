package pull

import (
	"context"
	"fmt"

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
	// Damaged are blobs and snapshots whose records are there and whose files are
	// not, or are others. They are among the missing as well.
	Damaged []Damage
	// WrongSize are blobs without a record in whose place there is a file of
	// another size that would be taken for them.
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

// Damage is what is wrong with the file of a blob, or with the folder of a
// snapshot, which Digest then names by its chain ID.
type Damage struct {
	Digest digest.Digest
	What   string
}

// Nothing reports whether there is nothing to do.
func (m Missing) Nothing() bool {
	things := len(m.Documents) + len(m.Layers) + len(m.Others) + len(m.Snapshots) + len(m.Unlabelled) + len(m.Damaged) + len(m.WrongSize)
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
func (p *Puller) survey(ctx context.Context, pl *Plan) (*survey, error) {
	s := p.newSurvey(pl)
	if err := s.askAll(ctx); err != nil {
		return nil, err
	}
	pl.Missing, pl.Kept = s.missing(ctx), s.kept
	return s, nil
}

// checkPromised is an errdefs.ErrNotFound if something is missing that the
// record of pl promises: a document, a snapshot, or a layer of what is not
// unpacked.
func (p *Puller) checkPromised(ctx context.Context, pl *Plan) error {
	s := p.newSurvey(pl)
	if err := s.askPromised(ctx); err != nil {
		return err
	}
	m := s.missing(ctx)
	switch {
	case len(m.Documents) > 0:
		return notThere("document", m.Documents[0].Digest, m)
	case len(m.Snapshots) > 0:
		return notThere("snapshot", m.Snapshots[0], m)
	case len(m.Layers) > 0:
		return notThere("layer", m.Layers[0].Digest, m)
	}
	return nil
}

// notThere is the error of what is missing, with what is wrong with its files.
func notThere(what string, dgst digest.Digest, m Missing) error {
	for _, d := range m.Damaged {
		if d.Digest == dgst {
			return failure.New(errdefs.ErrNotFound, "%s %s is damaged: %w", what, dgst, failure.New(errdefs.ErrDataLoss, "%s", d.What))
		}
	}
	return failure.New(errdefs.ErrNotFound, "%s %s is not in the store", what, dgst)
}

// survey is what the store answers about a plan.
type survey struct {
	p  *Puller
	pl *Plan

	space    store.FreeSpace
	found    store.Found                  // of what was asked for
	kept     []Document                   // those of others that are there
	others   map[digest.Digest]store.Blob // manifests of other platforms, and what they keep of their configs
	begun    map[string]int64             // bytes of ingests, by ref
	leases   int
	promised bool // only what a record promises counts
	load     Load // of what is missing
}

func (p *Puller) newSurvey(pl *Plan) *survey {
	return &survey{
		p: p, pl: pl, begun: map[string]int64{},
	}
}

// askAll asks for everything that a pull would write, or tidy up, several
// questions at once.
func (s *survey) askAll(ctx context.Context) error {
	g, ctx := errgroup.WithContext(ctx)
	for _, question := range []func(context.Context) error{s.askSpace, s.askLeases, s.askIngests, s.askOthers, s.askContents} {
		g.Go(func() error { return question(ctx) })
	}
	return g.Wait()
}

// askPromised asks for what the record of the plan promises and nothing else.
func (s *survey) askPromised(ctx context.Context) error {
	s.promised = true
	return s.askContents(ctx)
}

// askContents asks for the documents, the snapshots and the layers.
func (s *survey) askContents(ctx context.Context) (err error) {
	s.found, err = s.p.Store.Survey(ctx, s.pl.wanted())
	return err
}

// wanted are the documents, the layers and the snapshots of pl.
func (pl *Plan) wanted() store.Wanted {
	var w store.Wanted
	for _, d := range pl.Documents {
		w.Documents = append(w.Documents, d.Desc)
	}
	for _, sel := range pl.Images {
		w.Blobs = append(w.Blobs, sel.blobs()...)
		if chain := sel.chain(); len(chain) > 0 {
			w.Chains = append(w.Chains, chain)
		}
	}
	return w
}

// assumeEmpty answers the questions for an empty store.
func (s *survey) assumeEmpty() {
	s.found = store.Found{Blobs: map[digest.Digest]store.Blob{}, Snapshots: map[digest.Digest]store.Snapshot{}}
	for desc := range s.pl.blobs {
		s.found.Blobs[desc.Digest] = store.Blob{}
	}
	for _, sel := range s.pl.Images {
		for _, id := range sel.chain() {
			s.found.Snapshots[id] = store.Snapshot{}
		}
	}
}

// findKept finds out what of other platforms the store has.
func (p *Puller) findKept(ctx context.Context, pl *Plan) error {
	s := p.newSurvey(pl)
	err := s.askOthers(ctx)
	pl.Kept = s.kept
	return err
}

// askOthers asks for the manifests of other platforms, and for the configs that
// they keep.
func (s *survey) askOthers(ctx context.Context) error {
	manifests, err := s.p.Store.Survey(ctx, store.Wanted{Documents: s.pl.Others})
	if err != nil {
		return err
	}
	var labelled []ocispec.Descriptor
	for _, b := range manifests.Blobs {
		if config := configKept(b); config != "" {
			labelled = append(labelled, ocispec.Descriptor{Digest: config})
		}
	}
	configs, err := s.p.Store.Survey(ctx, store.Wanted{Documents: labelled})
	s.others = map[digest.Digest]store.Blob{}
	for _, desc := range s.pl.Others {
		manifest := manifests.Blobs[desc.Digest]
		config := configs.Blobs[configKept(manifest)]
		switch s.others[desc.Digest] = config; {
		case !manifest.IsThere():
			s.others[desc.Digest] = manifest
		case config.IsThere():
			s.kept = append(s.kept, documentOf(manifest, progress.Manifest), documentOf(config, progress.Config))
		}
	}
	return err
}

// configKept is the config that a manifest keeps by its label, "" if there is
// none.
func configKept(manifest store.Blob) digest.Digest {
	if !manifest.IsThere() {
		return ""
	}
	return digest.Digest(manifest.Info.Labels[image.LabelConfig])
}

func documentOf(b store.Blob, kind progress.Blob) Document {
	return Document{Desc: ocispec.Descriptor{Digest: b.Info.Digest, Size: b.Info.Size}, Kind: kind}
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
	s.space = s.p.freeSpace(ctx)
	return nil
}

// missing draws the conclusion from the answers. What was not asked for is not
// missing.
func (s *survey) missing(ctx context.Context) Missing {
	s.load = newLoad()
	t := tally{survey: s, listed: map[string]bool{}}
	t.Record, t.Leases = s.pl.writesRecord(), s.leases
	for _, desc := range s.pl.Others {
		if b, asked := s.others[desc.Digest]; asked && !b.IsThere() {
			t.Others = append(t.Others, desc)
			t.load.Others[desc.Digest] = desc.Size
			t.damage(desc.Digest, b.Damage)
		}
	}
	for _, d := range s.pl.Documents {
		t.document(ctx, d)
	}
	for _, sel := range s.pl.Images {
		t.selected(ctx, sel, sel.chain())
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
	b, asked := t.found.Blobs[d.Desc.Digest]
	t.file(d.Desc, b)
	switch {
	case !asked:
	case b.IsThere():
		t.label(*b.Info, t.pl.finalLabels(d, t.p.Store.Name))
	case t.first("blob", d.Desc.Digest):
		t.Documents = append(t.Documents, d.Desc)
		t.takes(ctx, d.Desc)
	}
}

// selected counts the layers and the snapshots of sel; chain is empty if it is not
// unpacked.
func (t *tally) selected(ctx context.Context, sel Selected, chain []digest.Digest) {
	for i, l := range sel.Layers {
		t.layer(ctx, l, !sel.Unpack, sel.Unpack && t.canDoWithout(l, chain[i]))
	}
	for _, desc := range sel.Beside {
		t.layer(ctx, desc, true, false)
	}
	for i, id := range chain {
		t.snapshot(ctx, sel.Layers[i], id)
	}
}

// canDoWithout reports whether a pull can do without the blob of a layer if it has
// no record: the snapshot id is there, and the blob is going to be discarded, is not
// what that was made of, or is not promised by an image record.
func (t *tally) canDoWithout(layer ocispec.Descriptor, id digest.Digest) bool {
	return t.found.Snapshots[id].IsThere() && t.found.Blobs[layer.Digest].Info == nil &&
		(t.pl.Request.DiscardLayers || t.promised || !t.p.Store.MakesOfBlobs())
}

// layer counts a layer, or a blob beside layers. stays is set for what is not
// unpacked.
func (t *tally) layer(ctx context.Context, desc ocispec.Descriptor, stays, unneeded bool) {
	b, asked := t.found.Blobs[desc.Digest]
	t.file(desc, b)
	switch {
	case !asked:
	case b.IsThere():
		t.label(*b.Info, fetch.From(t.pl.Request.Ref).Labels)
	case !unneeded && t.first("blob", desc.Digest):
		t.Layers = append(t.Layers, desc)
		t.load.Fetch[desc.Digest] = t.comes(ctx, desc, b)
		if stays || !t.space.Lazy {
			t.takes(ctx, desc)
		}
	}
}

func (t *tally) snapshot(ctx context.Context, of ocispec.Descriptor, id digest.Digest) {
	sn, asked := t.found.Snapshots[id]
	if !asked || sn.IsThere() || !t.first("snapshot", id) {
		return
	}
	t.damage(id, sn.Damage)
	t.Snapshots = append(t.Snapshots, id)
	t.load.Unpack[id] = unpackedSize(ctx, of)
	if t.space.Lazy {
		return
	}
	t.Inodes++
	least := int64(0)
	if sn := t.space.Snapshots; sn != nil && !sn.Compresses {
		least = unpackedAtLeast(ctx, of)
	}
	t.Unpacked += least
	t.load.files[id] = least
}

// damage counts what is damaged.
func (t *tally) damage(dgst digest.Digest, what string) {
	if what != "" && t.first("damage", dgst) {
		t.Damaged = append(t.Damaged, Damage{dgst, what})
	}
}

// label counts a blob that is there if it lacks labels.
func (t *tally) label(info content.Info, want map[string]string) {
	if !fetch.Labelled(info, want) && t.first("label", info.Digest) {
		t.Unlabelled = append(t.Unlabelled, info.Digest)
	}
}

// file counts the damage of a blob, and without a record a file of the wrong size
// in its place. Some stores replace that.
func (t *tally) file(desc ocispec.Descriptor, b store.Blob) {
	t.damage(desc.Digest, b.Damage)
	if b.Info == nil && t.space.Misfits(desc) && !t.p.Store.Traits().ReplacesStrays && t.first("file", desc.Digest) {
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
	left := t.left(ctx, desc)
	t.Bytes += left
	t.load.blobs[desc.Digest] = left
}

// left is how many bytes of a blob an earlier pull has not brought.
func (t *tally) left(ctx context.Context, desc ocispec.Descriptor) int64 {
	return max(desc.Size-t.begun[remotes.MakeRefKey(ctx, desc)], 0)
}

// comes is how many bytes of a blob that is missing come over the network: none if
// another namespace has it.
func (t *tally) comes(ctx context.Context, desc ocispec.Descriptor, b store.Blob) int64 {
	if b.Info == nil && t.space.Holds(desc.Digest) && !t.space.Misfits(desc) {
		return 0
	}
	return t.left(ctx, desc)
}
