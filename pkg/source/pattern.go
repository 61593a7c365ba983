package source

import (
	"fmt"
	"strings"

	"github.com/containerd/errdefs"
)

// CheckPattern refuses a pattern that fits nothing, because no name of a
// repository holds a scheme, a tag or a digest.
func CheckPattern(pattern string) error {
	_, path, _ := strings.Cut(pattern, "/")
	if pattern == "" || strings.Contains(pattern, "://") || strings.ContainsAny(path, ":@") {
		return fmt.Errorf("pattern %q fits nothing: want HOST or HOST/REPOSITORY, without scheme, tag and digest: %w", pattern, errdefs.ErrInvalidArgument)
	}
	return nil
}

// MatchPattern holds name, a host followed by a repository, against a pattern
// in which * stands for any letters, slashes included, and ? for one. A pattern
// without a slash is a host and stands for everything in it.
func MatchPattern(pattern, name string) bool {
	if !strings.Contains(pattern, "/") {
		pattern += "/*"
	}
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
