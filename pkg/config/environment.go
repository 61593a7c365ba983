package config

import (
	"fmt"
	"strings"

	"github.com/containerd-pull/containerd-pull/pkg/config/value"
)

// Variables that set no setting: the program sets them for those that it executes.
const (
	// EnvShims counts the shims that called each other.
	EnvShims = variablePrefix + "SHIMS"
	// EnvNamespaces are the descriptors by which nsenter found the namespaces of
	// rootless containerd. They stay open in the program that it executes.
	EnvNamespaces = variablePrefix + "NAMESPACES"
	// EnvOwnRoot says to the program in a user namespace that it is there for a root
	// of its user, and why the namespace knows only that user, if so.
	EnvOwnRoot = variablePrefix + "OWN_ROOT"
)

const variablePrefix = "CONTAINERD_PULL_"

// misspelt warns of the variables of an environment that have nearly the name of one
// that counts.
func misspelt(environ []string) []string {
	known := map[string]bool{EnvShims: true, EnvNamespaces: true, EnvOwnRoot: true}
	var names []string // without the prefix, which all have
	for _, s := range Table() {
		for _, name := range s.EnvNames() {
			known[name] = true
			if short, ok := strings.CutPrefix(name, variablePrefix); ok {
				names = append(names, short)
			}
		}
	}
	var warnings []string
	for _, entry := range environ {
		name, _, _ := strings.Cut(entry, "=")
		short, ok := strings.CutPrefix(name, variablePrefix)
		if !ok || known[name] {
			continue
		}
		if near := value.Nearest(short, names); near != "" {
			warnings = append(warnings, fmt.Sprintf("the variable %s means nothing here; did you mean %s?", name, variablePrefix+near))
		}
	}
	return warnings
}

// Variable is one of the environment, with its value as it may be shown.
type Variable struct{ Name, Value string }

// Proxies lists the variables that name proxies, and what is asked without one. None
// counts if a setting names the proxy.
func (s *Settings) Proxies(cfg *Config) []Variable {
	if cfg.Registry.Proxy != "" {
		return nil
	}
	var found []Variable
	for _, name := range []string{"HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY"} {
		for _, name := range []string{name, strings.ToLower(name)} {
			text := s.caller.Getenv(name)
			if text == "" {
				continue
			}
			if !strings.EqualFold(name, "NO_PROXY") {
				text = showProxy(text)
			}
			found = append(found, Variable{name, text})
			break
		}
	}
	return found
}

// showProxy masks the user and password of a proxy, whose scheme may be missing.
func showProxy(text string) string {
	bare := !strings.Contains(text, "://")
	if bare {
		text = "http://" + text
	}
	text = value.URL(&text).String()
	if bare {
		text = strings.TrimPrefix(text, "http://")
	}
	return text
}
