package fetch

import (
	"context"
	"errors"
	"fmt"
	"io"
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

const (
	sourcePrefix = labels.LabelDistributionSource + "."
	bufferSize   = 512 << 10
	// rounds is how often a blob is fetched from its first byte before wrong
	// bytes are taken for the registry's last word. registry.Blame makes each
	// round start with another host.
	rounds = 4
)

// Store fetches b unless the store has it, and commits it with the labels set. It
// returns the number of bytes that came over the network.
func (f *Fetcher) Store(ctx context.Context, b Blob, set map[string]string) (int64, error) {
	in, err := f.Open(ctx, b)
	if errdefs.IsAlreadyExists(err) {
		return 0, f.Present(ctx, b, set)
	}
	if err != nil {
		return 0, err
	}
	for round := 1; ; round++ {
		if err = in.Receive(ctx, io.Discard); err == nil {
			err = in.Commit(ctx, set)
		}
		if !errors.Is(err, ErrCorrupt) || in.w == nil || round == rounds {
			return in.came, errors.Join(err, in.Close())
		}
	}
}

// Put stores b, whose bytes are body, unless the store has it. In either case it
// gets those labels of set that it lacks.
func (f *Fetcher) Put(ctx context.Context, b Blob, body []byte, set map[string]string) error {
	in, err := f.Open(ctx, b)
	if err == nil {
		err = errors.Join(in.put(ctx, body, set), in.Close())
	}
	if err != nil && !errdefs.IsAlreadyExists(err) {
		return err
	}
	return f.Label(ctx, b.Desc.Digest, set)
}

// put goes on with what the ingest holds, which may be all: a store has the bytes
// of other namespaces and of pulls that were killed. Wrong bytes are dropped, once.
func (in *Ingest) put(ctx context.Context, body []byte, set map[string]string) error {
	for {
		held := in.offset > 0
		if _, err := in.w.Write(body[min(in.offset, int64(len(body))):]); err != nil {
			return fmt.Errorf("writing %s: %w", in.blob.Desc.Digest, err)
		}
		err := in.Commit(ctx, set)
		if !held || !errors.Is(err, ErrCorrupt) || in.w == nil || in.offset > 0 {
			return err
		}
	}
}

// Present reports that b need not be fetched. If it is in the store it gets
// those labels of set that it lacks; of a list of distribution sources, those
// entries.
func (f *Fetcher) Present(ctx context.Context, b Blob, set map[string]string) error {
	f.emit.Emit(b.event(progress.Present))
	return f.Label(ctx, b.Desc.Digest, set)
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

// Labelled tells whether a blob has all labels of set, as Label would leave it.
func Labelled(info content.Info, set map[string]string) bool {
	_, fields := missingLabels(info.Labels, set)
	return len(fields) == 0
}

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

// mergeSources adds repo to a sorted list of repositories, as containerd keeps
// it.
func mergeSources(list, repo string) string {
	if list == "" {
		return repo
	}
	repos := append(strings.Split(list, ","), repo)
	slices.Sort(repos)
	return strings.Join(slices.Compact(repos), ",")
}

// sourceLabels say where the blobs of ref come from, so that a later push may
// mount them and a peer may serve them. The key has the registry's host
// without its port, as containerd writes it.
func sourceLabels(ref source.Ref) map[string]string {
	key := sourcePrefix + (&url.URL{Host: ref.Domain}).Hostname()
	if labels.Validate(key, ref.Path) != nil { // too long for a label
		return map[string]string{}
	}
	return map[string]string{key: ref.Path}
}

func (f *Fetcher) buffer() *[bufferSize]byte {
	if buf, ok := f.buffers.Get().(*[bufferSize]byte); ok {
		return buf
	}
	return new([bufferSize]byte)
}

// Bytes returns the bytes of a small blob, such as a config, without storing
// it.
func (f *Fetcher) Bytes(ctx context.Context, b Blob) ([]byte, error) {
	for failures := 1; ; failures++ {
		body, host, err := f.read(ctx, b)
		if err == nil && b.Desc.Digest.Algorithm().FromBytes(body) != b.Desc.Digest {
			err = fmt.Errorf("%s served other bytes: %w", host, ErrCorrupt)
			f.source.Blame(b.Ref, b.Desc, host, err)
			if failures < rounds {
				continue
			}
		}
		if err == nil {
			return body, nil
		}
		if err := f.source.Backoff(ctx, failures, err); err != nil {
			return nil, fmt.Errorf("fetching %s %s: %w", b.Kind, b.Desc.Digest, err)
		}
	}
}

func (f *Fetcher) read(ctx context.Context, b Blob) ([]byte, string, error) {
	body, err := f.source.Open(ctx, b.Ref, b.Desc, source.Range{})
	if err != nil {
		return nil, "", err
	}
	defer body.Close()
	p, err := io.ReadAll(body)
	return p, body.Host, err
}
