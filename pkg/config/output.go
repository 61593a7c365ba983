package config

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/containerd-pull/containerd-pull/pkg/config/value"
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

// formatValue is a form of the result. Whether its template is right shows when
// the result is written.
type formatValue struct{ value.Value }

func (v formatValue) Shape() value.Shape { return value.Shape{Type: "string", Name: "form"} }

func (v formatValue) Set(raw any) error {
	s, err := value.ParseText(raw)
	if err != nil {
		return err
	}
	if s != FormatJSON && !strings.HasPrefix(s, FormatTemplate) {
		return fmt.Errorf("got %q, want %s or %sTEMPLATE", s, FormatJSON, FormatTemplate)
	}
	return v.Value.Set(raw)
}
