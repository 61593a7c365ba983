package source

import (
	"fmt"
	"regexp"
	"strings"

	"github.com/containerd/errdefs"
	"github.com/distribution/reference"
	"github.com/opencontainers/go-digest"

	"github.com/containerd-pull/containerd-pull/pkg/failure"
)

// refError is the error for a text that is no reference, with what to write in its
// place as far as that can be told. A user and a password in it are not repeated.
func refError(s string, err error) error {
	if scheme, rest, ok := cutUser(s); ok {
		return failure.New(errdefs.ErrInvalidArgument, "parsing reference %q: %w", scheme+"***@"+rest, err).
			WithHint("leave out the user and the password, which docker login or --user give: %s", strings.TrimSuffix(rest, "/"))
	}
	return failure.New(errdefs.ErrInvalidArgument, "parsing reference %q: %w", s, err).WithHint("%s", refHint(s))
}

// cutUser cuts a user, or a user and a password, out of a reference. A digest, which
// stands behind an @ as well, is never followed by a slash.
func cutUser(s string) (scheme, rest string, ok bool) {
	i := strings.LastIndex(s[:max(strings.LastIndex(s, "/"), 0)], "@")
	if begin := strings.Index(s, "://"); begin >= 0 {
		scheme = s[:begin+len("://")]
		if i < 0 && !isDigested(s) {
			i = strings.LastIndex(s, "@")
		}
	}
	if i < len(scheme) {
		return "", s, false
	}
	return scheme, s[i+1:], true
}

// isDigested reports whether s ends with an @ and something like a digest.
func isDigested(s string) bool {
	algorithm, _, _ := strings.Cut(s[strings.LastIndex(s, "@")+1:], ":")
	return digest.Algorithm(algorithm).Available()
}

// localTransports are what other tools write before the name of an image that is in
// no registry.
var localTransports = regexp.MustCompile(`^(oci|oci-archive|docker-archive|docker-daemon|containers-storage|dir|sif|ostree|tarball):`)

// IsOutsideRegistries reports whether s names an image as other tools name those that
// are in no registry, such as oci:folder. A host of such a name has a port.
func IsOutsideRegistries(s string) bool {
	return localTransports.MatchString(s) && !hostWithPort.MatchString(s)
}

var hostWithPort = regexp.MustCompile(`^[^:]*:[0-9]+/`)

// refHint looks for what was meant, the most telling sign first.
func refHint(s string) string {
	scheme, rest, isURL := strings.Cut(s, "://")
	switch {
	case strings.TrimSpace(s) == "":
		return "the argument is empty: is a variable not set?"
	case strings.TrimSpace(s) != s:
		return fmt.Sprintf("leave out the blanks: %q", strings.TrimSpace(s))
	case IsOutsideRegistries(s):
		return "that is an image outside of registries; ctr images import brings an archive into containerd"
	case isURL && rest != "":
		return fmt.Sprintf("leave out %s://: %s", scheme, strings.TrimSuffix(rest, "/"))
	case strings.ContainsAny(s[:1], "/.~"):
		return "a reference is the name of an image in a registry, not of a file: HOST/REPOSITORY:TAG"
	case strings.Contains(s, "@"):
		return digestHint(s)
	case isReference(lowerName(s)):
		return "repositories are in lower case: " + lowerName(s)
	}
	return shapeHint(s)
}

// shapeHint is about a reference without a digest.
func shapeHint(s string) string {
	switch {
	case strings.HasSuffix(s, ":"):
		return "the tag is empty: name one, or leave out the colon"
	case strings.HasSuffix(s, "/"):
		return "leave out the slash at the end: " + strings.TrimRight(s, "/")
	case len(s) == digest.SHA256.Size()*2:
		return "that is an ID, under which no registry knows an image: give the name, with @sha256:" + s
	}
	return "a reference is [HOST[:PORT]/]REPOSITORY[:TAG][@DIGEST], for example registry.example.com/team/app:1.2"
}

// digestHint is about what stands behind the @.
func digestHint(s string) string {
	name, dgst, _ := strings.Cut(s, "@")
	algorithm, hex, ok := strings.Cut(dgst, ":")
	size := digest.Algorithm(algorithm).Size() * 2
	switch {
	case name == "":
		return "the name of the image is missing before the @"
	case !ok || !digest.Algorithm(algorithm).Available():
		return "write the digest as sha256: and 64 hexadecimal digits"
	case len(hex) != size:
		return fmt.Sprintf("the digest has %d digits, and %s has %d: give all of them", len(hex), algorithm, size)
	case strings.ToLower(hex) != hex:
		return "the digits of a digest are in lower case: " + strings.ToLower(dgst)
	}
	return "write the reference as NAME[:TAG]@" + dgst
}

func isReference(s string) bool {
	_, err := reference.ParseNormalizedNamed(s)
	return err == nil
}

// lowerName is s with its repository in lower case; a tag keeps its case.
func lowerName(s string) string {
	slash := strings.LastIndex(s, "/")
	name, tag, ok := strings.Cut(s[slash+1:], ":")
	lower := strings.ToLower(s[:slash+1] + name)
	if !ok {
		return lower
	}
	return lower + ":" + tag
}
