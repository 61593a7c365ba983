package pull

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/containerd/containerd/v2/core/images"
	"github.com/containerd/errdefs"
	"github.com/containerd/platforms"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/containerd-pull/containerd-pull/pkg/fetch"
	"github.com/containerd-pull/containerd-pull/pkg/image"
	"github.com/containerd-pull/containerd-pull/pkg/printable"
	"github.com/containerd-pull/containerd-pull/pkg/progress"
	"github.com/containerd-pull/containerd-pull/pkg/source"
	"github.com/containerd-pull/containerd-pull/pkg/store"
)

// want is one of the platforms that a request asks for.
type want struct {
	platforms.MatchComparer
	name string
}

// wants are the platforms asked for, matched as containerd matches them when an
// image is run; none if the request takes all.
func (r Request) wants() []want {
	switch {
	case r.AllPlatforms:
		return nil
	case len(r.Platforms) == 0:
		return []want{{platforms.Default(), "this host (" + platforms.FormatAll(platforms.DefaultSpec()) + ")"}}
	}
	var all []want
	for _, p := range r.Platforms {
		all = append(all, want{platforms.Only(p), platforms.FormatAll(p)})
	}
	return all
}

// choose returns the manifests that containerd will find for the platforms asked
// for, each once.
func (pl *planner) choose(ctx context.Context) ([]candidate, error) {
	var chosen []candidate
	for _, want := range pl.plan.Request.wants() {
		c, err := pl.find(ctx, want)
		if err != nil {
			return nil, err
		}
		if !slices.ContainsFunc(chosen, c.isSame) {
			chosen = append(chosen, c)
		}
	}
	return chosen, nil
}

func (pl *planner) find(ctx context.Context, want want) (candidate, error) {
	desc, err := image.Choose(ctx, pl.target.Desc, want, pl.read)
	if errors.Is(err, image.ErrNoMatch) {
		return candidate{}, want.missing(image.Platforms(ctx, pl.target.Desc, pl.readFew()))
	}
	if err != nil {
		return candidate{}, err
	}
	c, err := pl.load(ctx, desc)
	if err == nil && !pl.suits(c, want) {
		err = want.missing([]ocispec.Platform{c.platform})
	}
	return c, err
}

// suits reports whether c is an image for the platform want. containerd takes an
// image that is no index as it is; one that says it is for another platform is
// more likely a mistake. Artifacts, and images that do not say, suit every host.
func (pl *planner) suits(c candidate, want want) bool {
	return c.desc.Digest != pl.target.Desc.Digest || c.platform.OS == "" || want.Match(c.platform)
}

// candidate is a manifest with what it takes to judge it.
type candidate struct {
	desc             ocispec.Descriptor
	platform         ocispec.Platform
	manifest, config Document
	parsed           ocispec.Manifest
}

func (c candidate) isSame(other candidate) bool { return c.desc.Digest == other.desc.Digest }

// load reads the manifest desc and its config.
func (pl *planner) load(ctx context.Context, desc ocispec.Descriptor) (c candidate, err error) {
	c.desc = desc
	if c.manifest, err = pl.manifest(ctx, desc, progress.Manifest); err != nil {
		return c, err
	}
	if err := image.Parse(desc, c.manifest.Body, &c.parsed); err != nil {
		return c, err
	}
	c.manifest.Children = image.Children(c.parsed)
	if c.config, err = pl.config(ctx, c.parsed.Config); err != nil {
		return c, err
	}
	return c, c.readPlatform()
}

// readPlatform takes the platform from the index or, if that does not name it,
// out of the config of an image.
func (c *candidate) readPlatform() error {
	if c.desc.Platform != nil {
		c.platform = *c.desc.Platform
		return nil
	}
	if !image.IsConfig(c.parsed.Config) {
		return nil
	}
	var config image.Config
	err := image.Parse(c.parsed.Config, c.config.Body, &config)
	c.platform = config.Platform
	return err
}

// read is an image.Read.
func (pl *planner) read(ctx context.Context, desc ocispec.Descriptor) ([]byte, error) {
	var d Document
	var err error
	switch {
	case images.IsIndexType(desc.MediaType):
		d, err = pl.manifest(ctx, desc, progress.Index)
	case images.IsManifestType(desc.MediaType):
		d, err = pl.manifest(ctx, desc, progress.Manifest)
	default:
		d, err = pl.config(ctx, desc)
	}
	return d.Body, err
}

// namedDocuments is how many documents are read at most for the platforms in an
// error.
const namedDocuments = 64

// readFew is read, and an error once it was called often enough.
func (pl *planner) readFew() image.Read {
	calls := 0
	return func(ctx context.Context, desc ocispec.Descriptor) ([]byte, error) {
		if calls++; calls > namedDocuments {
			return nil, errdefs.ErrResourceExhausted
		}
		return pl.read(ctx, desc)
	}
}

// isOdd reports whether err is about a document that the image could do without:
// it is malformed, or the registry does not serve it.
func isOdd(ctx context.Context, err error) bool {
	if context.Cause(ctx) != nil || errors.Is(err, store.ErrUnavailable) {
		return false
	}
	return errors.As(err, new(*source.Error)) || errors.Is(err, fetch.ErrUnserved) ||
		errdefs.IsInvalidArgument(err) || errdefs.IsDataLoss(err) || errdefs.IsNotFound(err)
}

// missing is the error of an image that has none for the platform w, but has
// others.
func (w want) missing(others []ocispec.Platform) error {
	return &NoPlatform{Wanted: w.name, Have: describePlatforms(others)}
}

func describePlatforms(all []ocispec.Platform) string {
	var names []string
	for _, p := range all {
		if name := printable.Line(platforms.FormatAll(p)); !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	if len(names) == 0 {
		return "none"
	}
	return strings.Join(names, ", ")
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

// Hint implements failure.Hinter.
func (e *NoPlatform) Hint() string {
	return "--platform names one that there is; an image for another machine runs only under emulation"
}
