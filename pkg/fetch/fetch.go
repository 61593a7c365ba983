// Package fetch brings one blob into a content store: it opens the ingest,
// continues where an earlier attempt stopped, asks the source for the rest,
// hands every byte to the store and to a consumer at once, and commits only
// what has the right size and digest.
//
// Which hosts are asked, with which credentials, and when it is time to give
// up is the business of the source, pkg/registry for one; pkg/unpack knows what
// the bytes are good for.
//
// Read Store first, which is a whole fetch in a few lines, then ingest.go for
// its steps, lock.go for ingests that another client has open, and window.go
// for several connections at once. shared.go is what the fetches of several images
// have in common, put.go stores documents that are in hand, label.go says where blobs
// come from.
package fetch

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/errdefs"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/containerd-pull/containerd-pull/pkg/failure"
	"github.com/containerd-pull/containerd-pull/pkg/progress"
	"github.com/containerd-pull/containerd-pull/pkg/source"
)

const (
	bufferSize = 512 << 10
	// rounds is how often a blob is fetched from its first byte before wrong
	// bytes are taken for the source's last word. Source.Blame and Source.Suspect
	// make each round start with another host.
	rounds = 4
)

// ErrCorrupt is the error of received bytes that are not those of the digest.
// They have been dropped.
var ErrCorrupt error = failure.New(errdefs.ErrDataLoss, "wrong bytes")

// ErrUnserved is the error of a blob that no host would serve, or whose rest
// none would. The bytes that came before are not in doubt. Its own text is never
// shown.
var ErrUnserved = errors.New("not served")

// unserved is the failure of the hosts.
type unserved struct{ err error }

func (e *unserved) Error() string        { return e.err.Error() }
func (e *unserved) Unwrap() error        { return e.err }
func (e *unserved) Is(target error) bool { return target == ErrUnserved }

// Fetcher brings blobs into a content store. It may be used from many
// goroutines and must not be copied.
type Fetcher struct {
	// Room is asked before so many bytes are written; its error ends the fetch. It
	// is set before the first use, and nil allows everything.
	Room func(bytes int64) error
	// Shared is what it has in common with other Fetchers. It is set before the first
	// use, and New gives each its own.
	Shared *Shared

	source  source.Source
	content content.Store
	emit    progress.Sink
	trails  sync.Map // by ingest key: what is known of blobs that are not whole yet
	settled sync.Map // digests of blobs that were reported to be whole

	conns    int           // that a blob begins with
	lostLock time.Duration // see patience
	buffers  sync.Pool     // of *[bufferSize]byte
}

// New returns a Fetcher that fetches from src into c.
func New(src source.Source, c content.Store, sink progress.Sink) *Fetcher {
	return &Fetcher{source: src, content: c, emit: sink, conns: 1, lostLock: lostLock, Shared: NewShared()}
}

// Source is where blobs come from: the repository of Ref. Labels are given to
// every blob.
type Source struct {
	Ref    source.Ref
	Labels map[string]string
}

// From returns the source of the blobs of ref.
func From(ref source.Ref) Source { return Source{Ref: ref, Labels: sourceLabels(ref)} }

// Blob is what to fetch.
type Blob struct {
	Ref  source.Ref
	Desc ocispec.Descriptor
	Kind progress.Blob
}

func (b Blob) event(kind progress.Kind) progress.Event {
	return progress.Event{
		Kind: kind, Ref: b.Ref.Name, Blob: b.Kind,
		Digest: b.Desc.Digest, MediaType: b.Desc.MediaType, Bytes: progress.Bytes{Total: b.Desc.Size},
	}
}

// Store fetches b unless the store has it, and commits it with the labels set. It
// returns the number of bytes that came over the network.
func (f *Fetcher) Store(ctx context.Context, b Blob, set map[string]string) (int64, error) {
	in, err := f.Open(ctx, b)
	if errdefs.IsAlreadyExists(err) {
		return 0, f.Present(ctx, b, set)
	}
	if err != nil {
		return 0, err
	}
	for round := 1; ; round++ {
		if err = in.Receive(ctx, io.Discard); err == nil {
			err = in.Commit(ctx, set)
		}
		if !errors.Is(err, ErrCorrupt) || in.w == nil || round == rounds {
			return in.fetched, errors.Join(err, in.Close())
		}
	}
}

// Bytes returns the bytes of a small blob, such as a config, without storing
// it.
func (f *Fetcher) Bytes(ctx context.Context, b Blob) ([]byte, error) {
	for failures := 1; ; failures++ {
		body, host, err := f.read(ctx, b)
		if err == nil && b.Desc.Digest.Algorithm().FromBytes(body) != b.Desc.Digest {
			err = fmt.Errorf("%s served other bytes: %w", host, ErrCorrupt)
			f.source.Blame(b.Ref, b.Desc, host, err)
			if failures < rounds {
				continue
			}
		}
		if err == nil {
			return body, nil
		}
		if err := f.source.Backoff(ctx, failures, err); err != nil {
			return nil, fmt.Errorf("fetching %s %s: %w", b.Kind, b.Desc.Digest, err)
		}
	}
}

func (f *Fetcher) read(ctx context.Context, b Blob) ([]byte, string, error) {
	body, err := f.source.Document(ctx, b.Ref, b.Desc)
	if err != nil {
		return nil, "", err
	}
	defer body.Close()
	p, err := io.ReadAll(io.LimitReader(body, b.Desc.Size+1))
	return p, body.Host, err
}

func (f *Fetcher) buffer() *[bufferSize]byte {
	if buf, ok := f.buffers.Get().(*[bufferSize]byte); ok {
		return buf
	}
	return new([bufferSize]byte)
}
