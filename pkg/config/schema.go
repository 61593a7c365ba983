package config

import "strings"

// profileName is what profiles may be called: file names, flags and variables
// can all hold it, and viper does not change it.
const profileName = `^[a-z0-9_-]+$`

// keys of files that are no settings.
const (
	keyProfiles = "profiles"
	keyExtends  = "extends"
	keyMatch    = "match"
	keyDefault  = "default_profile"
)

// fileShape is what a configuration file may hold.
func fileShape() shape {
	top := settingsShape(func(*Setting) bool { return true })
	profile := profileShape()
	top.Fields = append(top.Fields, field{Name: keyProfiles, Usage: "named sets of settings", shape: shape{Type: "object", Items: &profile}})
	return top
}

// profileShape is what a profile may hold: every setting except the choice of
// a profile, and how it relates to others.
func profileShape() shape {
	profile := settingsShape(func(s *Setting) bool { return s.Key != keyDefault })
	profile.Fields = append(profile.Fields,
		field{Name: keyExtends, Usage: "the profile to build on", shape: shape{Type: "string"}},
		field{Name: keyMatch, Usage: "patterns of the references that choose this profile", shape: shape{Type: "array", Items: &shape{Type: "string"}}})
	return profile
}

func settingsShape(want func(*Setting) bool) shape {
	top := shape{Type: "object"}
	for _, s := range Table() {
		if s.Key != "" && want(s) {
			top.add(strings.Split(s.Key, "."), field{Usage: s.Usage, shape: s.shape()})
		}
	}
	return top
}

// add puts a field below the tables that its key names.
func (s *shape) add(key []string, f field) {
	f.Name = key[0]
	if len(key) == 1 {
		s.Fields = append(s.Fields, f)
		return
	}
	for i := range s.Fields {
		if s.Fields[i].Name == key[0] {
			s.Fields[i].shape.add(key[1:], f)
			return
		}
	}
	inner := shape{Type: "object"}
	inner.add(key[1:], f)
	s.Fields = append(s.Fields, field{Name: key[0], shape: inner})
}

// field finds a key of a table with fixed keys.
func (s shape) field(name string) (shape, bool) {
	for _, f := range s.Fields {
		if f.Name == name {
			return f.shape, true
		}
	}
	return shape{}, false
}

func (s shape) names() []string {
	var names []string
	for _, f := range s.Fields {
		names = append(names, f.Name)
	}
	return names
}

// JSONSchema describes configuration files as JSON Schema, draft 2020-12.
func JSONSchema() map[string]any {
	schema := fileShape().schema()
	schema["$schema"] = "https://json-schema.org/draft/2020-12/schema"
	schema["title"] = "containerd-pull configuration"
	profiles := schema["properties"].(map[string]any)[keyProfiles].(map[string]any)
	profiles["propertyNames"] = map[string]any{"pattern": profileName}
	return schema
}

func (s shape) schema() map[string]any {
	out := map[string]any{"type": s.Type}
	if s.Words != nil {
		out["enum"] = s.Words
	}
	if s.Pattern != "" {
		out["pattern"] = s.Pattern
	}
	if s.Most > 0 {
		out["maximum"] = s.Most
	}
	switch {
	case s.Type == "integer" || s.Type == "number":
		out["minimum"] = 0
	case s.Type == "array":
		out["items"] = s.Items.schema()
		if s.Items.Type == "object" {
			return map[string]any{"anyOf": []any{out, out["items"]}} // a single table counts as a list of one
		}
	case s.Items != nil:
		out["additionalProperties"] = s.Items.schema()
	case s.Type == "object":
		out["additionalProperties"] = false
		properties, required := map[string]any{}, []string{}
		for _, f := range s.Fields {
			property := f.shape.schema()
			if f.must {
				required = append(required, f.Name)
				property["minLength"], property["minItems"] = 1, 1
			}
			if f.Usage != "" {
				property["description"] = strings.ReplaceAll(f.Usage, "`", "")
			}
			properties[f.Name] = property
		}
		out["properties"] = properties
		if len(required) > 0 {
			out["required"] = required
		}
	}
	if s.Name == "size" {
		delete(out, "type")
		delete(out, "pattern")
		out["anyOf"] = []any{map[string]any{"type": "string", "pattern": s.Pattern}, map[string]any{"type": "integer", "minimum": 0}}
	}
	return out
}
