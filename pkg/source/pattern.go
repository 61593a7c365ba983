package source

import (
	"cmp"
	"fmt"
	"path"
	"regexp"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/containerd/errdefs"
	"golang.org/x/net/publicsuffix"

	"github.com/containerd-pull/containerd-pull/pkg/failure"
)

// Pattern stands for registries, or for a part of what they hold. Its host and
// its path are matched apart, so that no wildcard of the host reaches into the
// path, which the author of an image name chooses freely.
//
// In the host, * stands for any letters and ? for one, neither for a slash nor for
// a colon; without a port it means that of HTTPS, and HOST:* is any port. A host
// that is * alone is any name or address. In the path, * includes slashes.
type Pattern struct {
	// Host is canonical as CanonicalHost has it.
	Host string
	// Path is * where the pattern has none.
	Path string
}

const wildcards = "*?"

// ParsePattern parses HOST or HOST/REPOSITORY. It refuses a pattern that fits
// nothing, with which what it stands in would silently not apply: no name of a
// repository holds a scheme, a tag or a digest, or ends in a slash. Its errors quote
// text and are an errdefs.ErrInvalidArgument.
func ParsePattern(text string) (Pattern, error) {
	host, repository, hasPath := strings.Cut(text, "/")
	if !hasPath {
		repository = "*"
	}
	if !isHostPattern(host) || !pathPattern.MatchString(repository) {
		return Pattern{}, failure.New(errdefs.ErrInvalidArgument, "pattern %q fits nothing: want HOST or HOST/REPOSITORY, without scheme, tag and digest", text).
			WithHint("%s", patternHint(text))
	}
	return Pattern{CanonicalHost(host), repository}, nil
}

var (
	namePattern = regexp.MustCompile(`^[A-Za-z0-9._*?-]+$`)
	portPattern = regexp.MustCompile(`^[0-9*?]*$`)
	pathPattern = regexp.MustCompile(`^[A-Za-z0-9._*?-]+(/[A-Za-z0-9._*?-]+)*$`)
)

// isHostPattern reports whether some host fits a pattern.
func isHostPattern(host string) bool {
	name, port := splitHost(host)
	return (isAddress(name) || namePattern.MatchString(name)) && portPattern.MatchString(port)
}

// patternHint says how a pattern that fits nothing was probably meant.
func patternHint(text string) string {
	if strings.HasSuffix(text, "/") && len(text) > 1 {
		return fmt.Sprintf("for all repositories below it, write %q", text+"*")
	}
	if strings.ContainsFunc(text, func(r rune) bool { return r >= utf8.RuneSelf }) {
		return "names of hosts are in ASCII: write an international one in its xn-- form"
	}
	return "for example registry.example.com, registry.example.com:5000 or registry.example.com/team/*"
}

// ParsePatterns parses all of texts, or fails with what is wrong with the first
// that is wrong.
func ParsePatterns(texts []string) ([]Pattern, error) {
	list := make([]Pattern, len(texts))
	for i, text := range texts {
		var err error
		if list[i], err = ParsePattern(text); err != nil {
			return nil, err
		}
	}
	return list, nil
}

// String returns the pattern in the form that ParsePattern reads.
func (p Pattern) String() string {
	if p.Path == "*" {
		return p.Host
	}
	return p.Host + "/" + p.Path
}

// List returns patterns in words.
func List(patterns []Pattern) string {
	texts := make([]string, len(patterns))
	for i, p := range patterns {
		texts[i] = p.String()
	}
	return strings.Join(texts, ", ")
}

// Registry returns the host that the pattern names outright, empty if it has a
// wildcard there.
func (p Pattern) Registry() string {
	if strings.ContainsAny(p.Host, wildcards) {
		return ""
	}
	return p.Host
}

// MatchHost reports whether the pattern is about a part of the host or all of it.
func (p Pattern) MatchHost(host string) bool {
	return slices.ContainsFunc(HostAliases(host), p.matchName)
}

// matchName holds one canonical name of a host against the pattern.
func (p Pattern) matchName(host string) bool {
	wantName, wantPort := splitHost(p.Host)
	name, port := splitHost(host)
	if strings.Contains(name, ":") && wantName != "*" { // an address
		return name == wantName && matchPort(wantPort, port)
	}
	return matchText(wantName, name) && matchPort(wantPort, port)
}

func matchPort(pattern, port string) bool {
	if pattern == "" {
		return port == ""
	}
	if port == "" {
		port = defaultPort
	}
	return matchText(pattern, port)
}

// Match reports whether the pattern is about a repository of a host. A login is
// at no repository: with an empty one, the host decides.
func (p Pattern) Match(host, repository string) bool {
	return p.MatchHost(host) && (repository == "" || matchText(p.Path, repository))
}

// Fit returns how closely the pattern fits ref, 0 if it does not: the more text
// it has before its first wildcard, the closer, and of two with as much text the
// one without a wildcard is closer.
func (p Pattern) Fit(ref Ref) int {
	if !p.MatchHost(ref.Domain) || !matchText(p.Path, ref.Path) {
		return 0
	}
	full := p.Host + "/" + p.Path
	if literal := strings.IndexAny(full, wildcards); literal >= 0 {
		return 2*literal + 1
	}
	return 2*len(full) + 2
}

// Caveat explains what the pattern stands for where its author may have thought
// of something else; it is empty where there is only one way to read it.
func (p Pattern) Caveat() string {
	name, port := splitHost(p.Host)
	first := strings.HasPrefix(name, "*")
	at := "on " + cmp.Or(port, "the port of HTTPS alone")
	if port == "" {
		at += fmt.Sprintf("; %q is any port", joinHost(name, "*"))
	}
	switch {
	case p.fitsNoImage():
		return fmt.Sprintf("it fits no image: all repositories of %s have a name below an owner, the official ones below %s%s", DockerHub, DockerHub, "/"+officialImages)
	case name == "*":
		return "it stands for every registry, also for one that the author of an image name chooses, " + at
	case first && isPublicSuffix(strings.TrimPrefix(name[1:], ".")):
		return fmt.Sprintf("it stands for every host below %q, and these belong to different owners", strings.TrimPrefix(name[1:], "."))
	case first:
		return fmt.Sprintf("it stands for every host whose name ends in %q, %s", name[1:], at)
	case strings.HasSuffix(name, "*"):
		return fmt.Sprintf("it stands for every host whose name begins with %q, also in another domain", strings.TrimRight(name, "*"))
	case port == "" && (strings.ContainsAny(name, wildcards) || name == "localhost" || isAddress(name)):
		return "it stands for hosts " + at
	}
	return ""
}

// fitsNoImage reports whether the pattern has the short name of an image of Docker
// Hub, where that is typed rather than what it stands for.
func (p Pattern) fitsNoImage() bool {
	return p.Host == DockerHub && !strings.ContainsAny(p.Path, "/*")
}

// isPublicSuffix reports whether different owners register names below a name.
func isPublicSuffix(name string) bool {
	suffix, _ := publicsuffix.PublicSuffix(name)
	return suffix == name
}

// MatchImage compares an image with a pattern of kubelet's matchImages, as
// kubelet does: * stands for letters of one part of a host name, ports have to
// be equal, and a path is the beginning of a path. Any spelling of a host is that
// host.
func MatchImage(pattern, image string) bool {
	patternHost, patternPath, _ := strings.Cut(pattern, "/")
	imageHost, imagePath, _ := strings.Cut(image, "/")
	wantName, wantPort := splitHost(CanonicalHost(patternHost))
	name, port := splitHost(CanonicalHost(imageHost))
	return wantPort == port && matchLabels(wantName, name) && strings.HasPrefix(imagePath, patternPath)
}

// matchLabels holds the parts of a host name against a pattern, each for itself.
func matchLabels(pattern, name string) bool {
	want, got := strings.Split(pattern, "."), strings.Split(name, ".")
	if len(want) != len(got) {
		return false
	}
	for i := range want {
		if ok, err := path.Match(want[i], got[i]); err != nil || !ok {
			return false
		}
	}
	return true
}

// matchText holds a text against a pattern in which * stands for any bytes and ?
// for one.
func matchText(pattern, text string) bool {
	star, mark := -1, 0 // the latest star, and the end of what it covers
	p, n := 0, 0
	for n < len(text) {
		switch {
		case p < len(pattern) && pattern[p] == '*':
			star, mark = p, n
			p++
		case p < len(pattern) && (pattern[p] == '?' || pattern[p] == text[n]):
			p, n = p+1, n+1
		case star >= 0:
			mark++
			p, n = star+1, mark
		default:
			return false
		}
	}
	return strings.Trim(pattern[p:], "*") == ""
}
