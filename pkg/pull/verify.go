package pull

import (
	"context"
	"errors"
	"fmt"

	"github.com/containerd/log"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/containerd-pull/containerd-pull/pkg/source"
	"github.com/containerd-pull/containerd-pull/pkg/store"
	"github.com/containerd-pull/containerd-pull/pkg/trust"
)

// daemonVerifiers names in refusals what the daemon has configured.
const daemonVerifiers = "of containerd"

// judgeTarget lets the verifiers of the caller and of the daemon judge a target that
// is to be pulled, or is there already, and settles the engine where only the daemon can ask its
// own. The verifiers of the daemon cannot be switched off.
func (p *Puller) judgeTarget(ctx context.Context, pl *Plan) error {
	if p.Verifier != nil {
		if err := p.askVerifier(ctx, p.Verifier, pl.Request.Ref, pl.Target); err != nil {
			return err
		}
	}
	switch v := p.Store.Traits().Verifiers; {
	case v.Unknown != "":
		if err := p.leaveToDaemon(ctx, pl, v.Unknown); err != nil {
			return err
		}
	case v.Programs != nil:
		if err := p.askVerifier(ctx, daemonPrograms(*v.Programs), pl.Request.Ref, pl.Target); err != nil {
			return err
		}
	}
	pl.Verified = pl.Target.Digest
	return nil
}

func (p *Puller) askVerifier(ctx context.Context, v trust.Verifier, ref source.Ref, target ocispec.Descriptor) error {
	judged, err := v.Verify(ctx, ref, target)
	if err != nil {
		return err
	}
	log.G(ctx).Debugf("verifier %s allows %s with digest %s: %s", judged.Verifier, ref.Name, target.Digest, judged.Reason)
	return nil
}

// daemonPrograms asks the daemon's programs as the daemon would.
func daemonPrograms(p store.VerifierPrograms) trust.Bindir {
	return trust.Bindir{Dir: p.Dir, Max: p.Max, Timeout: p.Timeout, Optional: true}
}

// leaveToDaemon has the transfer service pull, whose verifiers cannot be asked
// here. Where that is impossible there is no pull.
func (p *Puller) leaveToDaemon(ctx context.Context, pl *Plan, why string) error {
	cannot := fmt.Errorf("engine %s would pass them by", pl.Request.Engine)
	switch {
	case pl.Request.Engine == EngineTransfer:
		return nil
	case isAuto(pl.Request.Engine):
		cannot = p.transferable(ctx, pl.Request)
	}
	if cannot != nil {
		return trust.Refuse(daemonVerifiers, pl.Name, pl.Target.Digest, fmt.Sprintf("%s; %v", why, cannot))
	}
	pl.Request.Engine, pl.EngineReason = EngineTransfer, why
	return nil
}

// checkVerified compares the target once more with what was judged.
func (pl *Plan) checkVerified() error {
	if pl.Verified == pl.Target.Digest {
		return nil
	}
	return trust.Refuse("of the plan", pl.Name, pl.Target.Digest, fmt.Sprintf("the digest that was judged is %q", pl.Verified))
}

// refusedThere makes a Refusal of what a daemon says when its verifiers block a
// transfer.
func refusedThere(pl *Plan, err error) error {
	if !errors.Is(err, store.ErrRefused) {
		return err
	}
	return trust.Refuse(daemonVerifiers, pl.Name, pl.Target.Digest, err.Error())
}
