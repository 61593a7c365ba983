package daemon

import (
	"errors"
	"testing"

	"github.com/containerd/errdefs"
	"github.com/containerd/errdefs/pkg/errgrpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/containerd-pull/containerd-pull/pkg/store"
)

// TestDamageThatADaemonTells looks at errors as containerd's services answer them.
func TestDamageThatADaemonTells(t *testing.T) {
	for _, tc := range []struct {
		err    error
		damage bool
	}{
		{status.Error(codes.Unknown, "opening database file: invalid database"), true},
		{status.Error(codes.Unknown, "version mismatch"), true},
		{status.Error(codes.Unknown, "opening metadata.db: checksum error"), true},
		{status.Error(codes.Unknown, "invalid database name: x"), false},
		{status.Error(codes.NotFound, "invalid database"), false},
		{errors.New("invalid database"), false}, // not a daemon's
		{nil, false},
	} {
		got := asDamage(tc.err)
		if errdefs.IsDataLoss(errgrpc.ToNative(got)) != tc.damage {
			t.Errorf("%v: got %v, want damage: %v", tc.err, got, tc.damage)
		}
		if !tc.damage && !errors.Is(got, tc.err) {
			t.Errorf("got %v, want %v as it was", got, tc.err)
		}
	}
}

func TestIncompleteDaemon(t *testing.T) {
	missing := errgrpc.ToNative(status.Error(codes.Unimplemented, "unknown service containerd.services.namespaces.v1.Namespaces"))
	if got := incomplete("c.sock", missing); !errors.Is(got, store.ErrUnavailable) {
		t.Errorf("got %v, want store.ErrUnavailable", got)
	}
	other := errors.New("other")
	if got := incomplete("c.sock", other); !errors.Is(got, other) || errors.Is(got, store.ErrUnavailable) {
		t.Errorf("got %v, want it as it was", got)
	}
}
