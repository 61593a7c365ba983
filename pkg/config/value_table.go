package config

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// member is one key of the tables that a tablesValue holds.
type member[T any] struct {
	name  string
	usage string
	bind  func(*T) value
	must  bool // a table without it has no effect
}

// tablesValue is a list of tables with fixed keys. A single table counts as a
// list of one; a variable holds it as JSON.
type tablesValue[T any] struct {
	field    *[]T
	members  []member[T]
	validate func(T) error // nil if the members say it all
}

func (v *tablesValue[T]) shape() shape {
	item := shape{Type: "object"}
	for _, m := range v.members {
		item.Fields = append(item.Fields, field{Name: m.name, Usage: m.usage, must: m.must, shape: m.bind(new(T)).shape()})
	}
	return shape{Type: "array", Name: "JSON", Items: &item}
}

func (v *tablesValue[T]) set(raw any) error {
	items, err := tables(raw)
	if err != nil {
		return err
	}
	parsed := make([]T, len(items))
	for i, item := range items {
		if err := v.setOne(&parsed[i], item); err != nil {
			return fmt.Errorf("%s: %w", element(i), err)
		}
	}
	*v.field = parsed
	return nil
}

func (v *tablesValue[T]) setOne(into *T, item any) error {
	t, ok := item.(map[string]any)
	if !ok {
		return wrongType(item, "a table")
	}
	for _, key := range slices.Sorted(maps.Keys(t)) {
		i := slices.IndexFunc(v.members, func(m member[T]) bool { return m.name == key })
		if i < 0 {
			return fmt.Errorf("unknown key %q", key)
		}
		if err := v.members[i].bind(into).set(t[key]); err != nil {
			return fmt.Errorf("%s: %w", key, err)
		}
	}
	for _, m := range v.members {
		if m.must && unset(m.bind(into)) {
			return fmt.Errorf("%s is missing", m.name)
		}
	}
	if v.validate == nil {
		return nil
	}
	return v.validate(*into)
}

func (v *tablesValue[T]) plain() any {
	items := make([]map[string]any, len(*v.field))
	for i := range *v.field {
		items[i] = map[string]any{}
		for _, m := range v.members {
			if val := m.bind(&(*v.field)[i]); !unset(val) {
				items[i][m.name] = val.plain()
			}
		}
	}
	return items
}

// String shows what is set, one table after the other.
func (v *tablesValue[T]) String() string {
	var items []string
	for i := range *v.field {
		var parts []string
		for _, m := range v.members {
			if val := m.bind(&(*v.field)[i]); !unset(val) {
				parts = append(parts, m.name+"="+val.String())
			}
		}
		items = append(items, strings.Join(parts, " "))
	}
	return strings.Join(items, "; ")
}

// unset says whether a value is what it is if nobody says anything.
func unset(v value) bool {
	switch v.String() {
	case "", "false", "0":
		return true
	}
	return false
}

// tables gives the tables of a list, of a single one, or of JSON.
func tables(raw any) ([]any, error) {
	if t, ok := raw.(texts); ok {
		raw = nil
		if err := json.Unmarshal([]byte(t.last()), &raw); err != nil {
			return nil, errors.New("got something else, want JSON: a list of objects")
		}
	}
	switch r := raw.(type) {
	case []any:
		return r, nil
	case map[string]any:
		return []any{r}, nil
	}
	return nil, wrongType(raw, "a list of tables")
}

// secretsValue is a table whose values must not be shown, such as headers.
type secretsValue map[string]string

func (v *secretsValue) shape() shape {
	return shape{Type: "object", Name: "table", Items: &shape{Type: "string", Secret: true}}
}

func (v *secretsValue) set(raw any) error {
	t, err := table(raw)
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

func (v *secretsValue) plain() any {
	shown := map[string]string{}
	for key := range *v {
		shown[key] = masked
	}
	return shown
}
