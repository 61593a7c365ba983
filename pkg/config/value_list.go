package config

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/containerd/containerd/v2/pkg/labels"
	"github.com/containerd/platforms"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

type listValue []string

func (v *listValue) String() string { return strings.Join(*v, ",") }
func (v *listValue) plain() any     { return slices.Concat([]string{}, *v) }

func (v *listValue) shape() shape {
	return shape{Type: "array", Name: "list", Items: &shape{Type: "string"}}
}

func (v *listValue) set(raw any) error {
	l, err := list(raw)
	if err == nil {
		*v = l
	}
	return err
}

func words(field *[]string) value { return (*listValue)(field) }
func paths(field *[]string) value { return pathsValue{(*listValue)(field)} }

// pathsValue is a list of files or folders.
type pathsValue struct{ *listValue }

func (v pathsValue) shape() shape {
	return shape{Type: "array", Name: "paths", Items: &shape{Type: "string", Path: true}}
}

type platformsValue []ocispec.Platform

func (v *platformsValue) String() string { return strings.Join(v.names(), ",") }
func (v *platformsValue) plain() any     { return v.names() }

func (v *platformsValue) shape() shape {
	return shape{Type: "array", Name: "platforms", Items: &shape{Type: "string"}}
}

func (v *platformsValue) names() []string {
	names := make([]string, 0, len(*v))
	for _, p := range *v {
		names = append(names, platforms.FormatAll(p))
	}
	return names
}

func (v *platformsValue) set(raw any) error {
	l, err := list(raw)
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

type labelsValue map[string]string

func (v *labelsValue) plain() any { return map[string]string(*v) }

func (v *labelsValue) shape() shape {
	return shape{Type: "object", Name: "key=value", Items: &shape{Type: "string"}}
}

func (v *labelsValue) String() string {
	var pairs []string
	for _, k := range slices.Sorted(maps.Keys(*v)) {
		pairs = append(pairs, k+"="+(*v)[k])
	}
	return strings.Join(pairs, ",")
}

// set merges; a map that other layers hold must not change, so it copies.
func (v *labelsValue) set(raw any) error {
	add, err := table(raw)
	if err != nil {
		return err
	}
	for key, val := range add {
		if err := checkLabel(key, val); err != nil {
			return err
		}
	}
	merged := maps.Clone(*v)
	if merged == nil {
		merged = make(labelsValue, len(add))
	}
	maps.Copy(merged, add)
	*v = merged
	return nil
}

// checkLabel refuses what containerd would refuse only after the pull, and
// keys by which containerd steers its garbage collection and its own books.
func checkLabel(key, val string) error {
	if key == "" {
		return fmt.Errorf("label %q has no key", "="+val)
	}
	if strings.HasPrefix(key, labels.ReservedPrefix) {
		return fmt.Errorf("label %q: the prefix %s is reserved for containerd", key, labels.ReservedPrefix)
	}
	if _, err := expandLabel(val, labelFields{}); err != nil {
		return fmt.Errorf("label %q: %w", key, err)
	}
	return labels.Validate(key, val)
}

// labelFields are what a label may refer to.
type labelFields struct{ Profile, Ref, Time string }

// expandLabel fills in {{.Profile}}, {{.Ref}} and {{.Time}}.
func expandLabel(val string, f labelFields) (string, error) {
	replaced := strings.NewReplacer("{{.Profile}}", "", "{{.Ref}}", "", "{{.Time}}", "").Replace(val)
	if strings.Contains(replaced, "{{") {
		return "", fmt.Errorf("got %q, want no other field than {{.Profile}}, {{.Ref}} and {{.Time}}", val)
	}
	return strings.NewReplacer("{{.Profile}}", f.Profile, "{{.Ref}}", f.Ref, "{{.Time}}", f.Time).Replace(val), nil
}

func list(raw any) ([]string, error) {
	if t, ok := raw.(texts); ok {
		return splitAll(t), nil
	}
	items, ok := raw.([]any)
	if !ok {
		return nil, wrongType(raw, "a list of texts")
	}
	l := make([]string, 0, len(items))
	for _, item := range items {
		s, ok := item.(string)
		if !ok {
			return nil, wrongType(item, "a text in the list")
		}
		l = append(l, s)
	}
	return l, nil
}

// splitAll splits each text at its commas. Empty parts are left out, so that
// an empty text means an empty list.
func splitAll(t texts) []string {
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

func table(raw any) (map[string]string, error) {
	m := make(map[string]string)
	switch r := raw.(type) {
	case texts:
		for _, s := range r {
			key, val, ok := strings.Cut(s, "=")
			if !ok {
				val = "true"
			}
			m[key] = val
		}
		return m, nil
	case map[string]any:
		for key, item := range r {
			s, ok := item.(string)
			if !ok {
				return nil, wrongType(item, fmt.Sprintf("a text for %q", key))
			}
			m[key] = s
		}
		return m, nil
	}
	return nil, wrongType(raw, "a table of texts")
}
