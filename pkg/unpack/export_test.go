package unpack

import "github.com/containerd-pull/containerd-pull/pkg/layer/erofs"

// HoldTogether bounds the memory of images that are made side by side.
func (u *Unpacker) HoldTogether(bytes int64) { u.shared.held = erofs.NewBudget(bytes) }
