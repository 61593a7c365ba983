package registry

import (
	"cmp"
	"context"
	"maps"
	"net/url"
	"path"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/containerd/errdefs"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/time/rate"

	"github.com/containerd-pull/containerd-pull/pkg/progress"
	"github.com/containerd-pull/containerd-pull/pkg/registry/hosts"
	"github.com/containerd-pull/containerd-pull/pkg/source"
)

// upstream is a registry with the hosts that may be asked for its content, in
// order.
type upstream struct {
	once  sync.Once
	hosts []*host
	err   error
}

// upstream finds the hosts of ref's registry, once per Registry.
func (r *Registry) upstream(ctx context.Context, ref source.Ref) (*upstream, error) {
	name := source.CanonicalHost(ref.Domain)
	r.mu.Lock()
	up := r.upstreams[name]
	if up == nil {
		up = &upstream{}
		r.upstreams[name] = up
	}
	r.mu.Unlock()
	up.once.Do(func() { up.hosts, up.err = r.openHosts(ctx, name) })
	return up, up.err
}

func (r *Registry) openHosts(ctx context.Context, name string) ([]*host, error) {
	found, err := r.hosts.Find(ctx, name)
	if err != nil {
		return nil, err
	}
	open := make([]*host, len(found))
	for i, h := range found {
		open[i] = r.newHost(h)
	}
	return open, nil
}

// Hosts lists the hosts that would be asked for ref, in order. It contacts none.
func (r *Registry) Hosts(ctx context.Context, ref source.Ref) ([]hosts.Host, error) {
	up, err := r.upstream(ctx, ref)
	if err != nil {
		return nil, err
	}
	list := make([]hosts.Host, len(up.hosts))
	for i, h := range up.hosts {
		list[i] = h.Host
	}
	return list, nil
}

// host is one host with the ways to it and what this run has learned about it.
type host struct {
	hosts.Host
	via   transports
	auth  *authorizer // nil for the host of a foreign url
	limit *rate.Limiter

	knownScheme atomic.Pointer[string] // the scheme that was found to work
	private     atomic.Bool            // it was reached at a loopback or private address
	refusesHead atomic.Bool            // of manifests, which it gives out
	acceptLines atomic.Bool            // it may compare whole lines of Accept

	mu      sync.Mutex
	gone    *source.Error    // why it is not asked again in this run
	until   time.Time        // when it may be asked again
	waiting *source.Error    // why it may not before
	fails   int              // in a row
	targets map[string]*host // registries to which it redirects, by their origin
}

// newHost adds to a configured host what it takes to send requests to it.
func (r *Registry) newHost(configured hosts.Host) *host {
	h := &host{Host: configured, limit: rate.NewLimiter(rate.Inf, 1)}
	if len(h.Schemes) == 1 {
		h.knownScheme.Store(&h.Schemes[0])
	}
	for _, values := range h.Header {
		for _, value := range values {
			r.masks.AddHeader(value)
		}
	}
	h.via = r.newTransports(h)
	h.auth = newAuthorizer(r, h)
	if r.opts.RequestsPerSecond > 0 {
		h.limit = rate.NewLimiter(rate.Limit(r.opts.RequestsPerSecond), 1)
	}
	return h
}

// scheme is the one that was found to work, or the first to try.
func (h *host) scheme() string {
	if s := h.knownScheme.Load(); s != nil {
		return *s
	}
	return h.Schemes[0]
}

// url is where c is answered.
func (h *host) url(c call) *url.URL {
	u := &url.URL{Scheme: h.scheme(), Host: h.Name, Path: path.Join("/", h.Path, c.ref.Path, c.kind, c.object)}
	if c.ref.Path+c.kind+c.object == "" { // /v2 without the slash is nothing to some registries
		u.Path += "/"
	}
	query := maps.Clone(c.query)
	if h.Namespace != "" {
		if query == nil {
			query = url.Values{}
		}
		query.Set("ns", h.Namespace)
	}
	u.RawQuery = query.Encode()
	return u
}

// isOrigin reports whether u is the host itself: scheme, host and port.
func (h *host) isOrigin(u *url.URL) bool {
	return source.SameOrigin(u, &url.URL{Scheme: h.scheme(), Host: h.Name})
}

// mayServe reports whether the host may be asked for c.
func (h *host) mayServe(c call) bool {
	if c.byTag() {
		return h.Resolve
	}
	return h.Pull
}

// unavailable returns why the host is not to be asked now, nil if it may be.
// Where it asked for a wait, the error holds what is left of it.
func (h *host) unavailable(now time.Time) *source.Error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.gone != nil {
		return h.gone
	}
	left := h.until.Sub(now)
	if left <= 0 {
		return nil
	}
	e := *h.waiting
	e.RetryAfter = left
	return &e
}

const (
	// mirrorFailures is how many failures in a row condemn a mirror. The last
	// host is never condemned for failures: there is no host to fall back to.
	mirrorFailures = 3
	// maxBlames is how often wrong bytes of one blob are taken from one host.
	maxBlames = 2
)

// noteSuccess forgets the failures of the host.
func (h *host) noteSuccess() {
	h.mu.Lock()
	h.fails = 0
	h.mu.Unlock()
}

// noteFailure remembers what e says about the host itself and reports whether this
// has condemned it.
func (h *host) noteFailure(e *source.Error, now time.Time) (condemned bool) {
	f := faultOf(e)
	if f == nil || h.excused(e, f) {
		return false
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.gone != nil {
		return false
	}
	h.fails++
	wait := e.RetryAfter
	if wait == 0 {
		wait = Retry{}.wait(h.fails)
	}
	h.until, h.waiting = now.Add(wait), e
	if e.RetryAfter > retryAfterCap || (h.isExpendable() && (f.costly() || h.fails >= mirrorFailures)) {
		h.gone = finalError(e)
		return true
	}
	return false
}

// excused reports whether a failure says nothing about the host as a whole: a
// blob that it does not have, a repository that it does not show to this user.
func (h *host) excused(e *source.Error, f *fault) bool {
	if e.RetryAfter > 0 {
		return false
	}
	if !h.isExpendable() {
		return true
	}
	return !errdefs.IsUnavailable(f) && !errdefs.IsResourceExhausted(f)
}

// condemn excludes the host from this run and reports whether it was in it.
func (h *host) condemn(e *source.Error) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.gone != nil {
		return false
	}
	h.gone = finalError(e)
	return true
}

// isExpendable reports whether the host is given up for failures of its own.
func (h *host) isExpendable() bool { return h.Mirror && !h.Last }

// finalError is e as the reason why a host is not asked again: no wait is worth
// the while.
func finalError(e *source.Error) *source.Error {
	again := *e
	if f := faultOf(e); f != nil {
		settled := *f
		settled.retry = false
		again.Err = &settled
	}
	return &again
}

// recordOutcome notes for the host how a request went, with nil for a success,
// and emits an event when that condemns it.
func (r *Registry) recordOutcome(h *host, e *source.Error) {
	if e == nil {
		h.noteSuccess()
		return
	}
	if h.noteFailure(e, time.Now()) {
		r.emitGone(e)
	}
}

func (r *Registry) emitGone(e *source.Error) {
	r.opts.Progress.Emit(progress.Event{Kind: progress.HostFailed, Ref: e.Ref, Digest: e.Digest, Host: e.Host, Reason: Reason(e), Err: e})
}

// blame is the key of wrong bytes: they are counted per host and blob.
type blame struct {
	host string
	what string // digest, or the reference for a tag
}

func (r *Registry) blameCount(host string, c call) int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.blames[blame{host, c.subject()}]
}

// noteBlame counts wrong bytes. A mirror that serves them is not asked again
// for anything.
func (r *Registry) noteBlame(h *host, c call, e *source.Error) {
	r.countBlame(h.Name, c)
	if h.isExpendable() && h.condemn(e) {
		r.emitGone(e)
	}
}

func (r *Registry) countBlame(host string, c call) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.blames[blame{host, c.subject()}]++
}

// candidates returns the hosts to ask for c now, those without blame and suspicion
// first, and why the others are left out. A host with blame is not asked while one
// without only waits.
func (r *Registry) candidates(up *upstream, c call) (willing []*host, out []*source.Error) {
	now, awaited := time.Now(), time.Duration(0)
	for _, h := range up.hosts {
		if !h.mayServe(c) || c.from != "" && c.from != h.Name {
			continue
		}
		if e := h.unavailable(now); e != nil {
			out = append(out, c.remembered(e))
			if Retryable(e) && r.blameCount(h.Name, c) == 0 {
				awaited = max(awaited, e.RetryAfter)
			}
			continue
		}
		if r.blameCount(h.Name, c) >= maxBlames {
			out = append(out, c.fail(h, corruptTwice()))
			continue
		}
		willing = append(willing, h)
	}
	if awaited > 0 && r.opts.Retry.count() >= mirrorFailures { // or there is no patience to wait with
		willing = slices.DeleteFunc(willing, func(h *host) bool {
			if r.blameCount(h.Name, c) == 0 {
				return false
			}
			e := c.fail(h, corruptf("digest", "served wrong bytes, and another host is waited for"))
			e.RetryAfter = awaited
			out = append(out, e)
			return true
		})
	}
	slices.SortStableFunc(willing, func(a, b *host) int {
		return r.compareTrust(a, b, c)
	})
	return willing, out
}

// compareTrust orders hosts by how far they may be trusted with c. Of two that are
// under suspicion the mirror comes last: it was left for the registry in the
// middle of the blob.
func (r *Registry) compareTrust(a, b *host, c call) int {
	if n := cmp.Compare(r.blameCount(a.Name, c), r.blameCount(b.Name, c)); n != 0 {
		return n
	}
	n, m := r.suspicion(a.Name, c), r.suspicion(b.Name, c)
	if n != m || n == 0 || a.isExpendable() == b.isExpendable() {
		return cmp.Compare(n, m)
	}
	if a.isExpendable() {
		return 1
	}
	return -1
}

func (r *Registry) suspicion(host string, c call) int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.suspects[blame{host, c.subject()}]
}

// Suspect reports that one of hosts may have served wrong bytes of desc, which
// changes the order of the hosts for this blob and nothing else.
func (r *Registry) Suspect(ref source.Ref, desc ocispec.Descriptor, hosts ...string) {
	c := blobCall(ref, desc.Digest)
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, host := range hosts {
		r.suspects[blame{host, c.subject()}]++
	}
}

func corruptTwice() *fault {
	return faultf("digest", errdefs.ErrDataLoss, false, "served wrong bytes twice")
}

// Blame reports that the bytes which host alone served for desc were wrong. It is
// asked again for this blob only if there is no other, and at most once; a
// mirror is not asked again for anything in this run.
func (r *Registry) Blame(ref source.Ref, desc ocispec.Descriptor, host string, err error) {
	c := blobCall(ref, desc.Digest)
	r.mu.Lock()
	up := r.upstreams[source.CanonicalHost(ref.Domain)]
	r.mu.Unlock()
	if up == nil { // no host was ever asked for ref
		return
	}
	for _, h := range up.hosts {
		if h.Name == host {
			r.noteBlame(h, c, c.fail(h, corruptf("digest", "%w", err)))
			return
		}
	}
	r.countBlame(host, c) // one of the descriptor's own urls
}

// call is one question to any host that may answer it.
type call struct {
	op     string // of source.Error
	method string // GET if it is empty
	ref    source.Ref
	digest digest.Digest // empty for a tag
	kind   string        // manifests, blobs, tags or _catalog
	object string        // tag or digest
	query  url.Values    // which page of a list
	accept []string      // lines
	rng    string        // Range header, empty for everything
	from   string        // the only host to ask, any if it is empty
}

func (c call) byTag() bool { return c.digest == "" }

// subject identifies the content for blames.
func (c call) subject() string {
	if c.byTag() {
		return c.ref.String()
	}
	return c.digest.String()
}

// fail adds host and call to a fault.
func (c call) fail(h *host, f *fault) *source.Error {
	return &source.Error{Op: c.op, Host: h.Name, Mirror: h.Mirror, Ref: c.ref.Name, Digest: c.digest, Err: f}
}

// remembered is an earlier error of a host as the answer to this call.
func (c call) remembered(e *source.Error) *source.Error {
	again := *e
	again.Op, again.Ref, again.Digest = c.op, c.ref.Name, c.digest
	return &again
}
