package registry

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/containerd/errdefs"

	"github.com/containerd-pull/containerd-pull/pkg/failure"
	"github.com/containerd-pull/containerd-pull/pkg/printable"
	"github.com/containerd-pull/containerd-pull/pkg/registry/credential"
	"github.com/containerd-pull/containerd-pull/pkg/registry/header"
	"github.com/containerd-pull/containerd-pull/pkg/registry/words"
	"github.com/containerd-pull/containerd-pull/pkg/source"
)

// statusError makes a *source.Error of an answer with the wrong status, and
// closes it.
func (r *Registry) statusError(ctx context.Context, h *host, c call, resp *http.Response) *source.Error {
	code, text := r.explain(resp)
	f := statusFault(resp.StatusCode, text)
	switch {
	case !h.isOrigin(resp.Request.URL):
		f.blameTarget(resp)
	case h.auth != nil: // which the host of a foreign url has not
		f.blameCredential(resp.StatusCode, h.auth.used(ctx, c.ref))
	}
	r.suspectProxy(f, resp, code)
	h.suspectScheme(f, resp, code)
	e := c.fail(h, f)
	e.Status, e.Code = resp.StatusCode, code
	setRetryAfter(e, resp)
	return e
}

// suspectScheme is about a server of HTTPS that was asked without TLS because it was
// wanted so: it answers 400, and no registry's code.
func (h *host) suspectScheme(f *fault, resp *http.Response, code string) {
	if resp.StatusCode == http.StatusBadRequest && code == "" && resp.Request.URL.Scheme == "http" && h.isOrigin(resp.Request.URL) {
		f.hint = fmt.Sprintf("if %s speaks HTTPS, leave out --plain-http, or write https:// where it is configured", h.Name)
	}
}

// blameTarget names the server to which a host led, for the host is not the one
// that refused.
func (f *fault) blameTarget(resp *http.Response) {
	target := resp.Request.URL.Host
	if resp.StatusCode == http.StatusUnauthorized {
		f.err = fmt.Errorf("redirect target %s asks for credentials, and none are sent there", target)
	} else {
		f.err = fmt.Errorf("redirect target %s: %w", target, f.err)
	}
	if !f.retry {
		f.hint = fmt.Sprintf("the registry led to %s, where it keeps its content: ask the one who runs the registry", target)
	}
}

// blameCredential says of a refusal with which credential it came, or that there
// was none.
func (f *fault) blameCredential(status int, cred credential.Credential) {
	switch {
	case status == http.StatusTooManyRequests && !cred.IsSecret():
		f.hint = "come back later, or log in: authenticated pulls usually have a higher limit"
	case status != http.StatusUnauthorized && status != http.StatusForbidden:
	case !cred.IsSecret() && (status == http.StatusUnauthorized || cred.Withheld != ""):
		f.err = failure.New(source.ErrNoCredential, "%w: no credential for this host%s", f.err, cred.Why())
	case !cred.IsSecret():
		f.err = failure.New(source.ErrNoCredential, "%w", f.err)
	case status == http.StatusUnauthorized:
		f.err = fmt.Errorf("%w: the credential%s was refused", f.err, fromSource(cred.Source))
		f.hint = cred.Remedy
	default:
		f.err = fmt.Errorf("%w: the credential%s was sent", f.err, fromSource(cred.Source))
		f.hint = "the credential may be stale, or lack the right to pull this: " + cred.Remedy
	}
}

// setRetryAfter reads how long the host wants to be left alone. With any status,
// a wait that is too long has the class of a rate limit: come back later.
func setRetryAfter(e *source.Error, resp *http.Response) {
	f := faultOf(e)
	if !f.retry {
		return
	}
	e.RetryAfter = header.ParseRetryAfter(resp.Header.Get("Retry-After"), time.Now())
	if e.RetryAfter > retryAfterCap {
		f.class = errdefs.ErrResourceExhausted
	}
}

// statusFault classifies an answer that is not what was asked for.
func statusFault(code int, text string) *fault {
	switch {
	case code == http.StatusNotFound || code == http.StatusGone:
		return faultf("", errdefs.ErrNotFound, false, "%s", text)
	case code == http.StatusUnauthorized:
		return unauthenticatedf("%s", text)
	case code == http.StatusForbidden:
		return faultf("", errdefs.ErrPermissionDenied, false, "%s", text)
	case source.IsPolicyStatus(code):
		return faultf("", source.ErrPolicy, false, "%s", text).withHint(policyHint(code))
	case code == http.StatusTooManyRequests:
		return faultf("rate-limit", errdefs.ErrResourceExhausted, true, "%s", text)
	case code == http.StatusRequestTimeout || code >= 500:
		return faultf("status", errdefs.ErrUnavailable, retriedStatus(code), "%s", text)
	}
	return malformedf("unexpected answer %s", text)
}

// policyHint is what to do about a registry that does not want to give an image.
func policyHint(code int) string {
	switch code {
	case http.StatusPaymentRequired:
		return "the registry wants a plan or a bill to be paid for this"
	case http.StatusUnavailableForLegalReasons:
		return "the registry may not give this out, for legal reasons"
	}
	return "a policy of the registry forbids this pull, for instance one about vulnerabilities or signatures: ask the one who runs it"
}

func retriedStatus(code int) bool {
	switch code {
	case http.StatusRequestTimeout, http.StatusInternalServerError, http.StatusBadGateway,
		http.StatusServiceUnavailable, http.StatusGatewayTimeout:
		return true
	}
	return false
}

// explain puts an answer into words: its status, and the registry's own code and
// message, if there are any. It closes the body.
func (r *Registry) explain(resp *http.Response) (code, text string) {
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, errorBytes))
	if err != nil && !errors.Is(err, io.ErrUnexpectedEOF) {
		body = nil
	}
	return r.describe(resp, body)
}

// describe is explain where the body has been read.
func (r *Registry) describe(resp *http.Response, body []byte) (code, text string) {
	code, message := words.In(body)
	text = strings.TrimSpace(fmt.Sprintf("%d %s", resp.StatusCode, http.StatusText(resp.StatusCode)))
	parts := []string{text}
	for _, own := range []string{code, message} {
		if own != "" && own != fmt.Sprint(resp.StatusCode) && !strings.EqualFold(own, http.StatusText(resp.StatusCode)) {
			parts = append(parts, r.masks.Hide(printable.Line(own)))
		}
	}
	return code, strings.Join(parts, ": ")
}
