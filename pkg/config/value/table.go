package value

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
)

// Member is one key of the tables of a list.
type Member[T any] struct {
	name     string
	usage    string
	bind     func(*T) Value
	required bool
}

// Required is a key without which a table has no effect.
func Required[T any](name, usage string, bind func(*T) Value) Member[T] {
	return Member[T]{name, usage, bind, true}
}

// Optional is a key that a table may leave out.
func Optional[T any](name, usage string, bind func(*T) Value) Member[T] {
	return Member[T]{name, usage, bind, false}
}

// Tables is a list of tables with fixed keys. A single table counts as a list
// of one; a variable holds it as JSON. validate judges a whole table.
func Tables[T any](field *[]T, members []Member[T], validate func(T) error) Value {
	return &tablesValue[T]{field, members, validate}
}

// Element is the element i of a list in the path of a key.
func Element(i int) string { return "[" + strconv.Itoa(i) + "]" }

type tablesValue[T any] struct {
	field    *[]T
	members  []Member[T]
	validate func(T) error
}

func (v *tablesValue[T]) Shape() Shape {
	item := Shape{Type: "object"}
	for _, m := range v.members {
		item.Fields = append(item.Fields, Field{Name: m.name, Usage: m.usage, Required: m.required, Shape: m.bind(new(T)).Shape()})
	}
	return Shape{Type: "array", Name: "JSON", Items: &item}
}

func (v *tablesValue[T]) Set(raw any) error {
	items, err := parseTables(raw)
	if err != nil {
		return err
	}
	parsed := make([]T, len(items))
	for i, item := range items {
		if err := v.setOne(&parsed[i], item); err != nil {
			return fmt.Errorf("%s: %w", Element(i), err)
		}
	}
	*v.field = parsed
	return nil
}

func (v *tablesValue[T]) setOne(into *T, item any) error {
	t, ok := item.(map[string]any)
	if !ok {
		return WrongType(item, "a table")
	}
	for _, key := range slices.Sorted(maps.Keys(t)) {
		i := slices.IndexFunc(v.members, func(m Member[T]) bool { return m.name == key })
		if i < 0 {
			return fmt.Errorf("unknown key %q", key)
		}
		if err := v.members[i].bind(into).Set(t[key]); err != nil {
			return fmt.Errorf("%s: %w", key, err)
		}
	}
	for _, m := range v.members {
		if m.required && IsUnset(m.bind(into)) {
			return fmt.Errorf("%s is missing", m.name)
		}
	}
	return v.validate(*into)
}

func (v *tablesValue[T]) Plain() any {
	items := make([]map[string]any, len(*v.field))
	for i := range *v.field {
		items[i] = map[string]any{}
		for _, m := range v.members {
			if val := m.bind(&(*v.field)[i]); !IsUnset(val) {
				items[i][m.name] = val.Plain()
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
			if val := m.bind(&(*v.field)[i]); !IsUnset(val) {
				parts = append(parts, m.name+"="+val.String())
			}
		}
		items = append(items, strings.Join(parts, " "))
	}
	return strings.Join(items, "; ")
}

// parseTables returns the tables of a list, of a single one, or of JSON.
func parseTables(raw any) ([]any, error) {
	if t, ok := raw.(Texts); ok {
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
	return nil, WrongType(raw, "a list of tables")
}
