package value

import (
	"net/url"
	"strings"
)

// Shape is what the schema, the checks of files, help and completion know of a
// value.
type Shape struct {
	Type  string // string, boolean, integer, number, array or object, as in JSON Schema
	Name  string // what help calls it where the usage has no word for it
	Words []Word // all that a text may be; nil if it is not one of a few
	// Most is the greatest integer; 0 means that there is none.
	Most int
	// Pattern is a regular expression that every text matches.
	Pattern string
	// Path is set if a text names a file or folder: relative to the file that
	// holds it.
	Path bool
	// Secret is set if the value must not be shown, and a file holding it must
	// not be readable by others.
	Secret bool
	// URL is set if a text may be a secret in part: a URL with a password.
	URL bool
	// Items are the elements of an array, or the values of an object whose
	// keys are free.
	Items *Shape
	// Fields are the keys of an object whose keys are not free.
	Fields []Field
}

// Field is one key of a table.
type Field struct {
	Name     string
	Usage    string
	Required bool // a table without it has no effect
	Shape    Shape
}

// Leaf is the shape of a text, or of each text of a list.
func (s Shape) Leaf() Shape {
	if s.Items != nil {
		return *s.Items
	}
	return s
}

// HoldsSecret reports whether node, a value of this shape, has a part that must
// not be shown.
func (s Shape) HoldsSecret(node any) bool {
	if s.Secret {
		return true
	}
	text, ok := node.(string)
	if !s.URL || !ok {
		return false
	}
	u, err := url.Parse(text)
	if err != nil {
		return true
	}
	_, has := u.User.Password()
	return has
}

// Add puts a field below the tables that the path names, and makes those that
// are missing.
func (s *Shape) Add(path []string, f Field) {
	f.Name = path[0]
	if len(path) == 1 {
		s.Fields = append(s.Fields, f)
		return
	}
	for i := range s.Fields {
		if s.Fields[i].Name == path[0] {
			s.Fields[i].Shape.Add(path[1:], f)
			return
		}
	}
	inner := Shape{Type: "object"}
	inner.Add(path[1:], f)
	s.Fields = append(s.Fields, Field{Name: path[0], Shape: inner})
}

// Field finds a key of a table with fixed keys.
func (s Shape) Field(name string) (Shape, bool) {
	for _, f := range s.Fields {
		if f.Name == name {
			return f.Shape, true
		}
	}
	return Shape{}, false
}

// FieldNames are the keys of a table with fixed keys.
func (s Shape) FieldNames() []string {
	var names []string
	for _, f := range s.Fields {
		names = append(names, f.Name)
	}
	return names
}

// JSONSchema describes the shape in JSON Schema, draft 2020-12.
func (s Shape) JSONSchema() map[string]any {
	out := map[string]any{"type": s.Type}
	if s.Words != nil {
		out["enum"] = texts(s.Words)
	}
	if s.Pattern != "" {
		out["pattern"] = s.Pattern
	}
	if s.Most > 0 {
		out["maximum"] = s.Most
	}
	switch {
	case s.Name == "size": // a text, or a number of bytes
		return map[string]any{"anyOf": []any{
			map[string]any{"type": "string", "pattern": s.Pattern},
			map[string]any{"type": "integer", "minimum": 0},
		}}
	case s.Type == "integer" || s.Type == "number":
		out["minimum"] = 0
	case s.Type == "array" && s.Items.Type == "object": // a single table counts as a list of one
		out["items"] = s.Items.JSONSchema()
		return map[string]any{"anyOf": []any{out, out["items"]}}
	case s.Type == "array":
		out["items"] = s.Items.JSONSchema()
	case s.Items != nil:
		out["additionalProperties"] = s.Items.JSONSchema()
	case s.Type == "object":
		s.fieldsSchema(out)
	}
	return out
}

// fieldsSchema adds the fixed keys of a table to its schema.
func (s Shape) fieldsSchema(out map[string]any) {
	properties, required := map[string]any{}, []string{}
	for _, f := range s.Fields {
		property := f.Shape.JSONSchema()
		if f.Required {
			required = append(required, f.Name)
			property["minLength"], property["minItems"] = 1, 1
		}
		if f.Usage != "" {
			property["description"] = strings.ReplaceAll(f.Usage, "`", "")
		}
		properties[f.Name] = property
	}
	out["additionalProperties"] = false
	out["properties"] = properties
	if len(required) > 0 {
		out["required"] = required
	}
}
