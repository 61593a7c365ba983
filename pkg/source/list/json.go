package list

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"go.yaml.in/yaml/v3"
)

func isEnd(err error) bool { return errors.Is(err, io.EOF) }

// looksLikeJSON reports whether a text that begins with a brace goes on as JSON does.
func looksLikeJSON(data []byte) bool {
	rest := bytes.TrimSpace(data[1:])
	return len(rest) > 0 && (rest[0] == '"' || rest[0] == '}')
}

// jsonDocuments parses a stream of JSON values into the nodes that YAML would have:
// a stream of values is no YAML, and tabs are none either.
func jsonDocuments(name string, data []byte) ([]*yaml.Node, error) {
	b := &jsonBuilder{in: json.NewDecoder(bytes.NewReader(data)), data: data, line: 1}
	b.in.UseNumber()
	var docs []*yaml.Node
	for {
		n, err := b.value(maxDepth)
		if isEnd(err) {
			return docs, nil
		}
		if err != nil {
			at := int64(len(data))
			if wrong, ok := errors.AsType[*json.SyntaxError](err); ok {
				at = min(wrong.Offset, at)
			}
			return nil, Place{name, 1 + bytes.Count(data[:at], []byte("\n"))}.Wrong(err)
		}
		if n.Tag != "!!null" {
			docs = append(docs, n)
		}
	}
}

// jsonBuilder makes nodes of the tokens of a decoder.
type jsonBuilder struct {
	in   *json.Decoder
	data []byte
	seen int64 // offset up to which lines are counted
	line int
}

// token returns the next token and the line in which it ends.
func (b *jsonBuilder) token() (json.Token, int, error) {
	t, err := b.in.Token()
	if err == nil {
		b.line += bytes.Count(b.data[b.seen:b.in.InputOffset()], []byte("\n"))
		b.seen = b.in.InputOffset()
	}
	return t, b.line, err
}

func (b *jsonBuilder) value(depth int) (*yaml.Node, error) {
	t, line, err := b.token()
	if err != nil {
		return nil, err
	}
	switch t := t.(type) {
	case json.Delim:
		if depth == 0 {
			return nil, fmt.Errorf("values lie more than %d deep in each other", maxDepth)
		}
		n := &yaml.Node{Kind: yaml.MappingNode, Line: line}
		if t == '[' {
			n.Kind = yaml.SequenceNode
		}
		return n, b.fill(n, depth-1)
	case string:
		return &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!str", Value: t, Line: line}, nil
	case nil:
		return &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!null", Line: line}, nil
	}
	return &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!scalar", Value: fmt.Sprint(t), Line: line}, nil
}

// fill reads the content of n and its end. The keys of an object come as values.
func (b *jsonBuilder) fill(n *yaml.Node, depth int) error {
	for b.in.More() {
		child, err := b.value(depth)
		if err != nil {
			return unexpectedEnd(err)
		}
		n.Content = append(n.Content, child)
	}
	_, _, err := b.token()
	return unexpectedEnd(err)
}

func unexpectedEnd(err error) error {
	if isEnd(err) {
		return io.ErrUnexpectedEOF
	}
	return err
}
