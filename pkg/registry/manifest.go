package registry

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"slices"
	"strings"

	"github.com/containerd/containerd/v2/core/images"
	"github.com/containerd/errdefs"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/containerd-pull/containerd-pull/pkg/failure"
	"github.com/containerd-pull/containerd-pull/pkg/source"
)

// manifestTypes are the documents that can be pulled, the ones that containerd
// understands.
func manifestTypes() []string {
	return []string{
		images.MediaTypeDockerSchema2Manifest,
		images.MediaTypeDockerSchema2ManifestList,
		ocispec.MediaTypeImageManifest,
		ocispec.MediaTypeImageIndex,
	}
}

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
	if !errors.Is(err, errSchema1) || len(c.accept) > 1 {
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

func acceptTypes() []string { return append(manifestTypes(), "*/*;q=0.1") }

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
	desc, err := describe(body, resp.Header, want)
	if err != nil && isSchema1Document(body, resp.Header.Get("Content-Type")) {
		err = schema1() // its digest is not that of its bytes
	}
	if err != nil {
		return source.Target{}, c.fail(h, networkFault(err))
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

// describe checks a document against its headers and against want, and returns
// its descriptor.
func describe(body []byte, header http.Header, want ocispec.Descriptor) (ocispec.Descriptor, error) {
	if err := checkDigest(body, header, want); err != nil {
		return ocispec.Descriptor{}, err
	}
	mediaType, err := documentType(body, header.Get("Content-Type"))
	if err != nil {
		return ocispec.Descriptor{}, err
	}
	desc := want
	if desc.Digest == "" {
		desc.Digest = digest.FromBytes(body)
	}
	if isManifestType(desc.MediaType) && desc.MediaType != mediaType {
		return desc, malformedf("document is a %s, and its descriptor says %s", mediaType, desc.MediaType)
	}
	desc.MediaType, desc.Size = mediaType, int64(len(body))
	return desc, nil
}

// checkDigest believes no announcement: every digest that is named anywhere must
// be that of the bytes.
func checkDigest(body []byte, header http.Header, want ocispec.Descriptor) error {
	if want.Size > 0 && want.Size != int64(len(body)) {
		return corruptf("short", "size: got %d, want %d", len(body), want.Size)
	}
	for _, d := range []digest.Digest{want.Digest, digest.Digest(header.Get("Docker-Content-Digest"))} {
		if d == "" {
			continue
		}
		if err := source.ValidDigest(d); err != nil {
			return malformedf("%w", err)
		}
		if got := d.Algorithm().FromBytes(body); got != d {
			return corruptf("digest", "digest: got %s, want %s", got, d)
		}
	}
	return nil
}

// documentShape is what distinguishes a manifest from an index. Two clients that read one
// document differently could be made to run different images from one digest
// (CVE-2021-41190), so a document that is both is neither.
type documentShape struct {
	SchemaVersion int             `json:"schemaVersion"`
	MediaType     string          `json:"mediaType"`
	Config        json.RawMessage `json:"config"`
	Layers        json.RawMessage `json:"layers"`
	Manifests     json.RawMessage `json:"manifests"`
	FSLayers      json.RawMessage `json:"fsLayers"`
}

func isPresent(raw json.RawMessage) bool {
	return len(raw) > 0 && !bytes.Equal(raw, []byte("null"))
}

// documentType returns the media type of a document, in which its content, its
// mediaType field and the Content-Type it came with must agree.
func documentType(body []byte, contentType string) (string, error) {
	outer, err := outerType(contentType)
	if err != nil {
		return "", err
	}
	var doc documentShape
	if err := json.Unmarshal(body, &doc); err != nil {
		return "", malformedf("answer of type %q is no manifest: %w; is this a registry?", contentType, err)
	}
	isIndex, err := doc.isIndex()
	if err != nil {
		return "", err
	}
	named := doc.MediaType
	if named != "" && !isManifestType(named) {
		return "", malformedf("manifest of unsupported type %q", named)
	}
	if named != "" && outer != "" && named != outer {
		return "", malformedf("document says it is a %s and was served as %s", named, outer)
	}
	if named == "" {
		named = outer
	}
	if named == "" {
		named = defaultType(isIndex)
	}
	if images.IsIndexType(named) != isIndex {
		return "", malformedf("document of type %s has the content of the other kind", named)
	}
	return named, nil
}

func defaultType(isIndex bool) string {
	if isIndex {
		return ocispec.MediaTypeImageIndex
	}
	return ocispec.MediaTypeImageManifest
}

// outerType returns the type that Content-Type names, empty if it leaves the
// judgement to the document.
func outerType(contentType string) (string, error) {
	if contentType == "" {
		return "", nil
	}
	mediaType, _, err := mime.ParseMediaType(contentType)
	switch {
	case err != nil:
		return "", malformedf("answer of type %q is no manifest; is this a registry?", contentType)
	case mediaType == "application/octet-stream":
		return "", nil
	case isManifestType(mediaType):
		return mediaType, nil
	case isSchema1(mediaType):
		return "", schema1()
	}
	return "", malformedf("answer of type %q is no manifest; is this a registry?", contentType)
}

// isIndex decides by the content alone.
func (s documentShape) isIndex() (bool, error) {
	manifest, index := isPresent(s.Config) || isPresent(s.Layers), isPresent(s.Manifests)
	switch {
	case s.SchemaVersion == 1 || isPresent(s.FSLayers):
		return false, schema1()
	case manifest && index:
		return false, malformedf("document is both a manifest and an index")
	case !manifest && !index:
		return false, malformedf("document is neither a manifest nor an index; is this a registry?")
	}
	return index, nil
}

func isManifestType(mediaType string) bool {
	return slices.Contains(manifestTypes(), mediaType)
}

func isSchema1(mediaType string) bool {
	return mediaType == images.MediaTypeDockerSchema1Manifest ||
		mediaType == "application/vnd.docker.distribution.manifest.v1+json"
}

// isSchema1Document judges by type or content.
func isSchema1Document(body []byte, contentType string) bool {
	if mediaType, _, err := mime.ParseMediaType(contentType); err == nil && isSchema1(mediaType) {
		return true
	}
	var doc documentShape
	return json.Unmarshal(body, &doc) == nil && (doc.SchemaVersion == 1 || isPresent(doc.FSLayers))
}

// errSchema1 is in the error of a manifest of Docker's schema 1.
var errSchema1 = errors.New("manifest of Docker's schema 1")

func schema1() error {
	return malformedf("%w, which containerd cannot hold; push the image again with a current tool", errSchema1)
}
