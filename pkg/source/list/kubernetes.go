package list

import (
	"errors"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
)

// containerLists are the keys of lists of containers, in pods and in what holds
// templates of pods, at any depth.
var containerLists = []string{"containers", "initContainers", "ephemeralContainers"}

// kubernetes finds the images in resources, their own kinds and those of others.
type kubernetes struct {
	*reading
	name  string
	paths [][]string
	seen  map[visit]bool // what an alias leads to is looked at once
	steps int            // along paths
}

// visit is a node, and the key of images in its elements if it is a list of such.
type visit struct {
	*yaml.Node
	key string
}

// maxSteps bounds the steps along paths: aliases can lead to a node in more ways than
// can be gone.
const maxSteps = 1_000_000

func newKubernetes(r *reading, name string) (*kubernetes, error) {
	k := &kubernetes{reading: r, name: name, seen: map[visit]bool{}}
	for _, key := range r.Keys {
		path, err := parsePath(key)
		if err != nil {
			return nil, err
		}
		k.paths = append(k.paths, path)
	}
	return k, nil
}

// parsePath parses a path such as spec.tasks[].image: names of keys with dots between
// them, or * for any key. Lists are gone through, with [] or without it; \. is a dot
// in a name.
func parsePath(key string) ([]string, error) {
	const dot = "\x00"
	var path []string
	for part := range strings.SplitSeq(strings.TrimPrefix(strings.ReplaceAll(key, `\.`, dot), "."), ".") {
		part = strings.TrimSuffix(strings.TrimSuffix(part, "[*]"), "[]")
		if part == "" || strings.ContainsAny(part, "[]{}") {
			return nil, Place{File: "--key " + quoted(key)}.Wrong(errors.New("want names of keys with dots between them, such as spec.tasks[].image"))
		}
		path = append(path, strings.ReplaceAll(part, dot, "."))
	}
	return path, nil
}

// document finds the images of a resource, or of several in a list.
func (k *kubernetes) document(doc *yaml.Node) error {
	if err := k.walk(doc, maxDepth); err != nil {
		return err
	}
	resources := []*yaml.Node{doc}
	if doc.Kind == yaml.SequenceNode {
		resources = doc.Content
	} else if kind, _ := text(get(doc, "kind")); strings.HasSuffix(kind, "List") {
		resources = append(resources, items(get(doc, "items"))...)
	}
	for i, path := range k.paths {
		for _, r := range resources {
			if err := k.follow(r, path, k.Keys[i]); err != nil {
				return err
			}
		}
	}
	return nil
}

func (k *kubernetes) at(n *yaml.Node) Place { return Place{k.name, n.Line} }

// walk looks for containers and for volumes that are images, but not in the status of
// a resource.
func (k *kubernetes) walk(n *yaml.Node, depth int) error {
	if n = target(n); n == nil || len(n.Content) == 0 || k.seen[visit{n, ""}] {
		return nil
	}
	if depth == 0 {
		return k.at(n).wrongf("values lie more than %d deep in each other", maxDepth)
	}
	k.seen[visit{n, ""}] = true
	for i, child := range n.Content {
		if n.Kind == yaml.MappingNode && i%2 == 1 {
			if n.Content[i-1].Value == "status" && get(n, "kind") != nil {
				continue
			}
			if err := k.images(n.Content[i-1].Value, target(child)); err != nil {
				return err
			}
		}
		if err := k.walk(child, depth-1); err != nil {
			return err
		}
	}
	return nil
}

// images adds those of a list of containers or of volumes, if the key says that it is
// one.
func (k *kubernetes) images(key string, list *yaml.Node) error {
	at := "image"
	if key == "volumes" {
		at = "reference"
	} else if !slices.Contains(containerLists, key) {
		return nil
	}
	if list == nil || list.Kind != yaml.SequenceNode || k.seen[visit{list, at}] {
		return nil
	}
	k.seen[visit{list, at}] = true
	for _, item := range list.Content {
		if key == "volumes" {
			item = get(item, "image")
		}
		if err := k.image(item, at); err != nil {
			return err
		}
	}
	return nil
}

// image adds the image that stands at a key of a container or of a volume.
func (k *kubernetes) image(of *yaml.Node, key string) error {
	n := get(of, key)
	if n == nil {
		return nil // what is filled in by the cluster
	}
	if ref, ok := text(n); ok {
		return k.add(k.at(n), ref)
	}
	return k.note(k.at(n), "left out, since the "+key+" is no text")
}

// follow adds the images at a path below n.
func (k *kubernetes) follow(n *yaml.Node, path []string, key string) error {
	if n = target(n); n == nil {
		return nil
	}
	if k.steps++; k.steps > maxSteps {
		return Place{File: k.name}.wrongf("--key %s leads to more than %d places", quoted(key), maxSteps)
	}
	if n.Kind == yaml.SequenceNode {
		for _, item := range n.Content {
			if err := k.follow(item, path, key); err != nil {
				return err
			}
		}
		return nil
	}
	if len(path) == 0 {
		ref, ok := text(n)
		if !ok {
			return k.at(n).wrongf("what --key %s leads to is no text", quoted(key))
		}
		k.found.Matched[key] = true
		return k.add(k.at(n), ref)
	}
	if path[0] != "*" {
		return k.follow(get(n, path[0]), path[1:], key)
	}
	for i := 0; n.Kind == yaml.MappingNode && i+1 < len(n.Content); i += 2 {
		if err := k.follow(n.Content[i+1], path[1:], key); err != nil {
			return err
		}
	}
	return nil
}
