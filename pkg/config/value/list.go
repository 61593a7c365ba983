package value

import (
	"fmt"
	"slices"
	"strings"

	"github.com/containerd/platforms"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// List is a list of texts.
func List(field *[]string) Value { return (*listValue)(field) }

// Paths is a list of files or folders.
func Paths(field *[]string) Value { return pathsValue{(*listValue)(field)} }

// Command is a program and its arguments, of which only the program may be shown.
func Command(field *[]string) Value { return commandValue{(*listValue)(field)} }

// Platforms is a list of platforms such as linux/arm64.
func Platforms(field *[]ocispec.Platform) Value { return (*platformsValue)(field) }

// ParseList returns the list that raw is.
func ParseList(raw any) ([]string, error) {
	if t, ok := raw.(Texts); ok {
		return t.Split(), nil
	}
	items, ok := raw.([]any)
	if !ok {
		return nil, WrongType(raw, "a list of texts")
	}
	l := make([]string, 0, len(items))
	for _, item := range items {
		s, ok := item.(string)
		if !ok {
			return nil, WrongType(item, "a text in the list")
		}
		l = append(l, s)
	}
	return l, nil
}

// Split splits each text at its commas. Empty parts are left out, so that an
// empty text means an empty list.
func (t Texts) Split() []string {
	l := []string{}
	for _, s := range t {
		for part := range strings.SplitSeq(s, ",") {
			if part = strings.TrimSpace(part); part != "" {
				l = append(l, part)
			}
		}
	}
	return l
}

type listValue []string

func (v *listValue) String() string { return strings.Join(*v, ",") }
func (v *listValue) Plain() any     { return slices.Concat([]string{}, *v) }

func (v *listValue) Shape() Shape {
	return Shape{Type: "array", Name: "list", Items: &Shape{Type: "string"}}
}

func (v *listValue) Set(raw any) error {
	l, err := ParseList(raw)
	if err == nil {
		*v = l
	}
	return err
}

type pathsValue struct{ *listValue }

func (v pathsValue) Shape() Shape {
	return Shape{Type: "array", Name: "paths", Items: &Shape{Type: "string", Path: true}}
}

type commandValue struct{ *listValue }

func (v commandValue) String() string { return strings.Join(v.shown(), ",") }
func (v commandValue) Plain() any     { return v.shown() }

func (v commandValue) shown() []string {
	words := slices.Concat([]string{}, *v.listValue)
	for i := 1; i < len(words); i++ {
		words[i] = masked
	}
	return words
}

type platformsValue []ocispec.Platform

func (v *platformsValue) String() string { return strings.Join(v.names(), ",") }
func (v *platformsValue) Plain() any     { return v.names() }

func (v *platformsValue) Shape() Shape {
	return Shape{Type: "array", Name: "platforms", Items: &Shape{Type: "string"}}
}

func (v *platformsValue) names() []string {
	names := make([]string, 0, len(*v))
	for _, p := range *v {
		names = append(names, platforms.FormatAll(p))
	}
	return names
}

func (v *platformsValue) Set(raw any) error {
	l, err := ParseList(raw)
	if err != nil {
		return err
	}
	parsed := make(platformsValue, 0, len(l))
	for _, s := range l {
		p, err := platforms.Parse(s)
		if err != nil {
			return fmt.Errorf("got %q, want a platform such as linux/arm64: %w", s, err)
		}
		parsed = append(parsed, p)
	}
	*v = parsed
	return nil
}
