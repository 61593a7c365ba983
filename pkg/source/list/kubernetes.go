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
	found *Found
	name  string
	keys  []string
	paths [][]string
	seen  map[*yaml.Node]bool // what an alias leads to is looked at once
	steps int                 // along paths
}

// maxSteps bounds the steps along paths: aliases can lead to a node in more ways than
// can be gone.
const maxSteps = 1_000_000

func newKubernetes(found *Found, name string, keys []string) (*kubernetes, error) {
	k := &kubernetes{found: found, name: name, keys: keys, seen: map[*yaml.Node]bool{}}
	for _, key := range keys {
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
	k.walk(doc, maxDepth)
	resources := []*yaml.Node{doc}
	if doc.Kind == yaml.SequenceNode {
		resources = doc.Content
	} else if kind, _ := text(get(doc, "kind")); strings.HasSuffix(kind, "List") {
		resources = append(resources, items(get(doc, "items"))...)
	}
	for i, path := range k.paths {
		for _, r := range resources {
			if err := k.follow(r, path, k.keys[i]); err != nil {
				return err
			}
		}
	}
	return nil
}

func (k *kubernetes) at(n *yaml.Node) Place { return Place{k.name, n.Line} }

// walk looks for containers and for volumes that are images.
func (k *kubernetes) walk(n *yaml.Node, depth int) {
	if n = target(n); n == nil || depth == 0 || k.seen[n] {
		return
	}
	k.seen[n] = true
	if n.Kind != yaml.MappingNode {
		for _, child := range n.Content {
			k.walk(child, depth-1)
		}
		return
	}
	for i := 0; i+1 < len(n.Content); i += 2 {
		key, value := n.Content[i].Value, target(n.Content[i+1])
		if value != nil && value.Kind == yaml.SequenceNode {
			for _, item := range value.Content {
				switch {
				case slices.Contains(containerLists, key):
					k.image(item, "image")
				case key == "volumes":
					k.image(get(item, "image"), "reference")
				}
			}
		}
		k.walk(value, depth-1)
	}
}

// image adds the image that stands at a key of a container or of a volume.
func (k *kubernetes) image(of *yaml.Node, key string) {
	n := get(of, key)
	if n == nil {
		return // what is filled in by the cluster
	}
	if ref, ok := text(n); ok {
		k.found.add(k.at(n), ref)
		return
	}
	k.found.note(k.at(n), "left out, since the "+key+" is no text")
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
		k.found.add(k.at(n), ref)
		return nil
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
