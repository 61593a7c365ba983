package registry

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"

	"github.com/containerd/errdefs"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/containerd-pull/containerd-pull/pkg/failure"
	"github.com/containerd-pull/containerd-pull/pkg/registry/coding"
	"github.com/containerd-pull/containerd-pull/pkg/registry/header"
	"github.com/containerd-pull/containerd-pull/pkg/source"
)

// body reads one answer. It ends with io.EOF after as many bytes as were asked
// for, or with a *source.Error that says why there are fewer or more.
type body struct {
	ranged bool // the host honours ranges

	r             *Registry
	ended         func() error // why Open's caller gave up, nil if it did not
	h             *host
	c             call
	silence       silence
	src           io.ReadCloser
	rest          int64 // bytes that may still come
	toEnd         bool  // the answer must end where the part ends
	announcedLess bool  // the host has announced less than was asked for
	unframed      bool  // the end of the answer is only the end of the connection
	err           error
}

func blobCall(ref source.Ref, d digest.Digest) call {
	return call{op: "blob", ref: ref, digest: d, kind: "blobs", object: d.String(), accept: []string{"*/*"}}
}

// Open asks the hosts that may serve ref's blobs, in order, for a part of the
// blob desc. It is one round without waits: after an error, Backoff decides
// whether there is another. Bytes are counted here and hashed by the caller.
func (r *Registry) Open(ctx context.Context, ref source.Ref, desc ocispec.Descriptor, rng source.Range) (*source.Body, error) {
	if err := checkRange(desc, rng); err != nil {
		return nil, err
	}
	up, err := r.upstream(ctx, ref)
	if err != nil {
		return nil, err
	}
	c := blobCall(ref, desc.Digest)
	c.rng, c.from = rangeHeader(rng, desc.Size), rng.From
	if b := r.openForeign(ctx, up, c, desc, rng); b != nil {
		return b, nil
	}
	return round(r, up, c, func(h *host) (*source.Body, error) {
		return r.openAt(ctx, h, c, desc, rng, func(c call) (*http.Response, error) { return r.ask(ctx, h, c) })
	})
}

// Document implements source.Source.
func (r *Registry) Document(ctx context.Context, ref source.Ref, desc ocispec.Descriptor) (*source.Body, error) {
	return r.Open(r.forDocument(ctx, ref, false), ref, desc, source.Range{})
}

func checkRange(desc ocispec.Descriptor, rng source.Range) error {
	if err := source.ValidDigest(desc.Digest); err != nil {
		return err
	}
	if desc.Size < 0 || rng.Offset < 0 || rng.Length < 0 || rng.Length > desc.Size-rng.Offset ||
		rng.Offset > 0 && rng.Offset >= desc.Size {
		return failure.New(errdefs.ErrInvalidArgument, "range %+d,%+d lies outside of blob %s of %d bytes", rng.Offset, rng.Length, desc.Digest, desc.Size)
	}
	return nil
}

// rangeHeader is empty for all of a blob, because a plain request is what every
// registry understands.
func rangeHeader(rng source.Range, size int64) string {
	length := rng.Of(size)
	if length == size || length == 0 {
		return ""
	}
	if rng.Length == 0 {
		return fmt.Sprintf("bytes=%d-", rng.Offset)
	}
	return fmt.Sprintf("bytes=%d-%d", rng.Offset, rng.Offset+length-1)
}

// openAt makes a Body of h's answer. An answer to a range that is not exactly
// what was asked for is not believed: the whole blob is asked for in its
// place.
func (r *Registry) openAt(ctx context.Context, h *host, c call, desc ocispec.Descriptor, rng source.Range, ask func(call) (*http.Response, error)) (*source.Body, error) {
	resp, err := ask(c)
	if c.rng != "" && rangeRefused(resp, err, rng, desc.Size) {
		if resp != nil {
			_ = resp.Body.Close() // its bytes are not wanted
		}
		c.rng = ""
		resp, err = ask(c)
	}
	if err != nil {
		return nil, err
	}
	b := &body{r: r, h: h, c: c, silence: r.newSilence(h, c), ended: func() error { return contextError(ctx) }}
	defer b.silence.end()
	if err := b.accept(resp, desc, rng); err != nil {
		_ = resp.Body.Close() // the error says what was wrong with it
		return nil, b.fail(err)
	}
	return &source.Body{ReadCloser: b, Host: h.Name, Ranged: b.ranged}, nil
}

// rangeRefused reports whether the answer makes no use of the range, or none that
// can be trusted.
func rangeRefused(resp *http.Response, err error, rng source.Range, size int64) bool {
	if e, ok := errors.AsType[*source.Error](err); ok {
		return e.Status == http.StatusRequestedRangeNotSatisfiable
	}
	if err != nil || resp.StatusCode != http.StatusPartialContent {
		return false
	}
	got, ok := header.ParseContentRange(resp.Header.Get("Content-Range"))
	if coding.IsEncoded(resp) && (got.Total != size || resp.ContentLength != got.Last-got.First+1) { // a part of something else
		return true
	}
	return !ok || got.First != rng.Offset || got.Last >= rng.Offset+rng.Of(size)
}

// accept makes b read a successful answer, from the offset on.
func (b *body) accept(resp *http.Response, desc ocispec.Descriptor, rng source.Range) error {
	b.src, b.rest = resp.Body, rng.Of(desc.Size)
	takeTime(resp)
	b.unframed = resp.ContentLength < 0 && len(resp.TransferEncoding) == 0
	if resp.StatusCode == http.StatusPartialContent {
		return b.acceptPart(resp, desc)
	}
	if err := checkLength(resp, desc.Size); err != nil {
		return err
	}
	decode(resp, desc.Size, coding.OfBlob(desc.MediaType))
	b.toEnd = rng.Offset+b.rest == desc.Size
	b.ranged = rangeHeader(rng, desc.Size) == "" && acceptsRanges(resp)
	return b.skip(rng.Offset)
}

// checkLength judges an announced length. One that is the blob's own size means that
// the bytes are the blob, whatever coding they are said to have.
func checkLength(resp *http.Response, size int64) error {
	switch {
	case resp.ContentLength == size:
		resp.Header.Del("Content-Encoding")
	case resp.ContentLength < 0:
	case !coding.IsEncoded(resp):
		return corruptf("short", "size: got %d, want %d", resp.ContentLength, size)
	case !coding.Known(resp):
		return malformedf("answer with unknown content coding %q", coding.Of(resp))
	}
	return nil
}

// acceptPart checks the size that comes with a part; rangeRefused has checked
// its place. Less than was asked for is allowed, the caller asks again.
func (b *body) acceptPart(resp *http.Response, desc ocispec.Descriptor) error {
	got, ok := header.ParseContentRange(resp.Header.Get("Content-Range"))
	if b.c.rng == "" || !ok {
		return malformedf("answers with a part of the blob that was not asked for")
	}
	if got.Total >= 0 && got.Total != desc.Size {
		return corruptf("short", "size: got %d, want %d", got.Total, desc.Size)
	}
	length := got.Last - got.First + 1
	if resp.ContentLength >= 0 && resp.ContentLength != length {
		return malformedf("part of %d bytes with a length of %d", length, resp.ContentLength)
	}
	b.ranged, b.toEnd, b.announcedLess = true, length == b.rest, length < b.rest
	return nil
}

func acceptsRanges(resp *http.Response) bool {
	return !coding.IsEncoded(resp) && strings.EqualFold(resp.Header.Get("Accept-Ranges"), "bytes")
}

// skip drops the bytes that the caller holds already.
func (b *body) skip(n int64) error {
	_, err := io.CopyN(io.Discard, b.src, n)
	if errors.Is(err, io.EOF) {
		return b.endedEarly()
	}
	return err
}

// endedEarly is what it means that the answer ended before the part did. Where
// the protocol marks the end, the host has said that this is all there is, unless
// it said before that there is more.
func (b *body) endedEarly() *fault {
	if b.announcedLess {
		return faultf("short", errdefs.ErrUnavailable, true, "answers with less than was asked for")
	}
	if b.unframed {
		return faultf("reset", errdefs.ErrUnavailable, true, "connection closed in the body")
	}
	return corruptf("short", "answer ends before the blob does")
}

// Read follows io.Reader.
func (b *body) Read(p []byte) (int, error) {
	if b.err != nil {
		return 0, b.err
	}
	if b.rest == 0 {
		b.err = b.finish()
		return 0, b.err
	}
	b.silence.begin()
	n, err := b.src.Read(p[:min(int64(len(p)), b.rest)])
	b.silence.end()
	b.rest -= int64(n)
	switch {
	case b.rest == 0:
		// The end is looked for at once, so that the connection is free again
		// even if the caller knows the size and does not read on.
		b.err = b.finish()
	case errors.Is(err, io.EOF):
		b.err = b.failMidway(b.endedEarly())
	case err != nil:
		b.err = b.failMidway(err)
	}
	return n, b.err
}

// finish looks for a byte too many where the answer must have ended. An
// unclean end behind the last byte does no harm.
func (b *body) finish() error {
	if !b.toEnd {
		return io.EOF
	}
	var one [1]byte
	if n, _ := io.ReadFull(b.src, one[:]); n > 0 {
		return b.failMidway(corruptf("short", "answer goes on behind the end of the blob"))
	}
	return io.EOF
}

// failMidway records, for the host, what went wrong in the middle of the body.
func (b *body) failMidway(err error) error {
	err = b.fail(err)
	if e, ok := errors.AsType[*source.Error](err); ok {
		b.r.recordFailure(b.h, b.c, e)
	}
	return err
}

// fail adds host and call to an error.
func (b *body) fail(err error) error {
	if cause := b.ended(); cause != nil {
		return cause
	}
	return b.c.fail(b.h, readFault(err))
}

// Close drops the connection unless the answer was read to its end.
func (b *body) Close() error { return b.src.Close() }

// openForeign tries the descriptor's own urls, if they are allowed, with no
// secret in the requests. It returns nil if none has the blob; then the registry
// is asked.
func (r *Registry) openForeign(ctx context.Context, up *upstream, c call, desc ocispec.Descriptor, rng source.Range) *source.Body {
	if !r.opts.AllowForeignURLs || len(up.hosts) == 0 {
		return nil
	}
	for _, raw := range desc.URLs {
		u, err := url.Parse(raw)
		if err != nil || r.blameCount(u.Host, c) > 0 || c.from != "" && c.from != u.Host {
			continue
		}
		h, err := r.foreignHost(up.hosts[len(up.hosts)-1], u)
		if err != nil {
			continue
		}
		b, err := r.openAt(ctx, h, c, desc, rng, func(c call) (*http.Response, error) { return r.askForeign(ctx, h, u, c) })
		if err == nil {
			return b
		}
		if e, ok := errors.AsType[*source.Error](err); ok { // a url gets one chance
			r.countBlame(u.Host, c)
			r.emitGone(e)
		}
	}
	return nil
}

// foreignHost is the host of u, about which nothing is configured. It is reached
// as a redirect of the registry would be, under the same rules.
func (r *Registry) foreignHost(registry *host, u *url.URL) (*host, error) {
	from := &http.Response{
		Header:  http.Header{"Location": {u.String()}},
		Request: &http.Request{URL: &url.URL{Scheme: registry.scheme(), Host: registry.Name}},
	}
	to, err := r.redirect(registry, from)
	if err != nil {
		return nil, err
	}
	return registry.stranger(to), nil
}

// askForeign is ask without credentials.
func (r *Registry) askForeign(ctx context.Context, h *host, u *url.URL, c call) (*http.Response, error) {
	resp, err := r.send(ctx, h, u, c, "")
	if err != nil {
		return nil, r.askError(ctx, h, c, err)
	}
	return r.checkStatus(ctx, h, c, resp)
}
