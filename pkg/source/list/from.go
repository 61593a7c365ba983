package list

import (
	"bytes"
	"context"
	"errors"
	"regexp"
	"strings"

	"go.yaml.in/yaml/v3"
)

// MaxFrom bounds in bytes a file that describes containers, with those that it names.
const MaxFrom = 32 << 20

// Reader finds images in files that describe containers or builds.
type Reader struct {
	// Keys are further places of images in Kubernetes resources: see parsePath.
	Keys []string
	// Lookup finds variables of the environment, for Compose.
	Lookup func(name string) (string, bool)
	// Target is the platform that Dockerfiles are built for, such as linux/arm64; empty
	// for that of this machine.
	Target string
	// Stdin returns what the standard input holds.
	Stdin func() ([]byte, error)
}

// Found is what a file names.
type Found struct {
	Entries []Entry
	// Notes say which images were left out, and why.
	Notes []string
	// Matched are the Keys that led to something.
	Matched map[string]bool
}

// Read finds the images in a file: Kubernetes resources and Compose files as YAML or
// JSON, or a Dockerfile. Which of them it is, its text says and not its name. Its error
// is the cause of ctx if that ends meanwhile.
func (r Reader) Read(ctx context.Context, path string) (*Found, error) {
	name, data, err := read(path, MaxFrom, r.Stdin)
	if err != nil {
		return nil, err
	}
	now := &reading{Reader: r, found: &Found{Matched: map[string]bool{}}, files: map[string]*yaml.Node{}, included: map[string]bool{}, size: len(data)}
	if isDockerfile(data) {
		err = now.dockerfile(ctx, name, data)
	} else {
		err = now.documents(ctx, path, data)
	}
	if err != nil {
		return nil, err
	}
	return now.found, nil
}

// documents finds the images in documents of YAML or JSON.
func (r *reading) documents(ctx context.Context, path string, data []byte) error {
	name := NameOf(path)
	docs, err := documents(name, data)
	if err != nil {
		return err
	}
	k, err := newKubernetes(r, name)
	if err != nil {
		return err
	}
	for _, doc := range docs {
		switch {
		case isCompose(doc):
			err = r.compose(ctx, path, doc)
		case doc.Kind == yaml.MappingNode || doc.Kind == yaml.SequenceNode:
			err = k.document(doc)
		default:
			err = Place{name, doc.Line}.wrongf("is neither a Kubernetes resource nor a Compose file nor a Dockerfile").
				withHint("-f reads a list with one reference in each line")
		}
		if err == nil {
			err = ended(ctx)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// yamlLine finds the line in an error of the YAML parser.
var yamlLine = regexp.MustCompile(`^yaml: (?:line ([0-9]+): )?`)

// documents parses a stream of YAML documents, or of JSON values.
func documents(name string, data []byte) ([]*yaml.Node, error) {
	if trimmed := bytes.TrimSpace(data); len(trimmed) > 0 && trimmed[0] == '{' {
		if docs, err := jsonDocuments(name, data); err == nil {
			return docs, nil
		} else if !bytes.HasPrefix(trimmed, []byte("{{")) && looksLikeJSON(trimmed) {
			return nil, err
		}
	}
	var docs []*yaml.Node
	for in := yaml.NewDecoder(bytes.NewReader(data)); ; {
		var doc yaml.Node
		err := in.Decode(&doc)
		if isEnd(err) {
			return docs, nil
		}
		if err != nil {
			return nil, yamlError(name, data, err)
		}
		if len(doc.Content) == 1 && doc.Content[0].Tag != "!!null" {
			docs = append(docs, doc.Content[0])
		}
	}
}

func yamlError(name string, data []byte, err error) *Error {
	at := Place{File: name}
	text := err.Error()
	if found := yamlLine.FindStringSubmatch(text); found != nil {
		text = text[len(found[0]):]
		for _, digit := range found[1] {
			at.Line = at.Line*10 + int(digit-'0')
		}
		if strings.HasPrefix(text, "did not find expected") { // these count lines from 0 on
			at.Line++
		}
	}
	wrong := at.Wrong(errors.New(text))
	if bytes.Contains(data, []byte("{{")) {
		return wrong.withHint("a chart has to be rendered first: helm template CHART | containerd-pull --from -")
	}
	return wrong
}

// maxDepth bounds how deeply nodes lie in each other, by aliases too.
const maxDepth = 100

// get returns the value of a key of a mapping, nil if it has none. What is merged
// into the mapping counts where the mapping itself says nothing.
func get(n *yaml.Node, key string) *yaml.Node { return merged(n, key, map[*yaml.Node]bool{}) }

// merged is get without the mappings that were seen: aliases can lead to one in more
// ways than can be gone.
func merged(n *yaml.Node, key string, seen map[*yaml.Node]bool) *yaml.Node {
	if n = target(n); n == nil || n.Kind != yaml.MappingNode || seen[n] {
		return nil
	}
	seen[n] = true
	for i := 0; i+1 < len(n.Content); i += 2 {
		if n.Content[i].Value == key {
			return target(n.Content[i+1])
		}
	}
	for i := 0; i+1 < len(n.Content); i += 2 {
		if n.Content[i].Tag != "!!merge" {
			continue
		}
		for _, m := range items(n.Content[i+1]) {
			if found := merged(m, key, seen); found != nil {
				return found
			}
		}
	}
	return nil
}

// target is what an alias stands for.
func target(n *yaml.Node) *yaml.Node {
	if n != nil && n.Kind == yaml.AliasNode {
		return n.Alias
	}
	return n
}

// text returns the text of a scalar, and whether n is one that says something.
func text(n *yaml.Node) (string, bool) {
	n = target(n)
	if n == nil || n.Kind != yaml.ScalarNode || n.Tag == "!!null" {
		return "", false
	}
	return strings.TrimSpace(n.Value), strings.TrimSpace(n.Value) != ""
}

// items are the elements of a sequence; a single text counts as one.
func items(n *yaml.Node) []*yaml.Node {
	n = target(n)
	switch {
	case n == nil || n.Tag == "!!null":
		return nil
	case n.Kind == yaml.SequenceNode:
		return n.Content
	}
	return []*yaml.Node{n}
}
