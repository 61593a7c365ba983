package store

import (
	"context"
	"fmt"
	"strings"

	"github.com/containerd/containerd/v2/core/containers"
	"github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/containerd/v2/core/images"
	"github.com/containerd/containerd/v2/core/snapshots"
	"github.com/containerd/errdefs"
	"github.com/opencontainers/go-digest"

	"github.com/containerd-pull/containerd-pull/pkg/image"
)

// Uses says what stands on the images of the namespace: a container that names one, and
// what is on top of its snapshots, such as a container whose image has another name by
// now, or a volume that shows an image.
type Uses struct {
	names  map[string]string                   // what uses an image, by its name
	labels map[digest.Digest]map[string]string // of blobs that keep something
	users  map[string]map[string]string        // of the top snapshots of images, by snapshotter
}

// Uses looks at what uses the images, by the records alone.
func (s *Store) Uses(ctx context.Context) (*Uses, error) {
	ctx = s.Context(ctx)
	u := &Uses{map[string]string{}, map[digest.Digest]map[string]string{}, map[string]map[string]string{s.Name: {}}}
	all, err := s.Containers.List(ctx)
	if err != nil {
		return nil, fmt.Errorf("listing containers: %w", err)
	}
	for _, c := range all {
		u.names[c.Image] = byContainer(c)
		if c.Snapshotter != "" && u.users[c.Snapshotter] == nil {
			u.users[c.Snapshotter] = map[string]string{}
		}
	}
	if err = s.Content.Walk(ctx, u.addBlob); err != nil {
		return nil, fmt.Errorf("listing blobs: %w", err)
	}
	for snapshotter, tops := range u.users {
		if err := s.addUsers(ctx, snapshotter, tops, all); err != nil {
			return nil, err
		}
	}
	return u, nil
}

func byContainer(c containers.Container) string { return fmt.Sprintf("container %s uses it", c.ID) }

// addBlob adds what a blob keeps.
func (u *Uses) addBlob(info content.Info) error {
	for key, value := range info.Labels {
		if strings.HasPrefix(key, image.LabelContent) {
			u.labels[info.Digest] = info.Labels
		}
		if snapshotter := snapshotterOf(key); snapshotter != "" && value != "" {
			u.labels[info.Digest] = info.Labels
			if u.users[snapshotter] == nil {
				u.users[snapshotter] = map[string]string{}
			}
			u.users[snapshotter][value] = ""
		}
	}
	return nil
}

// snapshotterOf is the one of a key by which a blob keeps a snapshot, empty for another
// key. Something of one's own may follow (core/metadata/gc.go in containerd).
func snapshotterOf(key string) string {
	name, found := strings.CutPrefix(key, image.LabelSnapshot)
	if !found {
		return ""
	}
	name, _, _ = strings.Cut(name, "/")
	return name
}

// addUsers finds the users of the tops of images in one snapshotter. On images that
// are unpacked in one that cannot be looked at, any container of that may stand.
func (s *Store) addUsers(ctx context.Context, snapshotter string, tops map[string]string, all []containers.Container) error {
	parents := map[string]string{}
	var others []string
	err := s.walkSnapshots(ctx, snapshotter, func(_ context.Context, info snapshots.Info) error {
		parents[info.Name] = info.Parent
		if info.Kind == snapshots.KindActive || info.Kind == snapshots.KindView {
			others = append(others, info.Name)
		}
		return nil
	})
	unknown := errdefs.IsInvalidArgument(err) || errdefs.IsNotFound(err)
	if err != nil && !unknown {
		return fmt.Errorf("listing snapshots of %s: %w", snapshotter, err)
	}
	for _, c := range all {
		if c.Snapshotter != snapshotter || c.SnapshotKey == "" {
			continue
		}
		use(tops, parents, c.SnapshotKey, byContainer(c))
		for top := range tops {
			if unknown {
				tops[top] = fmt.Sprintf("container %s may use it, and its snapshotter %s cannot be looked at", c.ID, snapshotter)
			}
		}
	}
	for _, name := range others {
		use(tops, parents, name, fmt.Sprintf("snapshot %s of %s is on top of it", name, snapshotter))
	}
	return nil
}

// walkSnapshots lists the snapshots of any snapshotter. One that is not there, or not
// open, is an errdefs.ErrNotFound or ErrInvalidArgument.
func (s *Store) walkSnapshots(ctx context.Context, name string, fn snapshots.WalkFunc) error {
	sn := s.backend.Snapshotter(name)
	if sn == nil {
		return errdefs.ErrNotFound
	}
	return sn.Walk(ctx, fn)
}

// use marks the image on which a snapshot stands: the nearest below it. Others further
// down, on which that image was built, can go without it.
func use(tops, parents map[string]string, key, why string) {
	for range len(parents) + 1 { // however records may be tied
		if before, isTop := tops[key]; isTop {
			if before == "" {
				tops[key] = why
			}
			return
		}
		key = parents[key]
	}
}

// Of says in words what uses an image; it is empty if nothing does. Of an image whose
// blobs do not say which snapshots are made of them, only the name is known.
func (u *Uses) Of(img images.Image) string {
	if why := u.names[img.Name]; why != "" {
		return why
	}
	seen := map[digest.Digest]bool{}
	for todo := []digest.Digest{img.Target.Digest}; len(todo) > 0; {
		dgst := todo[0]
		if todo = todo[1:]; seen[dgst] {
			continue
		}
		seen[dgst] = true
		for key, value := range u.labels[dgst] {
			if why := u.users[snapshotterOf(key)][value]; why != "" {
				return why
			}
			if strings.HasPrefix(key, image.LabelContent) {
				todo = append(todo, digest.Digest(value))
			}
		}
	}
	return ""
}
