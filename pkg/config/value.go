package config

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/containerd/containerd/v2/pkg/labels"
	"github.com/containerd/platforms"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// texts is what a flag or a variable gives: one text per occurrence. Anything
// else that reaches a value was decoded from a file and has its type already.
type texts []string

// value is a field of an option struct as the table sees it.
type value interface {
	// set takes texts, or what a file holds. Lists are replaced and tables
	// merged key by key, so that the strongest layer has to come last.
	set(raw any) error
	// String shows the value in the syntax of its flag.
	String() string
	// plain gives the value as a file would hold it.
	plain() any
	// shape describes the values that set accepts.
	shape() shape
}

// shape is what the schema, the help and the completion know of a value.
type shape struct {
	Type  string // string, boolean, integer, array or object, as in JSON Schema
	Name  string // what help calls it if the usage does not say
	Words []string
}

type textValue string

func (v *textValue) String() string { return string(*v) }
func (v *textValue) plain() any     { return string(*v) }
func (v *textValue) shape() shape   { return shape{Type: "string", Name: "text"} }

func (v *textValue) set(raw any) error {
	s, err := one(raw)
	if err == nil {
		*v = textValue(s)
	}
	return err
}

type boolValue bool

func (v *boolValue) String() string { return strconv.FormatBool(bool(*v)) }
func (v *boolValue) plain() any     { return bool(*v) }
func (v *boolValue) shape() shape   { return shape{Type: "boolean"} }

func (v *boolValue) set(raw any) error {
	if b, ok := raw.(bool); ok {
		*v = boolValue(b)
		return nil
	}
	t, ok := raw.(texts)
	if !ok {
		return wrongType(raw, "true or false")
	}
	b, err := strconv.ParseBool(t.last())
	if err != nil {
		return fmt.Errorf("got %q, want true or false", t.last())
	}
	*v = boolValue(b)
	return nil
}

type durationValue time.Duration

func (v *durationValue) shape() shape { return shape{Type: "string", Name: "time"} }
func (v *durationValue) plain() any   { return v.String() }

func (v *durationValue) String() string {
	if *v == 0 {
		return ""
	}
	return time.Duration(*v).String()
}

func (v *durationValue) set(raw any) error {
	s, err := one(raw)
	if err != nil {
		return err
	}
	d, err := time.ParseDuration(s)
	if err != nil || d < 0 {
		return fmt.Errorf("got %q, want a duration such as 90s or 5m", s)
	}
	*v = durationValue(d)
	return nil
}

type countValue int

func (v *countValue) String() string { return strconv.Itoa(int(*v)) }
func (v *countValue) plain() any     { return int64(*v) }
func (v *countValue) shape() shape   { return shape{Type: "integer", Name: "number"} }

func (v *countValue) set(raw any) error {
	n, err := integer(raw)
	if err != nil {
		return err
	}
	if n < 0 || n > 1<<20 {
		return fmt.Errorf("got %d, want a number from 0 to %d", n, 1<<20)
	}
	*v = countValue(n)
	return nil
}

// wordValue is one of a few words.
type wordValue[T ~string] struct {
	field *T
	words []T
}

func (v *wordValue[T]) String() string { return string(*v.field) }
func (v *wordValue[T]) plain() any     { return string(*v.field) }

func (v *wordValue[T]) shape() shape {
	s := shape{Type: "string", Name: "word"}
	for _, w := range v.words {
		s.Words = append(s.Words, string(w))
	}
	return s
}

func (v *wordValue[T]) set(raw any) error {
	s, err := one(raw)
	if err != nil {
		return err
	}
	if !slices.Contains(v.words, T(s)) {
		return fmt.Errorf("got %q, want one of %s", s, strings.Join(v.shape().Words, ", "))
	}
	*v.field = T(s)
	return nil
}

type listValue []string

func (v *listValue) String() string { return strings.Join(*v, ",") }
func (v *listValue) plain() any     { return []string(*v) }
func (v *listValue) shape() shape   { return shape{Type: "array", Name: "list"} }

func (v *listValue) set(raw any) error {
	l, err := list(raw)
	if err == nil {
		*v = l
	}
	return err
}

type platformsValue []ocispec.Platform

func (v *platformsValue) String() string { return strings.Join(v.names(), ",") }
func (v *platformsValue) plain() any     { return v.names() }
func (v *platformsValue) shape() shape   { return shape{Type: "array", Name: "platforms"} }

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

func (v *labelsValue) plain() any   { return map[string]string(*v) }
func (v *labelsValue) shape() shape { return shape{Type: "object", Name: "key=value"} }

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
	return labels.Validate(key, val)
}

func (t texts) last() string { return t[len(t)-1] }

func one(raw any) (string, error) {
	switch r := raw.(type) {
	case texts:
		return r.last(), nil
	case string:
		return r, nil
	}
	return "", wrongType(raw, "a text")
}

func integer(raw any) (int64, error) {
	switch r := raw.(type) {
	case texts:
		n, err := strconv.ParseInt(r.last(), 10, 64)
		if err != nil {
			return 0, fmt.Errorf("got %q, want a number", r.last())
		}
		return n, nil
	case int:
		return int64(r), nil
	case int64:
		return r, nil
	}
	return 0, wrongType(raw, "a number")
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

// wrongType names the type that was found and never the value, which may be a
// secret in the wrong place.
func wrongType(raw any, want string) error {
	got := "something else"
	switch raw.(type) {
	case string:
		got = "a text"
	case bool:
		got = "a boolean"
	case int, int64, float64:
		got = "a number"
	case []any:
		got = "a list"
	case map[string]any:
		got = "a table"
	}
	return fmt.Errorf("got %s, want %s", got, want)
}
