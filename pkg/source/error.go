package source

import (
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/containerd/errdefs"
	"github.com/opencontainers/go-digest"
)

// ErrPolicy is the class of a registry that does not want to give an image for a
// reason of its own: a bill, a policy, a law.
var ErrPolicy = errors.New("refused by the registry")

// ErrNoCredential is in the error of a request that was refused without a
// credential, for there is none for the host.
var ErrNoCredential = errors.New("no credential")

// IsPolicyStatus reports whether the status of an answer is one of ErrPolicy.
func IsPolicyStatus(status int) bool {
	switch status {
	case http.StatusPaymentRequired, http.StatusPreconditionFailed, http.StatusUnavailableForLegalReasons:
		return true
	}
	return false
}

// Error is the failure of one request to one host. It unwraps to the class of
// errdefs that says what would have to be mended: ErrNotFound,
// ErrUnauthenticated, ErrPermissionDenied, ErrResourceExhausted,
// ErrUnavailable, ErrDataLoss or ErrInvalidArgument; or to ErrPolicy.
type Error struct {
	// Op is what the request was for: resolve, manifest, blob, tags, catalog,
	// login or token.
	Op string
	// Host is the host as contacted, with its port if it has one.
	Host string
	// Mirror is set if Host is not the reference's own.
	Mirror bool
	// Ref and Digest say what was asked for; Digest is empty for a tag.
	Ref    string
	Digest digest.Digest
	// Status is that of the answer, 0 if there was none.
	Status int
	// Code is the registry's own error code, for example MANIFEST_UNKNOWN.
	Code string
	// Missing says which part of a reference does not exist, as far as that is
	// certain: Repository, Tag or Digest. Many registries give one answer for all.
	Missing string
	// Tags are those that the repository has, if Missing is Tag.
	Tags []string
	// RetryAfter is how long the host asked to be left alone, 0 if it did not.
	RetryAfter time.Duration
	Err        error
}

func (e *Error) Error() string {
	if e.RetryAfter >= time.Second {
		text := strings.TrimSuffix(e.Err.Error(), ".") // of a host that speaks in sentences
		return fmt.Sprintf("%s: %s, retry in %s", e.Host, text, e.RetryAfter.Round(time.Second))
	}
	return fmt.Sprintf("%s: %v", e.Host, e.Err)
}

func (e *Error) Unwrap() error { return e.Err }

// Values of Error.Missing.
const (
	MissingRepository = "repository"
	MissingTag        = "tag"
	MissingDigest     = "digest"
)

// Hint says what to do about a name that leads nowhere.
func (e *Error) Hint() string {
	ref, err := ParseRef(e.Ref)
	if err != nil || !errdefs.IsNotFound(e.Err) {
		return ""
	}
	if e.isPart() {
		return "the registry names this part of the image and does not have it: the image has to be pushed again"
	}
	switch e.Missing {
	case MissingRepository:
		return fmt.Sprintf("check the name: %s has no repository %s, or shows it only with another credential", ref.TypedHost(), ref.Path)
	case MissingTag:
		return fmt.Sprintf("the repository exists; see its tags with: containerd-pull %s/%s:<TAB>", ref.TypedHost(), ref.Path)
	case MissingDigest:
		return "the repository exists and does not have this digest: check it"
	}
	return "check the repository and the tag: the registry does not say which of them is missing"
}

// isPart reports whether the request was for a part of an image whose target was
// found.
func (e *Error) isPart() bool { return e.Op == "blob" || e.Op == "manifest" }

// WhatIsMissing returns Missing, or for a part of an image that was found, Digest. It
// is empty where the registry leaves it open.
func (e *Error) WhatIsMissing() string {
	if e.isPart() {
		return MissingDigest
	}
	return e.Missing
}
