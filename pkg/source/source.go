// Package source is the contract of all that images can be pulled from: a Ref
// says which image, a Source yields its documents and blobs, an Error says how
// one request to one host failed.
//
// It also holds all comparisons of names, one function for each question: what a
// host is called and when two are the same (host.go), and what a pattern matches
// (pattern.go). It contacts nothing itself: pkg/registry is the Source that
// speaks HTTP.
//
// Start reading at Source.
package source

import (
	"context"
	"io"
	"time"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// Target is a manifest or an index, with its bytes and the host they came from.
type Target struct {
	Desc ocispec.Descriptor
	Body []byte
	Host string
	// Unchanged is set by Refresh if this is the target that the caller had: no
	// document was transferred.
	Unchanged bool
}

// Range is a part of a blob. The zero value is all of it, of any host.
type Range struct {
	Offset int64
	Length int64  // 0 means to the end
	From   string // the only host to ask, any if it is empty
}

// Of returns how many bytes of a blob of that size the range covers.
func (rng Range) Of(size int64) int64 {
	if rng.Length > 0 {
		return rng.Length
	}
	return size - rng.Offset
}

// Body yields the bytes of a blob, beginning at the offset that was asked for.
// It ends with io.EOF after as many bytes as were asked for, or with an *Error
// that says why there are fewer or more. It must be closed; only a body that
// was read to its end gives its connection back.
type Body struct {
	io.ReadCloser
	// Host served the answer; Blame wants its name.
	Host string
	// Ranged is set if the host honours ranges: it did, or where no range was
	// asked for, it says so. If it does not, a request for another part would
	// transfer the whole blob again.
	Ranged bool
}

// Source is where images come from. It is safe for many goroutines. Errors are
// *Error values or hold one, unless the context has ended: then they are its
// cause.
type Source interface {
	// Resolve returns what ref points to. The digest of the target is that of
	// its bytes, and if ref has one, that one.
	Resolve(ctx context.Context, ref Ref) (Target, error)
	// Refresh is Resolve for a ref that pointed to known when it was asked for
	// last. If it still does, that is found out without a transfer of the document.
	Refresh(ctx context.Context, ref Ref, known Target) (Target, error)
	// Manifest returns a document that another one of ref's repository names,
	// with the digest, size and type that desc promises.
	Manifest(ctx context.Context, ref Ref, desc ocispec.Descriptor) (Target, error)
	// Open begins one attempt at a part of a blob. Its bytes are counted, and
	// hashed by the caller.
	Open(ctx context.Context, ref Ref, desc ocispec.Descriptor, rng Range) (*Body, error)
	// Document is Open for all of a small blob that says what the image is, as a config
	// does. Unlike a blob, whose bytes only have to go on coming, it has to be whole in
	// the time that the documents of an image have together.
	Document(ctx context.Context, ref Ref, desc ocispec.Descriptor) (*Body, error)
	// Blame reports that the bytes which host alone served for desc were wrong.
	Blame(ref Ref, desc ocispec.Descriptor, host string, err error)
	// Suspect reports that one of hosts may have served wrong bytes of desc. The
	// others are asked for the blob before them, and the registry of ref before its
	// mirrors; none is left out.
	Suspect(ref Ref, desc ocispec.Descriptor, hosts ...string)
	// Backoff waits before try n of what failed with cause, counted from 1, or
	// returns why there is no further try.
	Backoff(ctx context.Context, n int, cause error) error
	// Slow reports whether err is that of a body that came, but too slowly.
	Slow(err error) bool
	// StallTimeout is how long a transfer may be without a byte.
	StallTimeout() time.Duration
}

// Transferable is a Source from which containerd's transfer service can pull in
// place of this process.
type Transferable interface {
	// TransferSettings returns what the service has to know to pull ref. Settings that
	// it cannot take over are an errdefs.ErrFailedPrecondition that names them:
	// nothing is left out silently.
	TransferSettings(ctx context.Context, ref Ref) (TransferSettings, error)
}

// TransferSettings holds the settings of a Source that can be handed to another
// client of the same registry.
type TransferSettings struct {
	PlainHTTP bool
	// HostsDir holds the configuration of the reference's registry, or is
	// empty if there is none.
	HostsDir string
	// Credentials finds a name and a password, or an identity token without a
	// name. It is nil if there are no credentials at all.
	Credentials func(ctx context.Context, host string) (username, secret string, err error)
}
