package config

import (
	"github.com/containerd-pull/containerd-pull/pkg/pull"
)

// Table lists the settings in the order of help. Each entry names the field
// that it sets, so that a setting without effect cannot be written down.
func Table() []*Setting {
	var all []*Setting
	for _, part := range [][]*Setting{storeSettings(), selectSettings(), registrySettings(), credentialSettings(), limitSettings(), outputSettings()} {
		all = append(all, part...)
	}
	return all
}

func storeSettings() []*Setting {
	return []*Setting{
		{
			Key:     "address",
			Flags:   []Flag{{Name: "address", Short: "a"}, {Name: "host", Short: "H"}, {Name: "a", Hidden: true}, {Name: "H", Hidden: true}},
			Env:     []string{"CONTAINERD_ADDRESS"},
			Default: "/run/containerd/containerd.sock",
			Usage:   "containerd `socket`, with or without unix://",
			Group:   GroupStore,
			bind:    func(c *Config) value { return (*textValue)(&c.Store.Address) },
		},
		{
			Key:     "connect_timeout",
			Flags:   []Flag{{Name: "connect-timeout"}},
			Default: "10s",
			Usage:   "`time` to reach the daemon",
			Group:   GroupStore,
			bind:    func(c *Config) value { return (*durationValue)(&c.Store.ConnectTimeout) },
		},
		{
			Key:     "namespace",
			Flags:   []Flag{{Name: "namespace", Short: "n"}, {Name: "n", Hidden: true}},
			Env:     []string{"CONTAINERD_NAMESPACE"},
			Default: "default",
			Usage:   "containerd `namespace`",
			Group:   GroupStore,
			bind:    func(c *Config) value { return (*textValue)(&c.Store.Namespace) },
		},
		{
			Key:         "snapshotter",
			Flags:       []Flag{{Name: "snapshotter"}, {Name: "storage-driver"}},
			Env:         []string{"CONTAINERD_SNAPSHOTTER"},
			DefaultNote: "the namespace's default, else overlayfs",
			Usage:       "`name` of the snapshotter",
			Group:       GroupStore,
			bind:        func(c *Config) value { return (*textValue)(&c.Store.Snapshotter) },
		},
		{
			Key:   "root",
			Flags: []Flag{{Name: "root"}},
			Usage: "`folder` of an embedded store in containerd's layout, without a daemon",
			Group: GroupStore,
			bind:  func(c *Config) value { return (*textValue)(&c.Store.Root) },
		},
	}
}

func selectSettings() []*Setting {
	return []*Setting{
		{
			Key:         "platforms",
			Flags:       []Flag{{Name: "platform"}},
			DefaultNote: "the host's",
			Usage:       "`platforms` to fetch and unpack, such as linux/arm64",
			Group:       GroupSelect,
			bind:        func(c *Config) value { return (*platformsValue)(&c.Request.Platforms) },
		},
		{
			Key:   "all_platforms",
			Flags: []Flag{{Name: "all-platforms"}},
			Usage: "fetch and unpack every platform",
			Group: GroupSelect,
			bind:  func(c *Config) value { return (*boolValue)(&c.Request.AllPlatforms) },
		},
		{
			Key:   "skip_metadata",
			Flags: []Flag{{Name: "skip-metadata"}},
			Usage: "leave out manifests and configs of the other platforms",
			Group: GroupSelect,
			bind:  func(c *Config) value { return (*boolValue)(&c.Request.SkipMetadata) },
		},
		{
			Flags: []Flag{{Name: "all-metadata", Hidden: true}},
			Usage: "fetch manifests and configs of all platforms, as by default",
			Group: GroupSelect,
			bind:  func(c *Config) value { return (*boolValue)(&c.AllMetadata) },
		},
		{
			Key:     "unpack",
			Flags:   []Flag{{Name: "unpack"}},
			Default: string(pull.UnpackAuto),
			Usage:   "`what` to unpack: auto, true (all of it, or fail), false (nothing)",
			Group:   GroupSelect,
			bind: func(c *Config) value {
				return &wordValue[pull.Unpack]{&c.Request.Unpack, []pull.Unpack{pull.UnpackAuto, pull.UnpackAlways, pull.UnpackNever}}
			},
		},
		{
			Key:   "labels",
			Flags: []Flag{{Name: "label"}},
			Usage: "`key[=value]` on the image record; a key alone is key=true",
			Group: GroupSelect,
			bind:  func(c *Config) value { return (*labelsValue)(&c.Request.Labels) },
		},
	}
}

func registrySettings() []*Setting {
	return []*Setting{
		{
			Key:      "hosts_dir",
			Flags:    []Flag{{Name: "hosts-dir"}},
			Default:  "/etc/containerd/certs.d,/etc/docker/certs.d",
			Usage:    "`folders` with hosts.toml or certificates, searched in order",
			Group:    GroupRegistry,
			bind:     func(c *Config) value { return (*listValue)(&c.Registry.HostsDirs) },
			fallback: hostsDirs,
		},
		{
			Key:   "plain_http",
			Flags: []Flag{{Name: "plain-http"}},
			Usage: "the reference's own host speaks HTTP; localhost always may",
			Group: GroupRegistry,
			bind:  func(c *Config) value { return (*boolValue)(&c.Registry.PlainHTTP) },
		},
		{
			Key:   "tls.skip_verify",
			Flags: []Flag{{Name: "skip-verify", Short: "k"}},
			Usage: "do not check the certificate of the reference's own host",
			Group: GroupRegistry,
			bind:  func(c *Config) value { return (*boolValue)(&c.Registry.SkipVerify) },
		},
		{
			Key:   "tls.ca",
			Flags: []Flag{{Name: "tlscacert"}},
			Usage: "`file` of the certificate authority of the reference's own host",
			Group: GroupRegistry,
			bind:  func(c *Config) value { return (*textValue)(&c.Registry.CA) },
		},
		{
			Key:   "tls.cert",
			Flags: []Flag{{Name: "tlscert"}},
			Usage: "`file` of the client certificate",
			Group: GroupRegistry,
			bind:  func(c *Config) value { return (*textValue)(&c.Registry.Cert) },
		},
		{
			Key:   "tls.key",
			Flags: []Flag{{Name: "tlskey"}},
			Usage: "`file` of the client certificate's key",
			Group: GroupRegistry,
			bind:  func(c *Config) value { return (*textValue)(&c.Registry.Key) },
		},
		{
			Flags: []Flag{{Name: "http-dump"}},
			Usage: "show requests and responses, without secrets and bodies of blobs",
			Group: GroupRegistry,
			bind:  func(c *Config) value { return (*boolValue)(&c.HTTPDump) },
		},
		{
			Flags: []Flag{{Name: "http-trace"}},
			Usage: "show what happens to connections",
			Group: GroupRegistry,
			bind:  func(c *Config) value { return (*boolValue)(&c.HTTPTrace) },
		},
	}
}

func credentialSettings() []*Setting {
	return []*Setting{
		{
			Flags: []Flag{{Name: "user", Short: "u"}},
			Usage: "`user[:password]` for the reference's own host; asks for a missing password",
			Group: GroupCredentials,
			bind:  func(c *Config) value { return (*textValue)(&c.Login.User) },
		},
		{
			Flags: []Flag{{Name: "refresh"}},
			Usage: "refresh `token` for the token server of the reference's own host",
			Group: GroupCredentials,
			bind:  func(c *Config) value { return (*textValue)(&c.Login.Refresh) },
		},
	}
}

func limitSettings() []*Setting {
	return []*Setting{
		{
			Key:         "timeout",
			Flags:       []Flag{{Name: "timeout"}},
			DefaultNote: "none",
			Usage:       "`time` for the whole call",
			Group:       GroupLimits,
			bind:        func(c *Config) value { return (*durationValue)(&c.Timeout) },
		},
		{
			Key:         "limits.downloads",
			Flags:       []Flag{{Name: "max-concurrent-downloads"}},
			DefaultNote: "chosen by the engine",
			Usage:       "`number` of layers fetched at once, over all images",
			Group:       GroupLimits,
			bind:        func(c *Config) value { return (*countValue)(&c.Limits.Downloads) },
		},
		{
			Key:   "sync_fs",
			Flags: []Flag{{Name: "sync-fs"}},
			Usage: "sync the file system of the unpacked files before the image is registered",
			Group: GroupLimits,
			bind:  func(c *Config) value { return (*boolValue)(&c.Request.SyncFS) },
		},
	}
}

func outputSettings() []*Setting {
	return []*Setting{
		{
			Key:   "quiet",
			Flags: []Flag{{Name: "quiet", Short: "q"}},
			Usage: "print the names of the images and nothing else, unless something fails",
			Group: GroupOutput,
			bind:  func(c *Config) value { return (*boolValue)(&c.Quiet) },
		},
		{
			Key:     "progress",
			Flags:   []Flag{{Name: "progress"}},
			Default: "auto",
			Usage:   "`style` of the progress: auto, tty, plain, json, none",
			Group:   GroupOutput,
			bind: func(c *Config) value {
				return &wordValue[string]{&c.Progress, []string{"auto", "tty", "plain", "json", "none"}}
			},
		},
		{
			Flags: []Flag{{Name: "print-chainid"}},
			Usage: "print the chain ID of each unpacked platform, as ctr does",
			Group: GroupOutput,
			bind:  func(c *Config) value { return (*boolValue)(&c.PrintChainID) },
		},
		{
			Key:   "debug",
			Flags: []Flag{{Name: "debug"}},
			Usage: "log what is being decided",
			Group: GroupOutput,
			bind:  func(c *Config) value { return (*boolValue)(&c.Debug) },
		},
	}
}
