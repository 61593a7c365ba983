package config

import (
	"errors"

	"github.com/containerd-pull/containerd-pull/pkg/config/value"
	"github.com/containerd-pull/containerd-pull/pkg/pull"
)

func selectionSettings() []*Setting {
	return append(append(listSettings(), shortSettings()...), []*Setting{
		{
			Key:         "platforms",
			Flags:       []Flag{{Name: "platform"}},
			DefaultNote: "the host's",
			Usage:       "`platforms` to fetch and unpack, such as linux/arm64",
			Group:       GroupSelection,
			Common:      true,
			bind:        func(c *Config) value.Value { return value.Platforms(&c.Request.Platforms) },
		},
		{
			Key:   "all_platforms",
			Flags: []Flag{{Name: "all-platforms"}},
			Usage: "fetch and unpack every platform",
			Group: GroupSelection,
			bind:  func(c *Config) value.Value { return value.Bool(&c.Request.AllPlatforms) },
		},
		{
			Key:   "skip_metadata",
			Flags: []Flag{{Name: "skip-metadata"}},
			Usage: "leave out manifests and configs of the other platforms",
			Group: GroupSelection,
			bind:  func(c *Config) value.Value { return value.Bool(&c.Request.SkipMetadata) },
		},
		{
			Flags: []Flag{{Name: "all-metadata", Hidden: true}},
			Usage: "fetch manifests and configs of all platforms, as by default",
			Group: GroupSelection,
			bind:  func(c *Config) value.Value { return value.Bool(&c.AllMetadata) },
		},
		{
			Flags: []Flag{{Name: "disable-content-trust", Hidden: true}},
			Usage: "Docker's and podman's; content trust is never checked",
			Group: GroupSelection,
			bind:  func(c *Config) value.Value { return onlyTrue{value.Bool(&c.NoContentTrust)} },
		},
		{
			Key:     "unpack",
			Flags:   []Flag{{Name: "unpack"}},
			Default: string(pull.UnpackAuto),
			Usage:   "`mode` of unpacking: auto, true (all of it, or fail), false (nothing)",
			Group:   GroupSelection,
			Common:  true,
			bind: func(c *Config) value.Value {
				return value.OneOf(&c.Request.Unpack,
					value.WordOf(pull.UnpackAuto, "what has a file system"),
					value.WordOf(pull.UnpackAlways, "all of it, or fail"),
					value.WordOf(pull.UnpackNever, "nothing"))
			},
		},
		{
			Key:     "policy",
			Flags:   []Flag{{Name: "policy"}},
			Default: string(pull.PolicyAlways),
			Usage:   "`policy` for asking the registry: always, missing (not if the image is whole in the store), newer (but a registry that fails does not matter then), never",
			Group:   GroupSelection,
			Common:  true,
			bind: func(c *Config) value.Value {
				return value.OneOf(&c.Request.Policy,
					value.WordOf(pull.PolicyAlways, "ask the registry, fetch what is missing"),
					value.WordOf(pull.PolicyMissing, "no network if the image is whole"),
					value.WordOf(pull.PolicyNewer, "as always, but a registry that fails does not matter if the image is whole"),
					value.WordOf(pull.PolicyNever, "no network at all"))
			},
		},
		{
			Key:   "labels",
			Flags: []Flag{{Name: "label"}},
			Usage: "`key[=value]` on the image record; a key alone is key=true",
			Group: GroupSelection,
			bind:  func(c *Config) value.Value { return value.Labels(&c.Request.Labels) },
		},
		{
			Key:     "keep_layers",
			Default: "true",
			Usage:   "keep the blobs of layers that were unpacked",
			Group:   GroupSelection,
			bind:    func(c *Config) value.Value { return value.Not(&c.Request.DiscardLayers) },
		},
		{
			Flags: []Flag{{Name: "discard-layers"}},
			Usage: "do not keep the blobs of unpacked layers: the image runs, but cannot be pushed",
			Group: GroupSelection,
			bind:  func(c *Config) value.Value { return value.Bool(&c.Request.DiscardLayers) },
		},
		{
			Key:   "fail_fast",
			Flags: []Flag{{Name: "fail-fast"}},
			Usage: "resolve all references before anything is fetched, and leave the rest untried when one of them fails",
			Group: GroupSelection,
			bind:  func(c *Config) value.Value { return value.Bool(&c.FailFast) },
		},
		{
			Flags: []Flag{{Name: "keep-going"}},
			Usage: "pull the others when one of several references fails, as by default",
			Group: GroupSelection,
			bind:  func(c *Config) value.Value { return value.Bool(&c.KeepGoing) },
		},
	}...)
}

// listSettings name the images of a call besides its arguments.
func listSettings() []*Setting {
	return []*Setting{
		{
			Flags:  []Flag{{Name: "file", Short: "f"}},
			Usage:  "`list` of references, one in each line; of a folder, every list in it whose name ends in .conf; - is stdin",
			Group:  GroupSelection,
			Common: true,
			bind:   func(c *Config) value.Value { return value.Paths(&c.Lists.Files) },
		},
		{
			Flags:  []Flag{{Name: "from"}},
			Usage:  "`file` whose images are meant: Kubernetes resources, a Compose file or a Dockerfile; - is stdin",
			Group:  GroupSelection,
			Common: true,
			bind:   func(c *Config) value.Value { return value.Paths(&c.Lists.From) },
		},
		{
			Flags: []Flag{{Name: "key"}},
			Usage: "`path` of further images in resources of --from, such as spec.tasks[].image",
			Group: GroupSelection,
			bind:  func(c *Config) value.Value { return value.List(&c.Lists.Keys) },
		},
	}
}

// onlyTrue accepts what holds anyway and refuses the opposite.
type onlyTrue struct{ value.Value }

func (v onlyTrue) Set(raw any) error {
	if err := v.Value.Set(raw); err != nil {
		return err
	}
	if on, _ := v.Plain().(bool); on {
		return nil
	}
	return errors.New("content trust cannot be checked here; --verify bindir asks programs that do")
}
