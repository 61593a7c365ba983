package pull

import (
	"context"
	"maps"
	"strings"

	"github.com/containerd/containerd/v2/core/images"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/containerd-pull/containerd-pull/pkg/store"
)

// Outlook is what the pull of one image would do, and with what. It is data;
// making it changed nothing.
type Outlook struct {
	Plan *Plan
	// Nothing is set if the pull would change nothing.
	Nothing bool
	// Engine is who would unpack, as far as that can be told without writing, and
	// EngineReason why.
	Engine       Engine
	EngineReason string
	// Space is what the file systems of the store have free.
	Space store.FreeSpace
	// Misfit is why the pull would be refused for its size, nil if it would not be.
	Misfit error
	Load
}

// Load is what there is to do, by digest, so that the loads of several images add
// up to each blob and each snapshot once.
type Load struct {
	// Wanted are the sizes of all blobs of the image that are no documents.
	Wanted map[digest.Digest]int64
	// Fetch are those of Wanted that are missing, with the bytes that would come
	// over the network: fewer than its size where an earlier pull left a part.
	Fetch map[digest.Digest]int64
	// Documents are the manifests, indexes and configs of the image that would
	// come, with their sizes, and Others the manifests of other platforms; each of
	// those may bring a config, whose size nothing tells beforehand.
	Documents, Others map[digest.Digest]int64
	// Unpack are the snapshots that would be made, by chain ID.
	Unpack map[digest.Digest]Unpacked

	blobs, files map[digest.Digest]int64 // the least room that each takes
}

func newLoad() Load {
	return Load{
		Fetch: map[digest.Digest]int64{}, Others: map[digest.Digest]int64{}, Unpack: map[digest.Digest]Unpacked{},
		blobs: map[digest.Digest]int64{}, files: map[digest.Digest]int64{},
	}
}

// Unpacked is how many bytes a layer has when it is unpacked.
type Unpacked struct {
	Bytes int64
	Exact bool // not only by the usual ratio
}

// Add adds what another image takes.
func (l *Load) Add(other Load) {
	for _, m := range []struct {
		sum  *map[digest.Digest]int64
		more map[digest.Digest]int64
	}{
		{&l.Wanted, other.Wanted}, {&l.Fetch, other.Fetch}, {&l.Documents, other.Documents}, {&l.Others, other.Others},
		{&l.blobs, other.blobs}, {&l.files, other.files},
	} {
		if *m.sum == nil {
			*m.sum = map[digest.Digest]int64{}
		}
		maps.Copy(*m.sum, m.more)
	}
	if l.Unpack == nil {
		l.Unpack = map[digest.Digest]Unpacked{}
	}
	maps.Copy(l.Unpack, other.Unpack)
}

// Sum adds up the bytes of one map of a Load.
func Sum(bytes map[digest.Digest]int64) (n int64) {
	for _, b := range bytes {
		n += b
	}
	return n
}

// Present is how many bytes of Wanted need not come.
func (l Load) Present() int64 { return Sum(l.Wanted) - Sum(l.Fetch) }

// Unpacked is how many bytes Unpack has, and whether that is exact.
func (l Load) Unpacked() (n int64, exact bool) {
	exact = true
	for _, u := range l.Unpack {
		n, exact = n+u.Bytes, exact && u.Exact
	}
	return n, exact
}

// Fits returns why l does not fit into space, nil if it may. It knows the least
// that l takes.
func (l Load) Fits(space store.FreeSpace) error {
	m := Missing{Bytes: Sum(l.blobs), Unpacked: Sum(l.files), Inodes: int64(len(l.blobs) + len(l.files))}
	for id := range l.files {
		m.Snapshots = append(m.Snapshots, id)
	}
	return m.fits(space)
}

// Outlook says what Finish would do. It asks the store and changes nothing. A
// reserve that cannot be kept is the error that Finish would have.
func (p *Puller) Outlook(ctx context.Context, ready *Ready) (*Outlook, error) {
	ref := ready.Plan.Request.Ref
	return endure(p.Store.Context(ctx), p, StagePlan, ref, func(ctx context.Context) (*Outlook, error) {
		o, err := p.outlook(ctx, ready)
		return o, p.fail(ctx, StagePlan, ref, err)
	})
}

func (p *Puller) outlook(ctx context.Context, ready *Ready) (*Outlook, error) {
	pl := *ready.Plan
	s := p.newSurvey(&pl)
	if err := s.askAll(ctx); err != nil {
		return nil, err
	}
	pl.Missing, pl.Kept = s.missing(ctx), s.kept
	o := &Outlook{Plan: &pl, Nothing: pl.isDone(), Space: s.space, Load: s.load}
	if ready.Whole {
		pl.Missing = Missing{Record: pl.writesRecord()}
		o.Nothing, o.Load = !pl.Missing.Record, Load{}
	}
	o.Wanted = map[digest.Digest]int64{}
	for _, sel := range pl.Images {
		for _, desc := range sel.blobs() {
			if _, missing := o.Fetch[desc.Digest]; missing || s.found.Blobs[desc.Digest].IsThere() {
				o.Wanted[desc.Digest] = desc.Size
			}
		}
	}
	o.Documents = pl.Fetched
	if err := store.NewGuard(p.Limits.Reserve).Open(ctx, p.Store, len(pl.Missing.Snapshots) > 0); err != nil {
		return nil, err
	}
	o.Misfit = o.Fits(s.space)
	o.Engine, o.EngineReason = p.foreseeEngine(&pl, s.space)
	return o, nil
}

// foreseeEngine says who would unpack. Whether this process may write where the
// daemon reads is proven by writing, so a pull may find that it may not.
func (p *Puller) foreseeEngine(pl *Plan, space store.FreeSpace) (Engine, string) {
	asked, traits := pl.Request.Engine, p.Store.Traits()
	switch {
	case asked == EngineTransfer:
		return EngineTransfer, pl.EngineReason
	case len(pl.Missing.Snapshots) == 0:
		return EngineClient, "nothing to unpack"
	case asked == EngineDaemon, asked == EngineClient:
		return asked, "asked for"
	case traits.AppliesHere:
		return EngineClient, "the root is opened in this process"
	case p.Store.Name == store.Erofs && !traits.Rebase && traits.Applies:
		return EngineDaemon, "snapshotter erofs is the daemon's to write before containerd 2.2"
	case space.Snapshots != nil:
		return EngineClient, "sees the daemon's folders; the pull proves by a file that they are the same"
	case traits.Applies:
		return EngineDaemon, "cannot see where snapshotter " + p.Store.Name + " of the daemon keeps its files, or does not write there"
	}
	return EngineTransfer, "containerd has no diff service"
}

// usualRatio is how much larger than its compressed stream a layer usually is:
// between 2 for binaries and 4 for sources.
const usualRatio = 2.8

// unpackedSize is how many bytes a layer has when it is unpacked. What is not
// compressed says so by its size; of what is, only the usual is known.
func unpackedSize(ctx context.Context, desc ocispec.Descriptor) Unpacked {
	compression, err := images.DiffCompression(ctx, desc.MediaType)
	if strings.HasPrefix(desc.MediaType, images.MediaTypeErofsLayer) || err == nil && compression == "" {
		return Unpacked{desc.Size, true}
	}
	return Unpacked{int64(usualRatio * float64(desc.Size)), false}
}
