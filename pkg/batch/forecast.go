package batch

import (
	"cmp"
	"context"

	"github.com/containerd-pull/containerd-pull/pkg/pull"
	"github.com/containerd-pull/containerd-pull/pkg/registry/hosts"
	"github.com/containerd-pull/containerd-pull/pkg/store"
)

// Forecast is what a batch would do.
type Forecast struct {
	Outcomes []Outcome // parallel to the jobs; those that did not fail have an Outlook
	// Total is what all images take together, each blob and each snapshot once.
	Total pull.Load
	// Misfit is why not all images of one store would fit into it together, nil if
	// they may.
	Misfit error
}

// Host is one that would be asked, with the source of its credential.
type Host struct {
	hosts.Host
	Credential string // empty if there is none
	// Withheld is why the host does not get a credential that is configured.
	Withheld string
}

// Plan finds out what Run would do, and changes nothing: stores are opened for
// looking. Failures are outcomes, and errors, as those of Run.
func (b *Batch) Plan(ctx context.Context) (Forecast, error) {
	b.looking = true
	err := b.run(ctx)
	f := Forecast{Outcomes: b.outcomes}
	loads := map[store.Options]*pull.Load{}
	for _, o := range f.Outcomes {
		if o.Outlook == nil {
			continue
		}
		f.Total.Add(o.Outlook.Load)
		all := loads[o.Config.Store]
		if all == nil {
			all = &pull.Load{}
			loads[o.Config.Store] = all
		}
		all.Add(o.Outlook.Load)
		f.Misfit = cmp.Or(f.Misfit, o.Outlook.Misfit, all.Fits(o.Outlook.Space))
	}
	return f, err
}

// foresee finds out what the pull of t would do.
func (b *Batch) foresee(ctx context.Context, t *task) (err error) {
	if t.ready == nil {
		if t.ready, err = t.puller.Prepare(ctx, t.req); err != nil {
			return err
		}
	}
	if t.outlook, err = t.puller.Outlook(ctx, t.ready); err != nil {
		return err
	}
	t.ready = nil
	t.hosts, err = b.hosts(ctx, t)
	return err
}

// hosts lists whom the pull of t would ask, in their order.
func (b *Batch) hosts(ctx context.Context, t *task) ([]Host, error) {
	shop := b.Parts.shops[keyOf(t.Config)]
	found, err := shop.Hosts(ctx, t.req.Ref)
	if err != nil {
		return nil, err
	}
	list := make([]Host, len(found))
	for i, h := range found {
		list[i].Host = h
		cred, err := shop.find(ctx, h.Name, t.req.Ref)
		if err != nil {
			list[i].Withheld = err.Error()
			continue
		}
		list[i].Credential, list[i].Withheld = cred.Source, cred.Withheld
	}
	return list, nil
}

// Serving is the host that the blobs of an image would come from, empty if that is
// not known: the first that serves blobs, without those that were asked before the
// one that resolved the reference.
func (o Outcome) Serving() string {
	resolved := false
	for _, h := range o.Hosts {
		resolved = resolved || h.Name == o.Outlook.Plan.Host
		if h.Pull && (resolved || !h.Resolve) {
			return h.Name
		}
	}
	return o.Outlook.Plan.Host
}
