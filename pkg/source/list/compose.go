package list

import (
	"context"
	"errors"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
	"golang.org/x/sys/unix"

	"github.com/containerd-pull/containerd-pull/pkg/userfile"
)

// isCompose reports whether a document is a Compose file: one with services or
// includes that is no resource of Kubernetes.
func isCompose(doc *yaml.Node) bool {
	return get(doc, "kind") == nil && get(doc, "apiVersion") == nil && (isMapping(get(doc, "services")) || get(doc, "include") != nil)
}

func isMapping(n *yaml.Node) bool { return n != nil && n.Kind == yaml.MappingNode }

// project is a Compose file on its way, with those that it includes.
type project struct {
	*reading
	path string
	doc  *yaml.Node
}

// maxExtends bounds how many services extend one the other.
const maxExtends = 16

// compose adds the images of the services of a Compose file.
func (r *reading) compose(ctx context.Context, path string, doc *yaml.Node) error {
	p := &project{reading: r, path: path, doc: doc}
	if path != Stdin {
		p.path = filepath.Clean(path)
		r.included[p.path] = false
	}
	if r.dotEnv == nil {
		var err error
		if r.dotEnv, err = p.readDotEnv(filepath.Join(p.dir(), ".env")); err != nil {
			return err
		}
	}
	return p.services(ctx)
}

func (p *project) dir() string {
	if p.path == Stdin {
		return "."
	}
	return filepath.Dir(p.path)
}

func (p *project) at(n *yaml.Node) Place { return Place{NameOf(p.path), n.Line} }

// lookup finds a variable: the environment is stronger than the file .env.
func (p *project) lookup(name string) (string, bool) {
	if value, ok := p.Lookup(name); ok {
		return value, true
	}
	value, ok := p.dotEnv[name]
	return value, ok
}

// readDotEnv reads the variables beside the file, which were found and not named: those
// that another user may have written are left out, and a folder of the name is none.
func (p *project) readDotEnv(path string) (map[string]string, error) {
	f, err := userfile.Found(path, MaxList)
	if foreign, ok := errors.AsType[*userfile.Foreign](err); ok {
		p.found.Notes = append(p.found.Notes, foreign.Warning())
		return map[string]string{}, nil
	}
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.EISDIR) {
		return map[string]string{}, nil
	}
	if err != nil {
		return nil, Place{File: path}.Wrong(reason(err))
	}
	return variables(path, string(f.Data), p.Lookup)
}

// open is another Compose file, which p names at n.
func (p *project) open(n *yaml.Node, path string) (*project, error) {
	path, err := p.expandWord(n, path)
	if err != nil {
		return nil, err
	}
	if strings.Contains(path, "://") {
		return nil, p.at(n).wrongf("%s is not on this machine", quoted(path)).withHint("fetch it, and name it here")
	}
	if path == Stdin {
		return nil, p.at(n).wrongf("- is the standard input, which no file can name").withHint("name a file; ./- is one with the name -")
	}
	if !filepath.IsAbs(path) {
		path = filepath.Join(p.dir(), path)
	}
	doc, err := p.file(p.at(n), filepath.Clean(path))
	if err != nil {
		return nil, err
	}
	return &project{reading: p.reading, path: filepath.Clean(path), doc: doc}, nil
}

func (p *project) expand(n *yaml.Node, s string) (string, error) {
	return p.reading.expand(p.at(n), s, p.lookup)
}

// services adds the images of the services of the file and of those that it includes.
func (p *project) services(ctx context.Context) error {
	for _, inc := range items(get(p.doc, "include")) {
		paths := items(inc)
		if isMapping(target(inc)) {
			paths = items(get(inc, "path"))
		}
		if len(paths) == 0 {
			return p.at(inc).wrongf("include names no file")
		}
		for _, n := range paths {
			path, ok := text(n)
			if !ok {
				return p.at(inc).wrongf("include names no file")
			}
			if err := p.include(ctx, n, path); err != nil {
				return err
			}
		}
	}
	services := get(p.doc, "services")
	for i := 0; isMapping(services) && i+1 < len(services.Content); i += 2 {
		if err := ended(ctx); err != nil {
			return err
		}
		if err := p.service(services.Content[i], target(services.Content[i+1])); err != nil {
			return err
		}
	}
	return nil
}

// include adds the images of another file, which p names at n, unless they are there
// already: files can include each other in more ways than can be gone.
func (p *project) include(ctx context.Context, n *yaml.Node, path string) error {
	if err := ended(ctx); err != nil {
		return err
	}
	other, err := p.open(n, path)
	if err != nil {
		return err
	}
	if done, seen := p.included[other.path]; seen {
		if !done {
			return p.at(n).wrongf("%s includes itself", other.path)
		}
		return nil
	}
	p.included[other.path] = false
	err = other.services(ctx)
	p.included[other.path] = true
	return err
}

// service adds the images of a service: its own, and those that are volumes of it.
func (p *project) service(name, of *yaml.Node) error {
	if wants := p.profiles(of); len(wants) > 0 {
		return p.note(p.at(name), "service "+quoted(name.Value)+" is left out: COMPOSE_PROFILES has none of its profiles "+strings.Join(wants, ", "))
	}
	if policy, _ := text(get(of, "pull_policy")); policy == "never" || policy == "build" {
		return p.note(p.at(name), "service "+quoted(name.Value)+" is left out: its pull_policy is "+policy)
	}
	for _, v := range items(get(of, "volumes")) {
		if kind, _ := text(get(v, "type")); kind == "image" {
			if err := p.add(get(v, "source"), of); err != nil {
				return err
			}
		}
	}
	image, where, built, err := p.image(of, maxExtends)
	switch {
	case err != nil:
		return err
	case built:
		return p.note(p.at(name), "service "+quoted(name.Value)+" is left out: it is built")
	case image == nil:
		return p.note(p.at(name), "service "+quoted(name.Value)+" is left out: it has no image")
	}
	return where.add(image, of)
}

// profiles are those of a service of which none is chosen, none if it is to run.
func (p *project) profiles(of *yaml.Node) []string {
	chosen, _ := p.lookup("COMPOSE_PROFILES")
	var wants []string
	for _, n := range items(get(of, "profiles")) {
		if profile, ok := text(n); ok {
			wants = append(wants, profile)
		}
	}
	for profile := range strings.SplitSeq(chosen, ",") {
		if profile = strings.TrimSpace(profile); profile == "*" || slices.Contains(wants, profile) {
			return nil
		}
	}
	return wants
}

// image finds the image of a service, in what it extends too, and the file in which
// it stands; or that the service is built.
func (p *project) image(of *yaml.Node, depth int) (image *yaml.Node, where *project, built bool, err error) {
	if build := get(of, "build"); build != nil && build.Tag != "!!null" {
		return nil, p, true, nil
	}
	image, extends := get(of, "image"), get(of, "extends")
	if extends == nil || extends.Tag == "!!null" {
		return image, p, false, nil
	}
	name, _ := text(extends)
	base := p
	if isMapping(extends) {
		name, _ = text(get(extends, "service"))
		if file, ok := text(get(extends, "file")); ok {
			if base, err = p.open(extends, file); err != nil {
				return nil, p, false, err
			}
		}
	}
	extended := get(get(base.doc, "services"), name)
	if extended == nil || depth == 0 {
		return nil, p, false, p.at(extends).wrongf("extends service %s, which %s does not have, or extends itself", quoted(name), NameOf(base.path))
	}
	inherited, where, built, err := base.image(extended, depth-1)
	if image != nil {
		return image, p, built, err
	}
	return inherited, where, built, err
}

// add adds an image of a service.
func (p *project) add(image, of *yaml.Node) error {
	ref, ok := text(image)
	if !ok {
		return p.at(of).wrongf("the image of the service is no text")
	}
	ref, err := p.expand(image, ref)
	if err != nil {
		return err
	}
	var words []Word
	if platform, ok := text(get(of, "platform")); ok {
		if platform, err = p.expandWord(of, platform); err != nil {
			return err
		}
		words = append(words, Word{"platform", platform})
	}
	switch policy, _ := text(get(of, "pull_policy")); policy {
	case "missing", "if_not_present":
		words = append(words, Word{"policy", "missing"})
	case "always":
		words = append(words, Word{"policy", "always"})
	}
	return p.reading.add(p.at(image), ref, words...)
}

func (p *project) expandWord(n *yaml.Node, s string) (string, error) {
	return p.expandArg(p.at(n), s, p.lookup)
}
