package config

import (
	"fmt"

	"github.com/containerd-pull/containerd-pull/pkg/config/value"
	"github.com/containerd-pull/containerd-pull/pkg/trust"
)

const keyVerifyMode = "verify.mode"

func verifyMode() *Setting {
	return &Setting{
		Key:     keyVerifyMode,
		Flags:   []Flag{{Name: "verify"}},
		Default: string(trust.ModeNone),
		Usage:   "`policy` that decides what may be pulled: none, pinned (only what has a digest), bindir (what all programs of verify.bin_dir allow); verifiers of the daemon decide as well",
		Group:   GroupVerification,
		Common:  true,
		bind: func(c *Config) value.Value {
			return modeValue{&c.Verify.Mode, value.OneOf(&c.Verify.Mode,
				value.WordOf(trust.ModeNone, "leave it to the verifiers of the daemon"),
				value.WordOf(trust.ModePinned, "only what has a digest"),
				value.WordOf(trust.ModeBindir, "what the programs of verify.bin_dir allow"))}
		},
	}
}

// verificationSettings have the names that the settings of containerd's
// image-verifier plugin have.
func verificationSettings() []*Setting {
	return []*Setting{
		verifyMode(),
		{
			Key:   "verify.digests",
			Usage: "`list` of REF=DIGEST: with pinned, REF is asked for by that digest",
			Group: GroupVerification,
			bind:  func(c *Config) value.Value { return pinsValue{value.List(&c.Verify.Digests)} },
		},
		{
			Key:     "verify.bin_dir",
			Default: "/opt/containerd/image-verifier/bin",
			Usage:   "`folder` of the programs that bindir asks",
			Group:   GroupVerification,
			bind:    func(c *Config) value.Value { return value.Path(&c.Verify.BinDir) },
		},
		{
			Key:     "verify.max_verifiers",
			Default: "10",
			Usage:   "`number` of programs that bindir asks, the first by name",
			Group:   GroupVerification,
			bind:    func(c *Config) value.Value { return value.Count(&c.Verify.MaxVerifiers) },
		},
		{
			Key:     "verify.per_verifier_timeout",
			Default: "10s",
			Usage:   "`time` for each of these programs",
			Group:   GroupVerification,
			bind:    func(c *Config) value.Value { return value.Duration(&c.Verify.PerVerifierTimeout) },
		},
		experimental(),
	}
}

// modeValue also accepts nerdctl's words for modes that are not built yet.
type modeValue struct {
	field *trust.Mode
	value.Value
}

func (v modeValue) Set(raw any) error {
	if word, err := value.ParseText(raw); err == nil && checksSignatures(trust.Mode(word)) {
		*v.field = trust.Mode(word)
		return nil
	}
	return v.Value.Set(raw)
}

func checksSignatures(mode trust.Mode) bool { return mode == "cosign" || mode == "notation" }

// noSignatures is why a mode that checks signatures is refused.
func (c *Config) noSignatures() error {
	if !c.Experimental {
		return fmt.Errorf("%s is experimental, and %s rules that out", c.Verify.Mode, c.Origin(keyExperimental).subject(experimental()))
	}
	return fmt.Errorf("%s is not built yet: a program that checks signatures can be asked with bindir", c.Verify.Mode)
}

const keyExperimental = "experimental"

// experimental is nerdctl's switch, with its meaning.
func experimental() *Setting {
	return &Setting{
		Key:     keyExperimental,
		Flags:   []Flag{{Name: keyExperimental}},
		Env:     []string{"NERDCTL_EXPERIMENTAL"},
		Default: "true",
		Usage:   "allow what nerdctl counts as experimental, which is to check signatures by cosign or notation",
		Group:   GroupVerification,
		bind:    func(c *Config) value.Value { return value.Bool(&c.Experimental) },
	}
}

// pinsValue is a list of REF=DIGEST.
type pinsValue struct{ value.Value }

func (v pinsValue) Set(raw any) error {
	l, err := value.ParseList(raw)
	if err != nil {
		return err
	}
	if _, err := trust.ParsePins(l); err != nil {
		return err
	}
	return v.Value.Set(raw)
}
