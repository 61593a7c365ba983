package source_test

import (
	"fmt"
	"testing"

	"github.com/containerd/errdefs"
	"github.com/opencontainers/go-digest"

	"github.com/containerd-pull/containerd-pull/pkg/source"
)

// Only a tag that is missing from a repository that exists has others to show.
func TestErrorHint(t *testing.T) {
	missing := fmt.Errorf("404: %w", errdefs.ErrNotFound)
	const want = "the repository exists; see its tags with: containerd-pull example.com/app:<TAB>"
	for _, tc := range []struct {
		name string
		err  source.Error
		want string
	}{
		{"tag", source.Error{Ref: "example.com/app:1", Code: "MANIFEST_UNKNOWN", Err: missing}, want},
		{"digest", source.Error{Ref: "example.com/app:1", Code: "MANIFEST_UNKNOWN", Digest: digest.FromString("x"), Err: missing}, ""},
		{"repository", source.Error{Ref: "example.com/app:1", Code: "NAME_UNKNOWN", Err: missing}, ""},
		{"another class", source.Error{Ref: "example.com/app:1", Code: "MANIFEST_UNKNOWN", Err: errdefs.ErrUnavailable}, ""},
		{"no reference", source.Error{Code: "MANIFEST_UNKNOWN", Err: missing}, ""},
	} {
		if got := tc.err.Hint(); got != tc.want {
			t.Errorf("hint for a missing %s: got %q, want %q", tc.name, got, tc.want)
		}
	}
}
