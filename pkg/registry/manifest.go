package registry

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"

	"github.com/containerd/errdefs"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/containerd-pull/containerd-pull/pkg/failure"
	"github.com/containerd-pull/containerd-pull/pkg/registry/document"
	"github.com/containerd-pull/containerd-pull/pkg/source"
)

// Resolve fetches what ref points to. A tag is asked only from hosts that may
// resolve. The digest of the target is that of the bytes, and if ref has one,
// that one.
func (r *Registry) Resolve(ctx context.Context, ref source.Ref) (source.Target, error) {
	return r.resolve(ctx, ref, nil)
}

// resolve asks, where known is not nil, each host first whether ref still points to
// that.
func (r *Registry) resolve(ctx context.Context, ref source.Ref, known *known) (source.Target, error) {
	c := call{op: "resolve", ref: ref, digest: ref.Digest, kind: "manifests", object: ref.Object()}
	want := ocispec.Descriptor{Digest: ref.Digest}
	ctx = r.forDocument(ctx, ref, true)
	t, err := r.document(ctx, c, func(h *host, c call) (source.Target, error) {
		if known != nil && !h.refusesHead.Load() && known.mayAsk(h) {
			return r.refreshFrom(ctx, h, c, known.Target)
		}
		return r.documentFrom(ctx, h, c, want)
	})
	if err != nil {
		return source.Target{}, fmt.Errorf("resolving %s: %w", ref, r.explainMissing(ctx, ref, err))
	}
	return t, nil
}

// Manifest fetches a document of ref's repository that another one names, and
// checks that it has the digest, the size and the type that were promised.
func (r *Registry) Manifest(ctx context.Context, ref source.Ref, desc ocispec.Descriptor) (source.Target, error) {
	c := call{op: "manifest", ref: ref, digest: desc.Digest, kind: "manifests", object: desc.Digest.String()}
	if err := r.checkDescriptor(desc); err != nil {
		return source.Target{}, fmt.Errorf("fetching manifest %s: %w", desc.Digest, err)
	}
	ctx = r.forDocument(ctx, ref, false)
	t, err := r.document(ctx, c, func(h *host, c call) (source.Target, error) { return r.documentFrom(ctx, h, c, desc) })
	if err != nil {
		return source.Target{}, fmt.Errorf("fetching manifest %s: %w", desc.Digest, err)
	}
	return t, nil
}

func (r *Registry) checkDescriptor(desc ocispec.Descriptor) error {
	if desc.Size < 0 {
		return failure.New(errdefs.ErrInvalidArgument, "size %d is negative", desc.Size)
	}
	if desc.Size > r.opts.ManifestBytes {
		return failure.New(errdefs.ErrInvalidArgument, "size %d is over the limit of %d bytes for manifests", desc.Size, r.opts.ManifestBytes)
	}
	return source.ValidDigest(desc.Digest)
}

// forDocument has the answers to what is asked in ctx spend the time for the documents of
// a pull of ref, anew where it begins.
func (r *Registry) forDocument(ctx context.Context, ref source.Ref, begins bool) context.Context {
	pull := source.CanonicalHost(ref.Domain) + "/" + ref.Path // as tokens are kept
	if begins {
		r.book.Renew(pull)
	}
	return r.book.Charge(ctx, pull)
}

// document gets a document from any host.
func (r *Registry) document(ctx context.Context, c call, from func(*host, call) (source.Target, error)) (source.Target, error) {
	up, err := r.upstream(ctx, c.ref)
	if err != nil {
		return source.Target{}, err
	}
	return rounds(ctx, r, up, c, func(h *host) (source.Target, error) { return from(h, c) })
}

// rounds makes rounds over the hosts, with waits in between, until one answers or
// none can be expected to.
func rounds[T any](ctx context.Context, r *Registry, up *upstream, c call, try func(*host) (T, error)) (T, error) {
	for n := 1; ; n++ {
		got, err := round(r, up, c, try)
		if err == nil {
			return got, nil
		}
		if err := r.Backoff(ctx, n, err); err != nil {
			return got, err
		}
	}
}

// round asks the hosts for c in their order until one answers. Its error is
// that of each host, or the first that is no host's, such as the cause of a
// cancelled context.
func round[T any](r *Registry, up *upstream, c call, try func(*host) (T, error)) (T, error) {
	var none T
	hosts, errs := r.candidates(up, c)
	for _, h := range hosts {
		got, err := try(h)
		if err == nil {
			r.recordOutcome(h, nil)
			return got, nil
		}
		e, ok := errors.AsType[*source.Error](err)
		if !ok {
			return none, err
		}
		r.recordFailure(h, c, e)
		errs = append(errs, e)
	}
	if len(errs) == 0 {
		return none, failure.New(errdefs.ErrFailedPrecondition, "no host of %s may be asked for %s", c.ref.TypedHost(), c.subject())
	}
	return none, joinRound(errs)
}

// recordFailure counts wrong bytes for the blob, and all other failures for the
// host.
func (r *Registry) recordFailure(h *host, c call, e *source.Error) {
	if errdefs.IsDataLoss(e) {
		r.noteBlame(h, c, e)
		return
	}
	r.recordOutcome(h, e)
}

// documentFrom fetches and checks the document from one host. One that answers with
// schema 1 may be an old registry that does not take the list of types apart: it is
// asked again in its way.
func (r *Registry) documentFrom(ctx context.Context, h *host, c call, want ocispec.Descriptor) (source.Target, error) {
	c.accept = h.manifestAccept()
	t, err := r.documentOnce(ctx, h, c, want)
	if !errors.Is(err, document.ErrSchema1) || len(c.accept) > 1 {
		return t, err
	}
	c.accept = acceptTypes()
	if t, err = r.documentOnce(ctx, h, c, want); err == nil {
		h.acceptLines.Store(true)
	}
	return t, err
}

// manifestAccept lists the documents that can be pulled, in one line unless the host
// is known to want one for each.
func (h *host) manifestAccept() []string {
	if h.acceptLines.Load() {
		return acceptTypes()
	}
	return []string{strings.Join(acceptTypes(), ", ")}
}

func acceptTypes() []string { return append(document.Types(), "*/*;q=0.1") }

func (r *Registry) documentOnce(ctx context.Context, h *host, c call, want ocispec.Descriptor) (source.Target, error) {
	resp, err := r.ask(ctx, h, c)
	if err != nil {
		return source.Target{}, err
	}
	r.noteRateLimit(ctx, h, c, resp.Header)
	body, err := r.readDocument(resp)
	if cause := contextError(ctx); err != nil && cause != nil {
		return source.Target{}, cause
	}
	if err != nil {
		return source.Target{}, c.fail(h, readFault(err))
	}
	r.dump.Document(body)
	desc, err := document.Describe(body, resp.Header, want)
	if err != nil && document.IsSchema1(body, resp.Header.Get("Content-Type")) {
		err = document.Schema1() // its digest is not that of its bytes
	}
	if err != nil {
		return source.Target{}, c.fail(h, documentFault(err))
	}
	return source.Target{Desc: desc, Body: body, Host: h.Name}, nil
}

// readDocument reads a body up to the limit, which counts what is read and not
// what is announced.
func (r *Registry) readDocument(resp *http.Response) ([]byte, error) {
	defer resp.Body.Close()
	decode(resp, r.opts.ManifestBytes, "")
	body, err := io.ReadAll(io.LimitReader(resp.Body, r.opts.ManifestBytes+1))
	if err != nil {
		return nil, err
	}
	if int64(len(body)) > r.opts.ManifestBytes {
		return nil, malformedf("manifest of more than %d bytes", r.opts.ManifestBytes)
	}
	return body, nil
}

// documentFault is the fault of a document that is none of those asked for.
func documentFault(err error) *fault {
	f := &fault{class: errdefs.ErrInvalidArgument, err: err}
	if errdefs.IsDataLoss(err) {
		f.class, f.retry, f.reason = errdefs.ErrDataLoss, true, "digest"
	}
	if errors.Is(err, document.ErrSize) {
		f.reason = "short"
	}
	return f
}
