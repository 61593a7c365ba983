package config

import (
	"github.com/containerd-pull/containerd-pull/pkg/config/value"
)

func limitSettings() []*Setting {
	return []*Setting{
		{
			Key:         "timeout",
			Flags:       []Flag{{Name: "timeout"}},
			DefaultNote: "none",
			Usage:       "`time` for the whole call",
			Group:       GroupLimits,
			Common:      true,
			bind:        func(c *Config) value.Value { return value.Duration(&c.Timeout) },
		},
		{
			Key:     "retry.count",
			Flags:   []Flag{{Name: "retry"}},
			Default: "10",
			Usage:   "`number` of failures in a row without a byte gained, or by too low a rate, after which a blob is given up",
			Group:   GroupLimits,
			bind:    func(c *Config) value.Value { return value.Retries(&c.Registry.Retry.Count) },
		},
		{
			Key:         "retry.delay",
			Flags:       []Flag{{Name: "retry-delay"}},
			DefaultNote: "250ms, doubling to 8s",
			Usage:       "`time` between tries",
			Group:       GroupLimits,
			bind:        func(c *Config) value.Value { return value.Duration(&c.Registry.Retry.Delay) },
		},
		{
			Key:     "stall_timeout",
			Flags:   []Flag{{Name: "stall-timeout"}},
			Default: "30s",
			Usage:   "`time` without a byte after which a connection is given up",
			Group:   GroupLimits,
			bind:    func(c *Config) value.Value { return value.Duration(&c.Registry.StallTimeout) },
		},
		{
			Key:         "limits.min_rate",
			Flags:       []Flag{{Name: "min-rate"}},
			DefaultNote: "off",
			Usage:       "`bytes` per second below which a connection counts as stalled",
			Group:       GroupLimits,
			bind:        func(c *Config) value.Value { return value.Size(&c.Registry.MinRate) },
		},
		{
			Key:     "limits.manifest_bytes",
			Default: "4MiB",
			Usage:   "`size` that no manifest may exceed",
			Group:   GroupLimits,
			bind:    func(c *Config) value.Value { return value.Size(&c.Registry.ManifestBytes) },
		},
		{
			Key:         "limits.unpacked_bytes",
			DefaultNote: "1 TiB",
			Usage:       "`size` that no layer may exceed when it is unpacked; 0 is no limit",
			Group:       GroupLimits,
			bind:        func(c *Config) value.Value { return value.SizeLimit(&c.Limits.Layer.Bytes) },
		},
		{
			Key:         "limits.ratio",
			DefaultNote: "2000",
			Usage:       "`number` of times that a layer may be larger unpacked than it was compressed, from 1 GiB on; 0 is no limit",
			Group:       GroupLimits,
			bind:        func(c *Config) value.Value { return value.CountLimit(&c.Limits.Layer.Ratio) },
		},
		{
			Key:   "limits.requests_per_second",
			Usage: "`number` of requests to each host",
			Group: GroupLimits,
			bind:  func(c *Config) value.Value { return value.Rate(&c.Registry.RequestsPerSecond) },
		},
		{
			Key:         "limits.unpacks",
			Flags:       []Flag{{Name: "max-concurrent-unpacks"}},
			DefaultNote: "one per CPU, at least two",
			Usage:       "`number` of stages that unpack layers, inflating and writing, at work at once",
			Group:       GroupLimits,
			bind:        func(c *Config) value.Value { return value.Count(&c.Limits.Unpacks) },
		},
		{
			Key:         "limits.downloads",
			Flags:       []Flag{{Name: "max-concurrent-downloads"}},
			DefaultNote: "chosen by the engine",
			Usage:       "`number` of layers fetched at once, over all images",
			Group:       GroupLimits,
			bind:        func(c *Config) value.Value { return value.Count(&c.Limits.Downloads) },
		},
		{
			Key:         "reserve",
			Flags:       []Flag{{Name: "reserve"}},
			DefaultNote: "none",
			Usage:       "`size`, or percentage of its size, that stays free on each file system that is written to",
			Group:       GroupLimits,
			bind: func(c *Config) value.Value {
				return value.Reserve(&c.Limits.Reserve.Bytes, &c.Limits.Reserve.Percent)
			},
		},
		{
			Key:   "sync_fs",
			Flags: []Flag{{Name: "sync-fs"}},
			Usage: "sync the file system of the unpacked files before the image is registered",
			Group: GroupLimits,
			bind:  func(c *Config) value.Value { return value.Bool(&c.Request.SyncFS) },
		},
	}
}
