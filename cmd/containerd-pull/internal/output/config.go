package output

import (
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"

	"github.com/pelletier/go-toml/v2"

	"github.com/containerd-pull/containerd-pull/pkg/config"
)

// setting is a setting in JSON. The names are API.
type setting struct {
	Name   string `json:"name"` // the key, or the flag if it has no key
	Value  any    `json:"value"`
	Origin origin `json:"origin"`
}

type origin struct {
	Kind string `json:"kind"`
	Name string `json:"name,omitempty"`
	File string `json:"file,omitempty"`
	Line int    `json:"line,omitempty"`
}

func showSettings(all []config.Resolved) []setting {
	shown := make([]setting, len(all))
	for i, r := range all {
		shown[i] = setting{r.Setting.Name(), r.Plain, origin{string(r.From.Kind), r.From.Name, r.From.File, r.From.Line}}
	}
	return shown
}

// Config is the result of config show in JSON. The names are API.
type Config struct {
	Profile  string    `json:"profile"`
	Settings []setting `json:"settings"`
	Files    []string  `json:"files"`
	Profiles Profiles  `json:"profiles"`
	Warnings []string  `json:"warnings"`
	// Proxies are the variables of the environment that choose proxies, by name, with
	// passwords masked.
	Proxies map[string]string `json:"proxies"`

	resolved []config.Resolved
}

// NewConfig returns a configuration and its sources for showing: all settings, or those
// that are not built in.
func NewConfig(cfg *config.Config, settings *config.Settings, changed bool) Config {
	resolved := cfg.Resolved()
	if changed {
		resolved = slices.DeleteFunc(resolved, func(r config.Resolved) bool { return r.From.Kind == config.BuiltIn })
	}
	proxies := map[string]string{}
	for _, v := range settings.Proxies(cfg) {
		proxies[v.Name] = v.Value
	}
	return Config{
		Profile:  cfg.Profile,
		Settings: showSettings(resolved),
		Proxies:  proxies,
		Files:    append([]string{}, settings.Files()...),
		Profiles: NewProfiles(settings.Profiles()),
		Warnings: append([]string{}, settings.Warnings()...),
		resolved: resolved,
	}
}

// Write writes a line for each setting and each source. Flags without a key
// that were not given are left out: they have no default to show.
func (c Config) Write(w io.Writer) {
	for _, r := range c.resolved {
		if r.Setting.Key != "" || r.From.Kind != config.BuiltIn {
			fmt.Fprintf(w, "%s\t%s\t%s\n", r.Setting.Name(), r.Value, r.From)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(c.Proxies)) {
		fmt.Fprintf(w, "proxy\t%s\tenvironment %s\n", c.Proxies[name], name)
	}
	for _, f := range c.Files {
		fmt.Fprintf(w, "file\t%s\t\n", f)
	}
	for _, p := range c.Profiles {
		fmt.Fprintf(w, "profile\t%s\t%s\n", p.Name, strings.Join(p.Match, ", "))
	}
	for _, text := range c.Warnings {
		fmt.Fprintf(w, "warning\t%s\t\n", text)
	}
}

// Profile is a profile in JSON. The names are API.
type Profile struct {
	Name     string    `json:"name"`
	Extends  string    `json:"extends,omitempty"`
	Match    []string  `json:"match"`
	Files    []string  `json:"files"`
	Settings []setting `json:"settings,omitempty"`
}

// NewProfile returns a profile with its settings for showing.
func NewProfile(p config.Profile, settings []config.Resolved) Profile {
	return Profile{p.Name, p.Extends, append([]string{}, p.Match...), p.Files, showSettings(settings)}
}

// TOML returns the profile as a file could hold it.
func (p Profile) TOML() ([]byte, error) {
	tree := map[string]any{}
	if len(p.Match) > 0 {
		tree["match"] = p.Match
	}
	for _, s := range p.Settings {
		put(tree, strings.Split(s.Name, "."), s.Value)
	}
	return toml.Marshal(map[string]any{"profiles": map[string]any{p.Name: tree}})
}

func put(tree map[string]any, keys []string, v any) {
	for ; len(keys) > 1; keys = keys[1:] {
		inner, ok := tree[keys[0]].(map[string]any)
		if !ok {
			inner = map[string]any{}
			tree[keys[0]] = inner
		}
		tree = inner
	}
	tree[keys[0]] = v
}

// Profiles is the result of profile list in JSON.
type Profiles []Profile

// NewProfiles returns profiles without their settings for showing.
func NewProfiles(all []config.Profile) Profiles {
	shown := make(Profiles, len(all))
	for i, p := range all {
		shown[i] = NewProfile(p, nil)
	}
	return shown
}

// Write writes a line for each profile.
func (all Profiles) Write(w io.Writer) {
	for _, p := range all {
		fmt.Fprintf(w, "%s\t%s\t%s\n", p.Name, strings.Join(p.Match, ", "), strings.Join(p.Files, ", "))
	}
}
