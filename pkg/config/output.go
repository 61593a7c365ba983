package config

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/containerd-pull/containerd-pull/pkg/pull"
)

// The values of Config.OutputStyle: whose lines the result is written in.
const (
	StylePlain   = "plain"
	StyleDocker  = "docker"
	StyleNerdctl = "nerdctl"
	StylePodman  = "podman"
	StyleCrictl  = "crictl"
)

// The values of Config.Print.
const (
	PrintRef        = "ref"        // canonical name
	PrintDigest     = "digest"     // of the target
	PrintID         = "id"         // digest of the config, for each platform
	PrintChainID    = "chainid"    // of the top layer, for each unpacked platform
	PrintRepoDigest = "repodigest" // repository@digest of the target
)

// The values of Config.Format: FormatJSON, or FormatTemplate and a template.
const (
	FormatJSON     = "json"
	FormatTemplate = "go-template="
)

// checkPrint refuses to print the chain of snapshots of what has none.
func (c *Config) checkPrint() error {
	if c.Request.Unpack != pull.UnpackNever {
		return nil
	}
	flag := "--print chainid"
	if c.PrintChainID {
		flag = "--print-chainid"
	} else if !slices.Contains(c.Print, PrintChainID) {
		return nil
	}
	return fmt.Errorf("%s has no effect with unpack = false: there is no chain of snapshots", flag)
}

// finishOutput fits the progress to the result: docker and nerdctl write theirs
// on stdout, so that nobody who has not asked wants ours beside it.
func (c *Config) finishOutput() {
	c.OutputStyle = cmp.Or(c.OutputStyle, StylePlain) // dropped beside --format
	stdout := c.OutputStyle == StyleDocker || c.OutputStyle == StyleNerdctl
	if c.Quiet || stdout && c.Origin("progress").Kind == BuiltIn {
		c.Progress = "none"
	}
}

// formatValue is a form of the result. Whether a template is right is not
// known here.
type formatValue string

func (v *formatValue) String() string { return string(*v) }
func (v *formatValue) plain() any     { return string(*v) }
func (v *formatValue) shape() shape   { return shape{Type: "string", Name: "form"} }

func (v *formatValue) set(raw any) error {
	s, err := one(raw)
	if err != nil {
		return err
	}
	if s != FormatJSON && !strings.HasPrefix(s, FormatTemplate) {
		return fmt.Errorf("got %q, want %s or %sTEMPLATE", s, FormatJSON, FormatTemplate)
	}
	*v = formatValue(s)
	return nil
}

// exitCodeValue is an exit code of the caller's choice; 0 is none.
type exitCodeValue int

func (v *exitCodeValue) plain() any   { return int64(*v) }
func (v *exitCodeValue) shape() shape { return shape{Type: "integer", Name: "code", Most: 255} }

func (v *exitCodeValue) String() string {
	if *v == 0 {
		return ""
	}
	return fmt.Sprint(int(*v))
}

func (v *exitCodeValue) set(raw any) error {
	n, err := integer(raw)
	if err != nil {
		return err
	}
	if n < 0 || n > int64(v.shape().Most) {
		return fmt.Errorf("got %d, want an exit code from 1 to 255, or 0 for none", n)
	}
	*v = exitCodeValue(n)
	return nil
}

// choicesValue is a list of a few words.
type choicesValue struct {
	field *[]string
	words []string
}

func (v *choicesValue) String() string { return strings.Join(*v.field, ",") }
func (v *choicesValue) plain() any     { return slices.Concat([]string{}, *v.field) }

func (v *choicesValue) shape() shape {
	return shape{Type: "array", Name: "list", Items: &shape{Type: "string", Words: v.words}}
}

func (v *choicesValue) set(raw any) error {
	all, err := list(raw)
	if err != nil {
		return err
	}
	for _, s := range all {
		if !slices.Contains(v.words, s) {
			return fmt.Errorf("got %q, want one of %s", s, strings.Join(v.words, ", "))
		}
	}
	*v.field = all
	return nil
}
