package registry

import (
	"context"
	"errors"
	"fmt"

	"github.com/containerd-pull/containerd-pull/pkg/source"
)

// Login asks each host of a registry whether it speaks the protocol and accepts
// the credential that there is for it. It does not ask for any image.
func (r *Registry) Login(ctx context.Context, domain string) error {
	ref := source.Ref{Name: domain, Domain: domain}
	up, err := r.upstream(ctx, ref)
	if err != nil {
		return err
	}
	var wrong []error
	for _, h := range up.hosts {
		resp, err := r.ask(ctx, h, call{op: "login", ref: ref, accept: "application/json"})
		if err != nil {
			wrong = append(wrong, fmt.Errorf("logging in: %w", err))
			continue
		}
		drain(resp)
	}
	return errors.Join(wrong...)
}
