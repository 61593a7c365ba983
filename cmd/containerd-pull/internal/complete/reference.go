package complete

import (
	"context"
	"slices"
	"strings"
	"sync"

	"github.com/containerd/containerd/v2/core/images"
	"github.com/containerd/platforms"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/spf13/cobra"

	"github.com/containerd-pull/containerd-pull/pkg/config"
	"github.com/containerd-pull/containerd-pull/pkg/image"
	"github.com/containerd-pull/containerd-pull/pkg/registry"
	"github.com/containerd-pull/containerd-pull/pkg/source"
)

// references completes what can be pulled: names of images that are there and
// repositories that are known, behind a colon the tags of the repository, and
// behind an @ the digests of its images.
func (k *completer) references(cmd *cobra.Command, args []string, word string) ([]string, cobra.ShellCompDirective) {
	ctx, cancel := context.WithTimeout(cmd.Context(), candidateTime)
	defer cancel()
	q := &query{completer: k, cmd: cmd, word: word}
	var all []string
	if name, _, ok := strings.Cut(word, "@"); ok {
		all = q.digests(ctx, name)
	} else if repository, ok := q.repository(); ok {
		all = q.tags(ctx, repository)
	} else {
		all = q.names(ctx)
	}
	return finish(all, args, word)
}

// images completes the names of images in the store.
func (k *completer) images(cmd *cobra.Command, args []string, word string) ([]string, cobra.ShellCompDirective) {
	ctx, cancel := context.WithTimeout(cmd.Context(), candidateTime)
	defer cancel()
	q := &query{completer: k, cmd: cmd, word: word}
	return finish(q.local(ctx, source.Ref{}), args, word)
}

// imagesOfRoot completes the folder of a root, and then the images in it.
func (k *completer) imagesOfRoot(cmd *cobra.Command, args []string, word string) ([]string, cobra.ShellCompDirective) {
	if len(args) == 0 {
		return folders(cmd, args, word)
	}
	if err := cmd.Flags().Set("root", args[0]); err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	return k.images(cmd, args[1:], word)
}

// finish returns the candidates that fit, in their order and without
// repetitions. The shell adds no space if one of them is to be continued.
func finish(all, args []string, word string) ([]string, cobra.ShellCompDirective) {
	directive := cobra.ShellCompDirectiveNoFileComp | cobra.ShellCompDirectiveKeepOrder
	var kept []string
	seen := map[string]bool{}
	for _, c := range fitting(all, args, word) {
		text, _, _ := strings.Cut(c, "\t")
		if seen[text] {
			continue
		}
		seen[text] = true
		kept = append(kept, c)
		if strings.HasSuffix(text, ":") || strings.HasSuffix(text, "/") {
			directive |= cobra.ShellCompDirectiveNoSpace
		}
	}
	return kept, directive
}

// query is one reference that is to be completed.
type query struct {
	*completer
	cmd  *cobra.Command
	word string
}

// repository returns the part of the word before the colon of a tag. The colon
// of a port does not count: the part before it is a host and has no slash.
func (q *query) repository() (string, bool) {
	colon := strings.LastIndexByte(q.word, ':')
	if colon < 0 || strings.Contains(q.word[colon:], "/") {
		return "", false
	}
	name := q.word[:colon]
	return name, strings.Contains(name, "/") || !looksLikeHost(name)
}

func looksLikeHost(name string) bool { return strings.ContainsAny(name, ".:") || name == "localhost" }

// local returns the images of the namespace, or only those of the repository of
// a reference.
func (q *query) local(ctx context.Context, of source.Ref) []string {
	var all []string
	for _, img := range q.records(ctx, of) {
		ref, err := source.ParseRef(img.Name)
		if err != nil || ref.Tag == "" { // such as the sha256:… of CRI
			continue
		}
		for _, name := range []string{ref.Familiar(), ref.Name} {
			if strings.HasPrefix(name, q.word) {
				all = append(all, name+"\timage that is there")
				break
			}
		}
	}
	return all
}

// records returns the image records of the namespace, or of one repository.
func (q *query) records(ctx context.Context, of source.Ref) []images.Image {
	_, cfg, err := q.typed(q.cmd, of)
	if err != nil {
		return nil
	}
	view, err := openView(ctx, cfg)
	if err != nil {
		return nil
	}
	defer view.Close()
	all, err := view.Images(ctx)
	if err != nil {
		return nil
	}
	return slices.DeleteFunc(all, func(img images.Image) bool {
		ref, err := source.ParseRef(img.Name)
		return err != nil || of.Domain != "" && (ref.Domain != of.Domain || ref.Path != of.Path)
	})
}

// ref parses the name of an image as the settings complete it.
func (q *query) ref(name string) (source.Ref, error) {
	settings, err := config.Load(q.Caller, config.FlagsOf(q.cmd.Flags()))
	if err != nil {
		return source.Ref{}, err
	}
	return settings.Ref(name)
}

// digests completes name@ by the digests of images in the store under that
// name, or under any tag if the name has none.
func (q *query) digests(ctx context.Context, name string) []string {
	ref, err := q.ref(name)
	if err != nil {
		return nil
	}
	var all []string
	for _, img := range q.records(ctx, ref) {
		if strings.HasSuffix(name, ":"+ref.Tag) && img.Name != ref.Name {
			continue
		}
		all = append(all, name+"@"+img.Target.Digest.String()+"\t"+img.Name)
	}
	return all
}

// tags completes repository: by the tags at the registry, newest first, and by
// those of images in the store.
func (q *query) tags(ctx context.Context, repository string) []string {
	ref, err := q.ref(repository)
	if err != nil {
		return nil
	}
	var local, remote []string
	var both sync.WaitGroup
	both.Go(func() {
		for _, img := range q.records(ctx, ref) {
			if named, err := source.ParseRef(img.Name); err == nil && named.Tag != "" {
				local = append(local, repository+":"+named.Tag+"\timage that is there")
			}
		}
	})
	both.Go(func() {
		_, cfg, err := q.typed(q.cmd, ref)
		if err != nil {
			return
		}
		tags := q.remote(ctx, cfg, "tags", ref, func(ctx context.Context, reg *registry.Registry) ([]string, error) { return reg.Tags(ctx, ref) })
		slices.SortStableFunc(tags, newestFirst)
		for _, tag := range tags {
			remote = append(remote, repository+":"+tag)
		}
	})
	both.Wait()
	return append(remote, local...)
}

// names completes the name of a repository, or the full name of an image in the
// store.
func (q *query) names(ctx context.Context) []string {
	var local, catalog []string
	settings, cfg, err := q.typed(q.cmd, source.Ref{})
	if err != nil {
		return nil
	}
	var both sync.WaitGroup
	both.Go(func() { local = q.local(ctx, source.Ref{}) })
	both.Go(func() { catalog = q.catalogs(ctx, settings, cfg) })
	both.Wait()
	return slices.Concat(local, aliases(cfg), known(settings, cfg.Profile), catalog)
}

// aliases returns the short names of repositories that the settings know.
func aliases(cfg *config.Config) []string {
	var all []string
	for name, full := range cfg.Short.Aliases {
		all = append(all, name+":\t"+full)
	}
	slices.Sort(all)
	return all
}

// known returns the repositories, and the common beginnings of repositories,
// that patterns name: those of the profile, or of all if none is chosen.
func known(settings *config.Settings, profile string) []string {
	var all []string
	for _, p := range settings.Profiles() {
		if profile != "" && profile != p.Name {
			continue
		}
		for _, pattern := range p.Match {
			if name := literal(pattern); name != "" {
				all = append(all, name+"\tof profile "+p.Name)
			}
		}
	}
	return all
}

// literal returns what all names that match a pattern begin with: up to a colon
// if the pattern is a full name, else up to a slash.
func literal(pattern string) string {
	wildcard := strings.IndexAny(pattern, "*?")
	switch {
	case wildcard >= 0:
		pattern = pattern[:strings.LastIndexByte(pattern[:wildcard], '/')+1]
	case !strings.Contains(pattern, "/"):
		pattern += "/"
	default:
		ref, err := source.ParseRef(pattern)
		if err != nil {
			return ""
		}
		ref.Tag = ""
		return ref.Familiar() + ":"
	}
	if pattern == source.DockerHub+"/" {
		return ""
	}
	return pattern
}

// maxCatalogs limits how many registries are asked for their repositories.
const maxCatalogs = 4

// catalogs asks the registry that was typed, or those of the profiles, for
// their repositories.
func (q *query) catalogs(ctx context.Context, settings *config.Settings, cfg *config.Config) []string {
	places := q.places(settings, cfg)
	found := make([][]string, len(places))
	var each sync.WaitGroup
	for i, p := range places {
		each.Go(func() { found[i] = q.catalog(ctx, p) })
	}
	each.Wait()
	return slices.Concat(found...)
}

// place is a registry to be asked, with the configuration for that.
type place struct {
	host string
	cfg  *config.Config
}

func (q *query) places(settings *config.Settings, cfg *config.Config) []place {
	host, path, typed := strings.Cut(q.word, "/")
	switch {
	case !typed:
		return q.profilePlaces(settings, cfg.Profile)
	case !looksLikeHost(host):
		return nil
	}
	own, err := settings.Resolve(source.Ref{Domain: source.CanonicalHost(host), Path: path})
	if err != nil {
		return nil
	}
	return []place{{host, own}}
}

// profilePlaces returns the registries of a profile, or of all profiles if none
// is chosen, that begin with the word.
func (q *query) profilePlaces(settings *config.Settings, profile string) []place {
	var places []place
	for _, p := range settings.Profiles() {
		own, err := settings.WithProfile(p.Name)
		if err != nil || profile != "" && profile != p.Name {
			continue
		}
		for _, host := range settings.Hosts(p.Name) {
			if strings.HasPrefix(host, q.word) && len(places) < maxCatalogs {
				places = append(places, place{host, own})
			}
		}
	}
	return places
}

// catalog asks a registry for its repositories. Docker Hub has no catalog.
func (q *query) catalog(ctx context.Context, p place) []string {
	if source.CanonicalHost(p.host) == source.DockerHub {
		return nil
	}
	var all []string
	for _, name := range q.remote(ctx, p.cfg, "catalog", source.RegistryRef(p.host), func(ctx context.Context, reg *registry.Registry) ([]string, error) {
		return reg.Repositories(ctx, p.host)
	}) {
		all = append(all, p.host+"/"+name+":")
	}
	return all
}

// platforms completes the last of several platforms: by those of the image if
// it is in the store or its registry answers in time, else by common ones.
func (k *completer) platforms(cmd *cobra.Command, args []string, word string) ([]string, cobra.ShellCompDirective) {
	ctx, cancel := context.WithTimeout(cmd.Context(), candidateTime)
	defer cancel()
	all := []string{"linux/amd64", "linux/arm64", "linux/arm/v7", "linux/arm/v6", "linux/386", "linux/ppc64le", "linux/riscv64", "linux/s390x", "windows/amd64"}
	if len(args) > 0 {
		q := &query{completer: k, cmd: cmd}
		if own := q.platformsOf(ctx, args[len(args)-1]); len(own) > 0 {
			all = own
		}
	}
	given := strings.Split(word, ",")
	given = given[:len(given)-1]
	var offered []string
	for _, p := range all {
		if !slices.Contains(given, p) {
			offered = append(offered, strings.Join(append(slices.Clone(given), p), ","))
		}
	}
	return finish(offered, nil, word)
}

func (q *query) platformsOf(ctx context.Context, name string) []string {
	ref, err := q.ref(name)
	if err != nil {
		return nil
	}
	_, cfg, err := q.typed(q.cmd, ref)
	if err != nil {
		return nil
	}
	if view, err := openView(ctx, cfg); err == nil {
		defer view.Close()
		if own, err := view.Platforms(ctx, ref.Name); err == nil && len(own) > 0 {
			return formatPlatforms(own)
		}
	}
	return q.remote(ctx, cfg, "platforms", ref, func(ctx context.Context, reg *registry.Registry) ([]string, error) {
		target, err := reg.Resolve(ctx, ref)
		if err != nil {
			return nil, err
		}
		return formatPlatforms(indexPlatforms(target)), nil
	})
}

// indexPlatforms returns the platforms of an index, none for a manifest.
func indexPlatforms(target source.Target) []ocispec.Platform {
	children, err := image.ChildrenOf(target.Desc, target.Body)
	if err != nil {
		return nil
	}
	var all []ocispec.Platform
	for _, m := range children {
		if m.Platform != nil && !image.IsAttestation(m) {
			all = append(all, *m.Platform)
		}
	}
	return all
}

func formatPlatforms(all []ocispec.Platform) []string {
	var texts []string
	for _, p := range all {
		text := platforms.Format(platforms.Normalize(p))
		if _, err := platforms.Parse(text); err == nil && !slices.Contains(texts, text) {
			texts = append(texts, text)
		}
	}
	return texts
}
