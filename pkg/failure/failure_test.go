package failure_test

import (
	"errors"
	"fmt"
	"io/fs"
	"testing"

	"github.com/containerd/errdefs"

	"github.com/containerd-pull/containerd-pull/pkg/failure"
)

func TestClassIsNotInText(t *testing.T) {
	err := fmt.Errorf("pulling: %w", failure.New(errdefs.ErrNotFound, "no image %q: %w", "a", fs.ErrPermission))
	if got, want := err.Error(), `pulling: no image "a": permission denied`; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	if !errdefs.IsNotFound(err) || !errors.Is(err, fs.ErrPermission) {
		t.Errorf("got %v, want the class and what is wrapped to be found", err)
	}
}

func TestHintOf(t *testing.T) {
	plain := failure.New(errdefs.ErrNotFound, "x")
	hinted := plain.WithHint("do %d things", 2)
	outer := failure.New(errdefs.ErrUnavailable, "y: %w", hinted)
	for _, tc := range []struct {
		err  error
		want string
	}{
		{nil, ""},
		{errors.New("x"), ""},
		{plain, ""},
		{hinted, "do 2 things"},
		{outer, "do 2 things"},
		{outer.WithHint("do this first"), "do this first"},
		{fmt.Errorf("z: %w", errors.Join(plain, outer)), "do 2 things"},
	} {
		if got := failure.HintOf(tc.err); got != tc.want {
			t.Errorf("%v: got %q, want %q", tc.err, got, tc.want)
		}
	}
}
