package fetch

import (
	"context"
	"fmt"
	"net/url"
	"slices"
	"strings"

	"github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/containerd/v2/pkg/labels"
	"github.com/containerd/errdefs"
	"github.com/opencontainers/go-digest"

	"github.com/containerd-pull/containerd-pull/pkg/progress"
	"github.com/containerd-pull/containerd-pull/pkg/source"
)

const sourcePrefix = labels.LabelDistributionSource + "."

// Present emits that b need not be fetched, unless this Fetcher has fetched it, or
// has emitted that before: platforms may share a blob. If the blob is in the store it gets
// those labels of set that it lacks; of a list of distribution sources, those
// entries.
func (f *Fetcher) Present(ctx context.Context, b Blob, set map[string]string) error {
	f.settle(b.event(progress.Present))
	return f.Label(ctx, b.Desc.Digest, set)
}

// settle reports that a blob is whole. That it is present is said once.
func (f *Fetcher) settle(e progress.Event) {
	_, again := f.settled.LoadOrStore(e.Digest, true)
	if e.Kind == progress.FetchDone || !again {
		f.emit.Emit(e)
	}
}

// Label gives the blob dgst, if it is in the store, those labels of set that
// it lacks.
func (f *Fetcher) Label(ctx context.Context, dgst digest.Digest, set map[string]string) error {
	info, err := f.content.Info(ctx, dgst)
	if errdefs.IsNotFound(err) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("looking up %s: %w", dgst, err)
	}
	missing, fields := missingLabels(info.Labels, set)
	if len(fields) == 0 {
		return nil
	}
	if _, err := f.content.Update(ctx, content.Info{Digest: dgst, Labels: missing}, fields...); err != nil {
		return fmt.Errorf("labelling %s: %w", dgst, err)
	}
	return nil
}

// Labelled reports whether a blob has all labels of set, as Label would leave it.
func Labelled(info content.Info, set map[string]string) bool {
	_, fields := missingLabels(info.Labels, set)
	return len(fields) == 0
}

// missingLabels returns those labels of want that have lacks, and the paths of
// these fields for an update.
func missingLabels(have, want map[string]string) (missing map[string]string, fields []string) {
	missing = map[string]string{}
	for key, value := range want {
		if strings.HasPrefix(key, sourcePrefix) {
			value = mergeSources(have[key], value)
		}
		if have[key] == value || labels.Validate(key, value) != nil {
			continue
		}
		missing[key] = value
		fields = append(fields, "labels."+key)
	}
	return missing, fields
}

// mergeSources adds repo to list, the sorted list of repositories that containerd
// keeps in a label.
func mergeSources(list, repo string) string {
	if list == "" {
		return repo
	}
	repos := append(strings.Split(list, ","), repo)
	slices.Sort(repos)
	return strings.Join(slices.Compact(repos), ",")
}

// sourceLabels returns labels that say where the blobs of ref come from,
// so that a later push may mount them and a peer may serve them. The key has the
// registry's host as it was typed, like the record, and without its port, as
// containerd writes it.
func sourceLabels(ref source.Ref) map[string]string {
	key := sourcePrefix + (&url.URL{Host: ref.TypedHost()}).Hostname()
	if labels.Validate(key, ref.Path) != nil { // too long for a label
		return map[string]string{}
	}
	return map[string]string{key: ref.Path}
}
