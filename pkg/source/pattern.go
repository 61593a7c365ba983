package source

import (
	"fmt"
	"net"
	"path"
	"slices"
	"strings"

	"github.com/containerd/errdefs"
)

// CheckPattern refuses a pattern that fits nothing, because no name of a
// repository holds a scheme, a tag or a digest.
func CheckPattern(pattern string) error {
	_, repository, _ := strings.Cut(pattern, "/")
	if pattern == "" || strings.Contains(pattern, "://") || strings.ContainsAny(repository, ":@") {
		return fmt.Errorf("pattern %q fits nothing: want HOST or HOST/REPOSITORY, without scheme, tag and digest: %w", pattern, errdefs.ErrInvalidArgument)
	}
	return nil
}

// PatternHost returns the host that a pattern names outright, empty if it has a
// wildcard there.
func PatternHost(pattern string) string {
	host, _, _ := strings.Cut(pattern, "/")
	if strings.ContainsAny(host, wildcards) {
		return ""
	}
	return host
}

// FitPattern returns how closely a pattern fits ref, 0 if it does not: the more
// text it has before its first wildcard, the closer, and of two with as much
// text the one without a wildcard is closer. Any name of Docker Hub stands for
// it.
func FitPattern(pattern string, ref Ref) int {
	host, repository, _ := strings.Cut(whole(pattern), "/")
	full := CanonicalHost(host) + "/" + repository
	if !matchPattern(full, ref.Domain+"/"+ref.Path) {
		return 0
	}
	if literal := strings.IndexAny(full, wildcards); literal >= 0 {
		return 2*literal + 1
	}
	return 2*len(full) + 2
}

// MatchCredential reports whether a pattern is about the repository of a host
// as contacted, by any of the names of CredentialNames. A login is at no
// repository: with an empty one, any pattern for a part of the host will do.
func MatchCredential(pattern, host, repository string) bool {
	if repository == "" {
		pattern, _, _ = strings.Cut(pattern, "/")
	}
	return slices.ContainsFunc(CredentialNames(host), func(name string) bool {
		return matchPattern(whole(pattern), name+"/"+repository)
	})
}

// MatchImage compares an image with a pattern of kubelet's matchImages, as
// kubelet does: * stands for letters of one part of a host name, ports have to
// be equal, and a path is the beginning of a path.
func MatchImage(pattern, image string) bool {
	patternHost, patternPath, _ := strings.Cut(pattern, "/")
	imageHost, imagePath, _ := strings.Cut(image, "/")
	patternName, patternPort := splitPort(patternHost)
	imageName, imagePort := splitPort(imageHost)
	want, got := strings.Split(patternName, "."), strings.Split(imageName, ".")
	if patternPort != imagePort || len(want) != len(got) {
		return false
	}
	for i := range want {
		if ok, err := path.Match(want[i], got[i]); err != nil || !ok {
			return false
		}
	}
	return strings.HasPrefix(imagePath, patternPath)
}

func splitPort(host string) (name, port string) {
	name, port, err := net.SplitHostPort(host)
	if err != nil {
		return host, ""
	}
	return name, port
}

// wildcards of a pattern: * stands for any letters, slashes included, and ? for
// one.
const wildcards = "*?"

// whole lets a pattern without a slash, which is a host, stand for everything
// in it.
func whole(pattern string) string {
	if strings.Contains(pattern, "/") {
		return pattern
	}
	return pattern + "/*"
}

// matchPattern holds name, a host followed by a repository, against a pattern.
func matchPattern(pattern, name string) bool {
	star, mark := -1, 0 // the latest star, and the end of what it covers
	p, n := 0, 0
	for n < len(name) {
		switch {
		case p < len(pattern) && pattern[p] == '*':
			star, mark = p, n
			p++
		case p < len(pattern) && (pattern[p] == '?' || pattern[p] == name[n]):
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
