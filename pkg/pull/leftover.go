package pull

import (
	"context"

	"github.com/containerd/errdefs"

	"github.com/containerd-pull/containerd-pull/pkg/failure"
	"github.com/containerd-pull/containerd-pull/pkg/store"
)

// removeForeignFiles removes files that lie in the place of blobs of the plan and
// have another size, as a crash or another tool may leave them. A daemon only
// checks that the file exists, so the pull would falsely succeed. Those that other
// namespaces have records of are damaged for these as well.
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
	for _, desc := range r.plan.Missing.WrongSize {
		if err := r.p.Store.Evict(ctx, desc); err != nil {
			return err
		}
	}
	_, err := r.p.survey(ctx, r.plan)
	if bad := r.plan.Missing.WrongSize; err == nil && len(bad) > 0 {
		err = failure.New(errdefs.ErrDataLoss, "the content store has a file of another size than %d in the place of blob %s, and containerd keeps it", bad[0].Size, bad[0].Digest).
			WithHint("the local store is damaged, not the registry: containerd-pull verify --repair --namespace NAMESPACE mends the images of a namespace")
	}
	return err
}
