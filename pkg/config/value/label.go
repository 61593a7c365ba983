package value

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/containerd/containerd/v2/pkg/labels"
)

// Labels is a table of labels for an image record. Set merges.
func Labels(field *map[string]string) Value { return Table(field, checkLabel) }

// Table is a table of texts whose pairs check accepts. Set merges.
func Table(field *map[string]string, check func(key, val string) error) Value {
	return &textsTable{field, check}
}

// Secrets is a table whose values must not be shown, such as headers.
func Secrets(field *map[string]string) Value { return (*secretsValue)(field) }

// LabelFields are what a label may refer to.
type LabelFields struct{ Profile, Ref, Time string }

// Expand fills in {{.Profile}}, {{.Ref}} and {{.Time}}.
func (f LabelFields) Expand(label string) (string, error) {
	replaced := strings.NewReplacer("{{.Profile}}", "", "{{.Ref}}", "", "{{.Time}}", "").Replace(label)
	if strings.Contains(replaced, "{{") {
		return "", fmt.Errorf("got %q, want no other field than {{.Profile}}, {{.Ref}} and {{.Time}}", label)
	}
	return strings.NewReplacer("{{.Profile}}", f.Profile, "{{.Ref}}", f.Ref, "{{.Time}}", f.Time).Replace(label), nil
}

type textsTable struct {
	field *map[string]string
	check func(key, val string) error
}

func (v *textsTable) Plain() any { return *v.field }

func (v *textsTable) Shape() Shape {
	return Shape{Type: "object", Name: "key=value", Items: &Shape{Type: "string"}}
}

func (v *textsTable) String() string {
	var pairs []string
	for _, k := range slices.Sorted(maps.Keys(*v.field)) {
		pairs = append(pairs, k+"="+(*v.field)[k])
	}
	return strings.Join(pairs, ",")
}

// Set copies, because other layers may hold the map as it is.
func (v *textsTable) Set(raw any) error {
	add, err := parsePairs(raw)
	if err != nil {
		return err
	}
	for key, val := range add {
		if err := v.check(key, val); err != nil {
			return err
		}
	}
	merged := maps.Clone(*v.field)
	if merged == nil {
		merged = make(map[string]string, len(add))
	}
	maps.Copy(merged, add)
	*v.field = merged
	return nil
}

// checkLabel refuses what containerd would refuse only after the pull, and the
// keys by which containerd steers its garbage collection and its records.
func checkLabel(key, val string) error {
	if key == "" {
		return fmt.Errorf("label %q has no key", "="+val)
	}
	if strings.HasPrefix(key, labels.ReservedPrefix) {
		return fmt.Errorf("label %q: the prefix %s is reserved for containerd", key, labels.ReservedPrefix)
	}
	if _, err := (LabelFields{}).Expand(val); err != nil {
		return fmt.Errorf("label %q: %w", key, err)
	}
	return labels.Validate(key, val)
}

type secretsValue map[string]string

func (v *secretsValue) Shape() Shape {
	return Shape{Type: "object", Name: "table", Items: &Shape{Type: "string", Secret: true}}
}

func (v *secretsValue) Set(raw any) error {
	t, err := parsePairs(raw)
	if err == nil {
		*v = t
	}
	return err
}

func (v *secretsValue) String() string {
	var pairs []string
	for _, key := range slices.Sorted(maps.Keys(*v)) {
		pairs = append(pairs, key+":"+masked)
	}
	return strings.Join(pairs, ",")
}

func (v *secretsValue) Plain() any {
	shown := map[string]string{}
	for key := range *v {
		shown[key] = masked
	}
	return shown
}

// parsePairs returns the table of texts that raw is. In Texts, a key alone is
// key=true.
func parsePairs(raw any) (map[string]string, error) {
	m := make(map[string]string)
	switch r := raw.(type) {
	case Texts:
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
				return nil, WrongType(item, fmt.Sprintf("a text for %q", key))
			}
			m[key] = s
		}
		return m, nil
	}
	return nil, WrongType(raw, "a table of texts")
}
