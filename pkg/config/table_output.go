package config

import (
	"github.com/containerd-pull/containerd-pull/pkg/config/value"
)

func outputSettings() []*Setting {
	return []*Setting{
		{
			Key:    "quiet",
			Flags:  []Flag{{Name: "quiet", Short: "q"}},
			Usage:  "print the names of the images and nothing else, unless something fails",
			Group:  GroupOutput,
			Common: true,
			bind:   func(c *Config) value.Value { return value.Bool(&c.Quiet) },
		},
		{
			Key:     "progress",
			Flags:   []Flag{{Name: "progress"}},
			Default: "auto",
			Usage:   "`style` of the progress: auto, tty, plain, json, none",
			Group:   GroupOutput,
			Common:  true,
			bind: func(c *Config) value.Value {
				return value.OneOf(&c.Progress,
					value.WordOf("auto", "tty on a terminal, else plain"),
					value.WordOf("tty", "one region that is drawn again and again"),
					value.WordOf("plain", "a line for each change"),
					value.WordOf("json", "an event on each line"),
					value.WordOf("none", "warnings and errors only"))
			},
		},
		{
			Key:     "output_style",
			Flags:   []Flag{{Name: "output-style"}},
			Default: StylePlain,
			Usage:   "`tool` whose lines the result is written in: plain (its own), docker, nerdctl, podman, crictl",
			Group:   GroupOutput,
			bind: func(c *Config) value.Value {
				return value.OneOf(&c.OutputStyle,
					value.WordOf(StylePlain, "the name of each image"),
					value.WordOf(StyleDocker, "the lines of docker pull"),
					value.WordOf(StyleNerdctl, "the closing frame of nerdctl pull"),
					value.WordOf(StylePodman, "the image ID, as podman pull"),
					value.WordOf(StyleCrictl, "the line of crictl pull"))
			},
		},
		{
			Flags:  []Flag{{Name: "format"}},
			Usage:  "`form` of the result: json, table, or a template such as {{.name}}",
			Group:  GroupOutput,
			Common: true,
			bind:   func(c *Config) value.Value { return formatValue{value.Text(&c.Format)} },
		},
		{
			Flags: []Flag{{Name: "print"}},
			Usage: "`fields` to print of each image instead of its name, in the order given: ref, digest, id, chainid, repodigest",
			Group: GroupOutput,
			bind: func(c *Config) value.Value {
				return value.SomeOf(&c.Print,
					value.WordOf(PrintRef, "name with registry and tag"),
					value.WordOf(PrintDigest, "digest of the index or manifest"),
					value.WordOf(PrintID, "digest of the config"),
					value.WordOf(PrintChainID, "name of the top snapshot"),
					value.WordOf(PrintRepoDigest, "name with the digest"))
			},
		},
		{
			Flags: []Flag{{Name: "print-chainid"}},
			Usage: "print the chain ID of each unpacked platform, as ctr does",
			Group: GroupOutput,
			bind:  func(c *Config) value.Value { return value.Bool(&c.PrintChainID) },
		},
		{
			Flags: []Flag{{Name: "digestfile"}},
			Usage: "`file` that gets the digest of each image once all of them are pulled",
			Group: GroupOutput,
			bind:  func(c *Config) value.Value { return value.Path(&c.DigestFile) },
		},
		{
			Key:         "changed_exit_code",
			Flags:       []Flag{{Name: "changed-exit-code"}},
			DefaultNote: "0",
			Usage:       "exit `code` instead of 0 if an image is new, has changed or got labels; 1 to 255, and none that means a failure",
			Group:       GroupOutput,
			bind:        func(c *Config) value.Value { return value.ExitCode(&c.ChangedExitCode) },
		},
		{
			Flags: []Flag{{Name: "timeline"}},
			Usage: "draw when what happened into this `file`, SVG or by extension HTML, also if the pull fails",
			Group: GroupOutput,
			bind:  func(c *Config) value.Value { return value.Path(&c.Timeline) },
		},
		{
			Key:   "debug",
			Flags: []Flag{{Name: "debug"}},
			Usage: "log what is being decided",
			Group: GroupOutput,
			bind:  func(c *Config) value.Value { return value.Bool(&c.Debug) },
		},
		{
			Key:   "debug_full",
			Flags: []Flag{{Name: "debug-full"}},
			Usage: "--debug and --http-trace",
			Group: GroupOutput,
			bind:  func(c *Config) value.Value { return value.Bool(&c.DebugFull) },
		},
	}
}
