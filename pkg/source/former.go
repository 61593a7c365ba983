package source

import (
	"fmt"
	"strings"
)

// Former is what the text of a pattern meant in the first release, which held whole
// names against patterns letter by letter.
type Former struct {
	Was, Now string // in words
	Write    string // what to write instead, or to be clear
}

// FormerMeaning returns what a pattern meant in the first release, if it means
// another thing now.
func FormerMeaning(text string) (Former, bool) {
	p, err := ParsePattern(text)
	if err != nil {
		return Former{}, false
	}
	name, port := splitHost(p.Host)
	host, _, _ := strings.Cut(text, "/")
	switch {
	case strings.ContainsAny(name, wildcards):
		return Former{
			Was:   "a wildcard of the host stood for slashes and ports as well, so that the author of an image name could choose another host that fits",
			Now:   "it stays within the name of the host, " + p.ports(),
			Write: p.withPorts(),
		}, true
	case host != p.Host:
		return Former{
			Was:   fmt.Sprintf("only references that spelled the host %q", host),
			Now:   fmt.Sprintf("every spelling of %s", joinHost(name, port)),
			Write: fmt.Sprintf("%q", p.String()),
		}, true
	}
	return Former{}, false
}

func (p Pattern) ports() string {
	switch _, port := splitHost(p.Host); port {
	case "":
		return "on the port of HTTPS"
	case "*":
		return "on any port"
	default:
		return "on port " + port
	}
}

// withPorts lists how to write the pattern for the port of HTTPS and for any.
func (p Pattern) withPorts() string {
	name, port := splitHost(p.Host)
	if port != "" {
		return fmt.Sprintf("%q, if that is what is meant", p.String())
	}
	anyPort := Pattern{joinHost(name, "*"), p.Path}
	return fmt.Sprintf("%q for the port of HTTPS, %q for any port", p.String(), anyPort.String())
}
