package config

import (
	"github.com/containerd/containerd/v2/defaults"
	"github.com/containerd/containerd/v2/pkg/namespaces"

	"github.com/containerd-pull/containerd-pull/pkg/config/value"
	"github.com/containerd-pull/containerd-pull/pkg/pull"
)

func destinationSettings() []*Setting {
	return []*Setting{
		{
			Key:     "address",
			Flags:   []Flag{{Name: "address", Short: "a"}, {Name: "host", Short: "H"}, {Name: "a", Hidden: true}, {Name: "H", Hidden: true}},
			Env:     []string{"CONTAINERD_ADDRESS"},
			Default: defaults.DefaultAddress,
			Usage:   "containerd `socket`, with or without unix://",
			Group:   GroupDestination,
			Common:  true,
			bind:    func(c *Config) value.Value { return value.Text(&c.Store.Address) },
		},
		{
			Key:     "connect_timeout",
			Flags:   []Flag{{Name: "connect-timeout"}},
			Default: "10s",
			Usage:   "`time` to reach the daemon",
			Group:   GroupDestination,
			bind:    func(c *Config) value.Value { return value.Duration(&c.Store.ConnectTimeout) },
		},
		{
			Key:         "namespace",
			Flags:       []Flag{{Name: "namespace", Short: "n"}, {Name: "n", Hidden: true}},
			Env:         []string{"CONTAINERD_NAMESPACE"},
			Default:     namespaces.Default,
			DefaultNote: "the one called default",
			Usage:       "containerd `namespace`, such as k8s.io",
			Group:       GroupDestination,
			Common:      true,
			bind:        func(c *Config) value.Value { return value.Namespace(&c.Store.Namespace) },
		},
		{
			Key:         "snapshotter",
			Flags:       []Flag{{Name: "snapshotter"}, {Name: "storage-driver"}},
			Env:         []string{"CONTAINERD_SNAPSHOTTER"},
			DefaultNote: "the namespace's default, else overlayfs",
			Usage:       "`name` of the snapshotter",
			Group:       GroupDestination,
			bind:        func(c *Config) value.Value { return value.Text(&c.Store.Snapshotter) },
		},
		{
			Key:    "root",
			Flags:  []Flag{{Name: "root"}},
			Usage:  "`folder` of an embedded store in containerd's layout, without a daemon",
			Group:  GroupDestination,
			Common: true,
			bind:   func(c *Config) value.Value { return value.Path(&c.Store.Root) },
		},
		{
			Key:   "force_root",
			Flags: []Flag{{Name: "force-root"}},
			Usage: "make a root in a folder that has other things in it",
			Group: GroupDestination,
			bind:  func(c *Config) value.Value { return value.Bool(&c.Store.Force) },
		},
		{
			Key:     "engine",
			Flags:   []Flag{{Name: "engine"}},
			Default: string(pull.EngineAuto),
			Usage:   "the `engine` that works: client (this program fetches and unpacks), daemon (this program fetches, containerd unpacks), transfer (containerd does both), auto (the first of these that can)",
			Group:   GroupDestination,
			bind: func(c *Config) value.Value {
				return value.OneOf(&c.Request.Engine,
					value.WordOf(pull.EngineAuto, "the first of the others that can do what is asked"),
					value.WordOf(pull.EngineClient, "this process fetches and unpacks"),
					value.WordOf(pull.EngineDaemon, "this process fetches, containerd unpacks"),
					value.WordOf(pull.EngineTransfer, "containerd fetches and unpacks"))
			},
		},
		profileChoice(),
		configFile(),
	}
}

// profileChoice names the profile. As a key, it is the default for calls that
// choose none.
func profileChoice() *Setting {
	return &Setting{
		Key:         keyDefault,
		Flags:       []Flag{{Name: "profile", Short: "p"}},
		Own:         "CONTAINERD_PULL_PROFILE",
		DefaultNote: "by pattern, else default_profile",
		Usage:       "`name` of the profile; an empty one means none",
		Group:       GroupDestination,
		Common:      true,
		bind:        func(c *Config) value.Value { return value.Text(&c.Profile) },
	}
}

// configFile names one more file.
func configFile() *Setting {
	return &Setting{
		Flags: []Flag{{Name: "config"}},
		Own:   "CONTAINERD_PULL_CONFIG",
		Usage: "one more configuration `file`, stronger than the others",
		Group: GroupDestination,
		bind:  func(c *Config) value.Value { return value.Path(&c.File) },
	}
}
