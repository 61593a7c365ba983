package daemon

import (
	"context"
	"slices"
	"strings"

	"github.com/containerd/errdefs"
	bolterrors "go.etcd.io/bbolt/errors"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/containerd-pull/containerd-pull/pkg/failure"
	"github.com/containerd-pull/containerd-pull/pkg/store"
)

// incomplete is the error for a containerd that runs without services that it
// needs, as when a plugin could not open its database.
func incomplete(address string, err error) error {
	if !errdefs.IsNotImplemented(err) {
		return err
	}
	return failure.New(store.ErrUnavailable, "containerd at %s runs without what it needs: %w", address, err).
		WithHint("a plugin of it failed when it started: ctr plugins ls -d and containerd's log say which and why (journalctl -u containerd)")
}

// asDamage gives the error of a database that containerd cannot open the class of
// damage, which its service does not tell from other errors.
func asDamage(err error) error {
	s, ok := status.FromError(err)
	if err == nil || !ok || s.Code() != codes.Unknown || !isOfDatabase(s.Message()) {
		return err
	}
	return status.Error(codes.DataLoss, s.Message()+" (containerd's own: stop containerd, see its log for which, and move it away with the folder beside it)")
}

func isOfDatabase(message string) bool {
	return slices.ContainsFunc([]error{bolterrors.ErrInvalid, bolterrors.ErrVersionMismatch, bolterrors.ErrChecksum}, func(of error) bool {
		return strings.HasSuffix(message, of.Error())
	})
}

func diagnoseCall(ctx context.Context, method string, question, answer any, conn *grpc.ClientConn, ask grpc.UnaryInvoker, opts ...grpc.CallOption) error {
	return asDamage(ask(ctx, method, question, answer, conn, opts...))
}

func diagnoseStream(ctx context.Context, desc *grpc.StreamDesc, conn *grpc.ClientConn, method string, open grpc.Streamer, opts ...grpc.CallOption) (grpc.ClientStream, error) {
	s, err := open(ctx, desc, conn, method, opts...)
	if err != nil {
		return nil, asDamage(err)
	}
	return diagnosed{s}, nil
}

// diagnosed is a stream whose end is looked at.
type diagnosed struct{ grpc.ClientStream }

func (s diagnosed) RecvMsg(m any) error { return asDamage(s.ClientStream.RecvMsg(m)) }
