package config

import (
	"github.com/containerd-pull/containerd-pull/pkg/pull"
)

// Table lists the settings in the order of help. Each entry names the field
// that it sets, so that a setting without effect cannot be written down.
func Table() []*Setting {
	var all []*Setting
	for _, part := range [][]*Setting{storeSettings(), selectSettings(), registrySettings(), credentialSettings(), verifySettings(), limitSettings(), outputSettings()} {
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
			bind:    func(c *Config) value { return text(&c.Store.Address) },
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
			bind:    func(c *Config) value { return text(&c.Store.Namespace) },
		},
		{
			Key:         "snapshotter",
			Flags:       []Flag{{Name: "snapshotter"}, {Name: "storage-driver"}},
			Env:         []string{"CONTAINERD_SNAPSHOTTER"},
			DefaultNote: "the namespace's default, else overlayfs",
			Usage:       "`name` of the snapshotter",
			Group:       GroupStore,
			bind:        func(c *Config) value { return text(&c.Store.Snapshotter) },
		},
		{
			Key:   "root",
			Flags: []Flag{{Name: "root"}},
			Usage: "`folder` of an embedded store in containerd's layout, without a daemon",
			Group: GroupStore,
			bind:  func(c *Config) value { return path(&c.Store.Root) },
		},
		{
			Key:     "engine",
			Flags:   []Flag{{Name: "engine"}},
			Default: string(pull.EngineAuto),
			Usage:   "who `works`: client (we fetch and unpack), daemon (we fetch, containerd unpacks), transfer (containerd does both), auto (the first of these that can)",
			Group:   GroupStore,
			bind: func(c *Config) value {
				return &wordValue[pull.Engine]{&c.Request.Engine, []pull.Engine{pull.EngineAuto, pull.EngineClient, pull.EngineDaemon, pull.EngineTransfer}}
			},
		},
		profileChoice(),
		configFile(),
	}
}

// profileChoice names the profile. As a key it is the default for whoever
// does not choose.
func profileChoice() *Setting {
	return &Setting{
		Key:         keyDefault,
		Flags:       []Flag{{Name: "profile", Short: "p"}},
		Own:         "CONTAINERD_PULL_PROFILE",
		DefaultNote: "by pattern, else default_profile",
		Usage:       "`name` of the profile; an empty one means none",
		Group:       GroupStore,
		bind:        func(c *Config) value { return text(&c.Profile) },
	}
}

// configFile names one more file.
func configFile() *Setting {
	return &Setting{
		Flags: []Flag{{Name: "config"}},
		Own:   "CONTAINERD_PULL_CONFIG",
		Usage: "one more configuration `file`, stronger than the others",
		Group: GroupStore,
		bind:  func(c *Config) value { return path(&c.File) },
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
			Flags: []Flag{{Name: "disable-content-trust", Hidden: true}},
			Usage: "Docker's and podman's; content trust is never checked",
			Group: GroupSelect,
			bind:  func(c *Config) value { return &onlyTrue{boolValue: (*boolValue)(&c.NoContentTrust)} },
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
			Key:     "policy",
			Flags:   []Flag{{Name: "policy"}},
			Default: string(pull.PolicyAlways),
			Usage:   "`when` to ask the registry: always, missing (not if the image is whole in the store), newer (but a registry that fails does not matter then), never",
			Group:   GroupSelect,
			bind: func(c *Config) value {
				return &wordValue[pull.Policy]{&c.Request.Policy, []pull.Policy{pull.PolicyAlways, pull.PolicyMissing, pull.PolicyNewer, pull.PolicyNever}}
			},
		},
		{
			Key:   "labels",
			Flags: []Flag{{Name: "label"}},
			Usage: "`key[=value]` on the image record; a key alone is key=true",
			Group: GroupSelect,
			bind:  func(c *Config) value { return (*labelsValue)(&c.Request.Labels) },
		},
		{
			Key:     "keep_layers",
			Default: "true",
			Usage:   "keep the blobs of layers that were unpacked",
			Group:   GroupSelect,
			bind:    func(c *Config) value { return (*notValue)(&c.Request.DiscardLayers) },
		},
		{
			Flags: []Flag{{Name: "discard-layers"}},
			Usage: "do not keep the blobs of unpacked layers: the image runs, but cannot be pushed",
			Group: GroupSelect,
			bind:  func(c *Config) value { return (*boolValue)(&c.Request.DiscardLayers) },
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
			Key:     "retry.count",
			Flags:   []Flag{{Name: "retry"}},
			Default: "10",
			Usage:   "`number` of failures in a row without a byte gained, or by too low a rate, after which a blob is given up",
			Group:   GroupLimits,
			bind:    func(c *Config) value { return (*retriesValue)(&c.Registry.Retry.Count) },
		},
		{
			Key:         "retry.delay",
			Flags:       []Flag{{Name: "retry-delay"}},
			DefaultNote: "250ms, doubling to 8s",
			Usage:       "`time` between tries",
			Group:       GroupLimits,
			bind:        func(c *Config) value { return (*durationValue)(&c.Registry.Retry.Delay) },
		},
		{
			Key:     "stall_timeout",
			Flags:   []Flag{{Name: "stall-timeout"}},
			Default: "30s",
			Usage:   "`time` without a byte after which a connection is given up",
			Group:   GroupLimits,
			bind:    func(c *Config) value { return (*durationValue)(&c.Registry.StallTimeout) },
		},
		{
			Key:         "limits.min_rate",
			Flags:       []Flag{{Name: "min-rate"}},
			DefaultNote: "off",
			Usage:       "`bytes` per second below which a connection counts as stalled",
			Group:       GroupLimits,
			bind:        func(c *Config) value { return (*sizeValue)(&c.Registry.MinRate) },
		},
		{
			Key:     "limits.manifest_bytes",
			Default: "4MiB",
			Usage:   "`size` that no manifest may exceed",
			Group:   GroupLimits,
			bind:    func(c *Config) value { return (*sizeValue)(&c.Registry.ManifestBytes) },
		},
		{
			Key:         "limits.unpacked_bytes",
			DefaultNote: "1 TiB",
			Usage:       "`size` that no layer may exceed when it is unpacked; 0 is no limit",
			Group:       GroupLimits,
			bind:        func(c *Config) value { return (*boundValue)(&c.Limits.Layer.Bytes) },
		},
		{
			Key:         "limits.ratio",
			DefaultNote: "2000",
			Usage:       "`number` of times that a layer may be larger unpacked than it was compressed, from 1 GiB on; 0 is no limit",
			Group:       GroupLimits,
			bind:        func(c *Config) value { return (*factorValue)(&c.Limits.Layer.Ratio) },
		},
		{
			Key:   "limits.requests_per_second",
			Usage: "`number` of requests to each host",
			Group: GroupLimits,
			bind:  func(c *Config) value { return (*rateValue)(&c.Registry.RequestsPerSecond) },
		},
		{
			Key:         "limits.unpacks",
			Flags:       []Flag{{Name: "max-concurrent-unpacks"}},
			DefaultNote: "one per CPU, at least two",
			Usage:       "`number` of stages that unpack layers, inflating and writing, at work at once",
			Group:       GroupLimits,
			bind:        func(c *Config) value { return (*countValue)(&c.Limits.Unpacks) },
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
			Key:     "output_style",
			Flags:   []Flag{{Name: "output-style"}},
			Default: StylePlain,
			Usage:   "`tool` whose lines the result is written in: plain (ours), docker, nerdctl, podman, crictl",
			Group:   GroupOutput,
			bind: func(c *Config) value {
				return &wordValue[string]{&c.OutputStyle, []string{StylePlain, StyleDocker, StyleNerdctl, StylePodman, StyleCrictl}}
			},
		},
		{
			Flags: []Flag{{Name: "format"}},
			Usage: "`form` of the result: json, or go-template=TEMPLATE",
			Group: GroupOutput,
			bind:  func(c *Config) value { return (*formatValue)(&c.Format) },
		},
		{
			Flags: []Flag{{Name: "print"}},
			Usage: "`what` to print of each image instead of its name, in the order given: ref, digest, id, chainid, repodigest",
			Group: GroupOutput,
			bind: func(c *Config) value {
				return &choicesValue{&c.Print, []string{PrintRef, PrintDigest, PrintID, PrintChainID, PrintRepoDigest}}
			},
		},
		{
			Flags: []Flag{{Name: "print-chainid"}},
			Usage: "print the chain ID of each unpacked platform, as ctr does",
			Group: GroupOutput,
			bind:  func(c *Config) value { return (*boolValue)(&c.PrintChainID) },
		},
		{
			Flags: []Flag{{Name: "digestfile"}},
			Usage: "`file` that gets the digest of each image once all of them are pulled",
			Group: GroupOutput,
			bind:  func(c *Config) value { return path(&c.DigestFile) },
		},
		{
			Key:         "changed_exit_code",
			Flags:       []Flag{{Name: "changed-exit-code"}},
			DefaultNote: "0",
			Usage:       "exit `code` instead of 0 if an image is new or has changed; 1 to 255, and none that means a failure",
			Group:       GroupOutput,
			bind:        func(c *Config) value { return (*exitCodeValue)(&c.ChangedExitCode) },
		},
		{
			Flags: []Flag{{Name: "timeline"}},
			Usage: "draw when what happened into this `file`, SVG or by extension HTML, also if the pull fails",
			Group: GroupOutput,
			bind:  func(c *Config) value { return path(&c.Timeline) },
		},
		{
			Key:   "debug",
			Flags: []Flag{{Name: "debug"}},
			Usage: "log what is being decided",
			Group: GroupOutput,
			bind:  func(c *Config) value { return (*boolValue)(&c.Debug) },
		},
		{
			Key:   "debug_full",
			Flags: []Flag{{Name: "debug-full"}},
			Usage: "--debug and --http-trace",
			Group: GroupOutput,
			bind:  func(c *Config) value { return (*boolValue)(&c.DebugFull) },
		},
	}
}
