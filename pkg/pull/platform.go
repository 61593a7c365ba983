package pull

import (
	"context"
	"fmt"
	"slices"

	"github.com/containerd/errdefs"
	"github.com/containerd/platforms"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/containerd-pull/containerd-pull/pkg/image"
	"github.com/containerd-pull/containerd-pull/pkg/progress"
)

// choose returns the manifests to pull, with their documents: the best one for
// each platform asked for, or for the host, or all of them.
func (pl *planner) choose(ctx context.Context, manifests []ocispec.Descriptor) ([]candidate, error) {
	all, err := pl.candidates(ctx, manifests)
	if err != nil {
		return nil, err
	}
	r := pl.plan.Request
	var chosen []candidate
	switch {
	case r.AllPlatforms:
		chosen = all
	case len(r.Platforms) == 0:
		chosen, err = pick(all, chosen, platforms.Default(), "this host ("+platforms.FormatAll(platforms.DefaultSpec())+")")
	default:
		for _, want := range r.Platforms {
			if chosen, err = pick(all, chosen, platforms.Ordered(want), platforms.FormatAll(want)); err != nil {
				return nil, err
			}
		}
	}
	if err != nil {
		return nil, err
	}
	for i := range chosen {
		if err := pl.load(ctx, &chosen[i]); err != nil {
			return nil, err
		}
	}
	return chosen, nil
}

// keptDocuments bounds, in bytes, the documents of candidates that are kept until
// it is known which of them is chosen.
const keptDocuments = 4 << 20

// candidates learns the platform of each manifest: from its descriptor, or
// else from its config. Of what was read for that, no more is kept than fits:
// what is chosen is read again otherwise.
func (pl *planner) candidates(ctx context.Context, manifests []ocispec.Descriptor) ([]candidate, error) {
	var all []candidate
	room := int64(keptDocuments)
	for _, desc := range manifests {
		c := candidate{desc: desc}
		if desc.Platform != nil {
			c.platform = *desc.Platform
		} else if err := pl.load(ctx, &c); err != nil {
			return nil, err
		}
		room = c.shed(room)
		all = append(all, c)
	}
	return all, nil
}

// shed drops what was decoded of c, and its documents too unless they fit into
// the room. It returns the room that is left.
func (c *candidate) shed(room int64) int64 {
	c.parsed = ocispec.Manifest{}
	if c.manifest == nil {
		return room
	}
	if size := c.manifest.Desc.Size + c.config.Desc.Size; size <= room {
		return room - size
	}
	c.manifest, c.config = nil, nil
	return room
}

// load reads the manifest and the config of c, unless it holds them, and decodes
// the manifest.
func (pl *planner) load(ctx context.Context, c *candidate) error {
	if c.manifest == nil {
		manifest, err := pl.manifest(ctx, c.desc, progress.Manifest)
		if err != nil {
			return err
		}
		c.manifest = &manifest
	}
	if err := image.Parse(c.desc, c.manifest.Body, &c.parsed); err != nil {
		return err
	}
	if c.config == nil {
		config, err := pl.config(ctx, c.parsed.Config)
		if err != nil {
			return err
		}
		c.config = &config
	}
	if c.desc.Platform == nil {
		return c.platformOfConfig()
	}
	return nil
}

// platformOfConfig reads the platform out of an image's config. Artifacts and
// images without one fit every host.
func (c *candidate) platformOfConfig() error {
	if !image.IsConfig(c.parsed.Config) {
		return nil
	}
	var config image.Config
	if err := image.Parse(c.parsed.Config, c.config.Body, &config); err != nil {
		return err
	}
	c.platform = config.Platform
	return nil
}

// pick adds the best candidate for want to chosen, once.
func pick(all, chosen []candidate, want platforms.MatchComparer, name string) ([]candidate, error) {
	i := image.Choose(platformsOf(all), want)
	if i < 0 {
		return nil, noPlatform(all, name)
	}
	if slices.ContainsFunc(chosen, func(c candidate) bool { return c.desc.Digest == all[i].desc.Digest }) {
		return chosen, nil
	}
	return append(chosen, all[i]), nil
}

func platformsOf(all []candidate) []ocispec.Platform {
	var has []ocispec.Platform
	for _, c := range all {
		has = append(has, c.platform)
	}
	return has
}

func noPlatform(all []candidate, name string) error {
	return &NoPlatform{Wanted: name, Have: describePlatforms(platformsOf(all))}
}

// NoPlatform says that there is no image for a platform that was asked for.
type NoPlatform struct {
	Wanted string
	Have   string // platforms with commas between them, or "none"
}

func (e *NoPlatform) Error() string {
	return fmt.Sprintf("no image for %s; there are: %s", e.Wanted, e.Have)
}

func (e *NoPlatform) Unwrap() error { return errdefs.ErrNotFound }
