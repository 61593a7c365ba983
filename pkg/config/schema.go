package config

import (
	"strings"

	"github.com/containerd-pull/containerd-pull/pkg/config/file"
	"github.com/containerd-pull/containerd-pull/pkg/config/value"
)

// profileName is the pattern of names of profiles, which have to fit into file
// names, flags and variables.
const profileName = `^[a-z0-9_-]+$`

// The keys of files that are not settings of the table, and default_profile.
const (
	keyExtends = "extends"
	keyMatch   = "match"
	keyVerify  = "verify"
	keyDefault = "default_profile"
)

// fileShape is what a configuration file may hold.
func fileShape() value.Shape {
	top := settingsShape(func(*Setting) bool { return true })
	profile := profileShape()
	top.Fields = append(top.Fields, value.Field{Name: file.ProfilesKey, Usage: "named sets of settings", Shape: value.Shape{Type: "object", Items: &profile}})
	return top
}

// profileShape is what a profile may hold: every setting except the choice of
// a profile, and how it relates to others.
func profileShape() value.Shape {
	profile := settingsShape(func(s *Setting) bool { return s.Key != keyDefault })
	profile.Fields = append(profile.Fields,
		value.Field{Name: keyExtends, Usage: "the profile to build on", Shape: value.Shape{Type: "string"}},
		value.Field{Name: keyMatch, Usage: "patterns of the references that choose this profile", Shape: value.Shape{Type: "array", Items: &value.Shape{Type: "string"}}})
	return profile
}

func settingsShape(want func(*Setting) bool) value.Shape {
	top := value.Shape{Type: "object"}
	for _, s := range Table() {
		if s.Key != "" && want(s) {
			top.Add(strings.Split(s.Key, "."), value.Field{Usage: s.Usage, Shape: s.shape()})
		}
	}
	return top
}

// JSONSchema describes configuration files as JSON Schema, draft 2020-12.
func JSONSchema() map[string]any {
	schema := fileShape().JSONSchema()
	schema["$schema"] = "https://json-schema.org/draft/2020-12/schema"
	schema["title"] = "containerd-pull configuration"
	profiles := schema["properties"].(map[string]any)[file.ProfilesKey].(map[string]any)
	profiles["propertyNames"] = map[string]any{"pattern": profileName}
	return schema
}
