// Package config finds out what a call is to do: it reads flags, variables,
// files and profiles in their order of precedence and fills the option structs
// of the packages that do the work, keeping in mind where each value came
// from.
//
// Table declares every setting once; Load reads the sources; Settings.Resolve
// gives a Config. The package decides nothing about pulls and opens neither
// stores nor connections. It is the only one that knows viper.
package config

import (
	"fmt"
	"time"

	"github.com/containerd-pull/containerd-pull/pkg/pull"
	"github.com/containerd-pull/containerd-pull/pkg/registry"
	"github.com/containerd-pull/containerd-pull/pkg/store"
)

// Config is the outcome: the option structs of the packages, filled.
type Config struct {
	Store    store.Options
	Registry registry.Options
	// Request lacks its Ref.
	Request pull.Request
	Limits  pull.Limits
	Login   Login
	// Timeout bounds the whole call; 0 means no bound.
	Timeout      time.Duration
	Quiet        bool
	Progress     string
	PrintChainID bool
	HTTPDump     bool
	HTTPTrace    bool
	Debug        bool
	// AllMetadata was stated; it is the default and only excludes its opposite.
	AllMetadata bool

	resolved []Resolved
}

// Login holds the credential of the command line.
type Login struct {
	User    string // USER[:PASSWORD]
	Refresh string // refresh token
}

// Resolved is one setting with its value and where that came from.
type Resolved struct {
	Setting *Setting
	Value   string // in the syntax of the flag
	From    Origin
}

// Settings are all sources, read.
type Settings struct {
	layers []layer // the weakest first
}

// Load reads the sources of the settings.
func Load(caller Caller, flags *Flags) (*Settings, error) {
	return &Settings{layers: []layer{builtIn{caller}, environment{caller}, flags}}, nil
}

// Resolve gives the configuration that results from the sources.
func (s *Settings) Resolve() (*Config, error) {
	r := resolution{layers: s.layers, chosen: make(map[string]choice)}
	for _, setting := range Table() {
		if err := r.choose(setting); err != nil {
			return nil, err
		}
	}
	if err := r.exclude(); err != nil {
		return nil, err
	}
	return r.config()
}

// Resolved lists every setting that a call can have, in the order of Table.
func (c *Config) Resolved() []Resolved { return c.resolved }

// finish applies what follows from several settings at once.
func (c *Config) finish() error {
	if (c.Registry.Cert == "") != (c.Registry.Key == "") {
		return fmt.Errorf("tls.cert and tls.key (--tlscert and --tlskey) need each other")
	}
	if c.Quiet {
		c.Progress = "none"
	}
	return nil
}
