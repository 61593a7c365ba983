package source_test

import (
	"testing"

	"github.com/containerd/errdefs"

	"github.com/containerd-pull/containerd-pull/pkg/failure"
	"github.com/containerd-pull/containerd-pull/pkg/source"
)

// What the registry leaves open is not guessed.
func TestN6HintOfWhatIsMissing(t *testing.T) {
	missing := failure.New(errdefs.ErrNotFound, "404")
	const open = "check the repository and the tag: the registry does not say which of them is missing"
	for _, tc := range []struct {
		name, reason, want string
		err                source.Error
	}{
		{"tag", "tag", "the repository exists; see its tags with: containerd-pull example.com/app:<TAB>", source.Error{Ref: "example.com/app:1", Missing: source.MissingTag, Err: missing}},
		{"repository", "repository", "check the name: example.com has no repository app, or shows it only with another credential", source.Error{Ref: "example.com/app:1", Missing: source.MissingRepository, Err: missing}},
		{"digest", "digest", "the repository exists and does not have this digest: check it", source.Error{Ref: "example.com/app:1", Missing: source.MissingDigest, Err: missing}},
		{"layer", "digest", "the registry names this part of the image and does not have it: the image has to be pushed again", source.Error{Op: "blob", Ref: "example.com/app:1", Err: missing}},
		{"unknown", "", open, source.Error{Op: "resolve", Ref: "example.com/app:1", Code: "MANIFEST_UNKNOWN", Err: missing}},
		{"another class", "", "", source.Error{Ref: "example.com/app:1", Err: errdefs.ErrUnavailable}},
		{"no reference", "", "", source.Error{Err: missing}},
	} {
		if got := tc.err.Hint(); got != tc.want {
			t.Errorf("hint for a missing %s: got %q, want %q", tc.name, got, tc.want)
		}
		if got := tc.err.WhatIsMissing(); got != tc.reason {
			t.Errorf("reason for a missing %s: got %q, want %q", tc.name, got, tc.reason)
		}
	}
}
