package config

import (
	"fmt"
	"strings"

	"github.com/containerd-pull/containerd-pull/pkg/config/value"
)

// The values of Config.OutputStyle: the tool in whose lines the result is written.
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

// The values of Config.Format: FormatJSON, FormatTable alone or with a template for
// the columns, or a template, which FormatTemplate may begin.
const (
	FormatJSON     = "json"
	FormatTable    = "table"
	FormatTemplate = "go-template="
)

// CheckFormat refuses what is no form of a result. Whether a template is right
// shows later.
func CheckFormat(s string) error {
	table, _, _ := strings.Cut(s, " ")
	if s == FormatJSON || table == FormatTable || strings.HasPrefix(s, FormatTemplate) || strings.Contains(s, "{{") {
		return nil
	}
	return fmt.Errorf("got %q, want %s, %s or a template such as {{.name}}", s, FormatJSON, FormatTable)
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
	if err := CheckFormat(s); err != nil {
		return err
	}
	return v.Value.Set(raw)
}
