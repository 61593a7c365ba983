package config

import (
	"fmt"
	"slices"
	"strings"

	"github.com/containerd-pull/containerd-pull/pkg/config/value"
)

// resolution is the state of Settings.Resolve: the choice for each setting.
type resolution struct {
	layers []layer
	chosen map[string]choice // by Setting.Name
}

// choice is what the layers hold for a setting, the weakest first.
type choice struct {
	setting *Setting
	values  []settingValue
	ranks   []int    // of the layers, parallel to values
	beside  *Setting // the setting that rules this one out, nil if none does
}

// resolve collects what the layers, the weakest first, hold for each setting.
func resolve(layers []layer) (*resolution, error) {
	r := &resolution{layers: layers, chosen: make(map[string]choice)}
	for _, s := range Table() {
		if err := r.choose(s); err != nil {
			return nil, err
		}
	}
	return r, nil
}

// choose collects what the layers hold for s and checks the strongest.
func (r *resolution) choose(s *Setting) error {
	c := choice{setting: s}
	for rank, l := range r.layers {
		found, ok, err := l.lookup(s)
		if err != nil {
			return err
		}
		if ok {
			c.values, c.ranks = append(c.values, found), append(c.ranks, rank)
		}
	}
	r.chosen[s.Name()] = c
	return c.apply(new(Config))
}

// apply sets the field of the setting in cfg. Tables merge over the layers; for
// everything else, the strongest layer counts.
func (c choice) apply(cfg *Config) error {
	values := c.values
	if len(values) > 1 && c.setting.shape().Type != "object" {
		values = values[len(values)-1:]
	}
	for _, v := range values {
		if err := c.setting.bind(cfg).Set(v.raw); err != nil {
			return fmt.Errorf("%s: %w", v.from.subject(c.setting), err)
		}
	}
	return nil
}

// rank orders choices by the strength of their layer, then within it.
func (c choice) rank() [2]int {
	return [2]int{c.ranks[len(c.ranks)-1], c.values[len(c.values)-1].depth}
}
func (c choice) from() Origin { return c.values[len(c.values)-1].from }

// isActive reports whether the setting is set to anything but the idle values,
// which have no effect on the other setting of an exclusion.
func (c choice) isActive(idle string) bool {
	if len(c.values) == 0 {
		return false
	}
	cfg := new(Config)
	if c.apply(cfg) != nil {
		return false
	}
	v := c.setting.bind(cfg)
	return !value.IsUnset(v) && !slices.Contains(strings.Fields(idle), v.String())
}

// exclusion is a pair of settings that cannot both have their effect. The values
// of b that idle lists, separated by spaces, agree with a.
type exclusion struct{ a, b, idle string }

func exclusions() []exclusion {
	return []exclusion{
		{"root", "address", ""},
		{"root", "engine", "auto client"},
		{"platforms", "all_platforms", ""},
		{"skip_metadata", "--all-metadata", ""},
		{"fail_fast", "--keep-going", ""},
		{"plain_http", "tls.skip_verify", ""},
		{"plain_http", "tls.ca", ""},
		{"plain_http", "tls.cert", ""},
		{"plain_http", "tls.key", ""},
		{"plain_http", "insecure_registry", ""},
		{"--user", "--refresh", ""},
		{"--username", "--refresh", ""},
		{"--user", "--username", ""},
		{"quiet", "progress", "none"},
		{"--format", "output_style", StylePlain},
		{"--format", "--print", ""},
		{"--format", "--print-chainid", ""},
		{"--print", "output_style", StylePlain},
		{"--print-chainid", "output_style", StylePlain},
	}
}

// exclude drops the weaker setting of each excluding pair. Two from the same
// source are an error, because nothing says which of them was meant.
func (r *resolution) exclude() error {
	for _, pair := range exclusions() {
		a, b := r.chosen[pair.a], r.chosen[pair.b]
		if !a.isActive("") || !b.isActive(pair.idle) {
			continue
		}
		if a.rank() == b.rank() {
			return fmt.Errorf("%s and %s exclude each other", a.from().subject(a.setting), b.from().subject(b.setting))
		}
		if isWeaker(a.rank(), b.rank()) {
			a, b = b, a
		}
		r.chosen[b.setting.Name()] = choice{setting: b.setting, beside: a.setting}
	}
	return nil
}

func isWeaker(a, b [2]int) bool { return a[0] < b[0] || a[0] == b[0] && a[1] < b[1] }

// config binds the choices to a new Config.
func (r *resolution) config() (*Config, error) {
	cfg := new(Config)
	for _, s := range Table() {
		c := r.chosen[s.Name()]
		if err := c.apply(cfg); err != nil {
			return nil, err
		}
		cfg.resolved = append(cfg.resolved, Resolved{Setting: s, From: c.origin()})
	}
	return cfg, nil
}

// origin is where the value came from, as it is shown.
func (c choice) origin() Origin {
	switch {
	case c.beside != nil:
		return Origin{Kind: Excluded, Name: c.beside.Name()}
	case len(c.values) == 0:
		return Origin{Kind: BuiltIn}
	}
	return c.from()
}
