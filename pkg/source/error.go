package source

import (
	"fmt"
	"time"

	"github.com/containerd/errdefs"
	"github.com/opencontainers/go-digest"
)

// Error is the failure of one request to one host. It unwraps to the class of
// errdefs that says what would have to be mended: ErrNotFound,
// ErrUnauthenticated, ErrPermissionDenied, ErrResourceExhausted,
// ErrUnavailable, ErrDataLoss or ErrInvalidArgument.
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
	// RetryAfter is how long the host asked to be left alone, 0 if it did not.
	RetryAfter time.Duration
	Err        error
}

func (e *Error) Error() string {
	if e.RetryAfter >= time.Second {
		return fmt.Sprintf("%s: %v, retry in %s", e.Host, e.Err, e.RetryAfter.Round(time.Second))
	}
	return fmt.Sprintf("%s: %v", e.Host, e.Err)
}

func (e *Error) Unwrap() error { return e.Err }

// codeNoManifest is a code of the distribution specification. A registry that
// gives it has the repository.
const codeNoManifest = "MANIFEST_UNKNOWN"

// Hint is how to see the tags of a repository that lacks the one asked for.
func (e *Error) Hint() string {
	if e.Code != codeNoManifest || e.Digest != "" || !errdefs.IsNotFound(e.Err) {
		return ""
	}
	ref, err := ParseRef(e.Ref)
	if err != nil {
		return ""
	}
	return fmt.Sprintf("the repository exists; see its tags with: containerd-pull %s/%s:<TAB>", ref.Domain, ref.Path)
}
