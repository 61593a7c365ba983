package pull

import (
	"context"

	"github.com/containerd/errdefs"

	"github.com/containerd-pull/containerd-pull/pkg/failure"
	"github.com/containerd-pull/containerd-pull/pkg/store"
)

// removeForeignFiles removes files that lie in the place of blobs of the plan and
// have another size, as a crash or another tool may leave them. A daemon only
// checks that the file exists, so the pull would falsely succeed.
func (r *run) removeForeignFiles(ctx context.Context) error {
	if len(r.plan.Missing.WrongSize) == 0 {
		return nil
	}
	if err := r.p.Store.Collect(ctx, store.Strays); err != nil {
		return err
	}
	if _, err := r.p.survey(ctx, r.plan); err != nil {
		return err
	}
	bad := r.plan.Missing.WrongSize
	if len(bad) == 0 {
		return nil
	}
	return failure.New(errdefs.ErrDataLoss, "the content store has a file of another size than %d in the place of blob %s, and another namespace relies on it",
		bad[0].Size, bad[0].Digest).WithHint("the local store is damaged, not the registry: containerd-pull -n NAMESPACE verify --repair mends the images of a namespace")
}
