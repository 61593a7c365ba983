package source

import (
	// The hash functions behind the digest algorithms that ValidDigest accepts.
	_ "crypto/sha256"
	_ "crypto/sha512"
	"strings"

	"github.com/containerd/errdefs"
	"github.com/distribution/reference"
	"github.com/opencontainers/go-digest"

	"github.com/containerd-pull/containerd-pull/pkg/failure"
)

// Ref is a parsed reference. Short names are those of Docker: alpine is
// docker.io/library/alpine:latest.
type Ref struct {
	// Name is the name under which the image is registered: with its tag, or with
	// its digest if it was given no tag. Its host is spelled as it was typed,
	// because that is what containerd's other clients register and look for: a pod
	// whose image is r.example.com:443/app is started from a record of that name.
	// Whatever decides something, pins included, compares Canonical.
	Name string
	// Domain is the registry in the form of CanonicalHost, docker.io for short
	// names. Requests go there.
	Domain string
	// Path is the repository in that registry, for example library/alpine.
	Path string
	// Tag is empty for a reference by digest alone.
	Tag string
	// Digest is the digest that was asked for, empty if there was none.
	Digest digest.Digest
}

// RegistryRef stands for a registry as a whole, in questions about no repository.
func RegistryRef(host string) Ref {
	return Ref{Name: host, Domain: CanonicalHost(host)}
}

// ParseRef parses what a user types. Every error is an
// errdefs.ErrInvalidArgument that quotes s, and says what was probably meant.
func ParseRef(s string) (Ref, error) {
	named, err := reference.ParseNormalizedNamed(s)
	if err != nil {
		return Ref{}, refError(s, err)
	}
	if reference.IsNameOnly(named) {
		named = reference.TagNameOnly(named)
	}
	ref := Ref{Name: reference.TrimNamed(named).String(), Domain: CanonicalHost(reference.Domain(named)), Path: reference.Path(named)}
	if t, ok := named.(reference.Tagged); ok {
		ref.Tag = t.Tag()
	}
	if d, ok := named.(reference.Digested); ok {
		ref.Digest = d.Digest()
		if err := ValidDigest(ref.Digest); err != nil {
			return Ref{}, refError(s, err)
		}
	}
	ref.Name = ref.name()
	ref.Path = repositoryAt(ref.Domain, ref.Path)
	return ref, nil
}

// IsShort reports whether the name of an image has no registry in front, as the parser
// tells a registry from a part of a path.
func IsShort(s string) bool {
	first, _, ok := strings.Cut(s, "/")
	return !ok || !strings.ContainsAny(first, ".:") && first != "localhost" && strings.ToLower(first) == first
}

// officialImages is where Docker Hub has the images of short names.
const officialImages = "library/"

// repositoryAt is the one name of a repository. The parser completes short names
// only where Docker Hub is spelled as it knows it.
func repositoryAt(domain, path string) string {
	if domain == DockerHub && !strings.Contains(path, "/") {
		return officialImages + path
	}
	return path
}

// name leaves out a digest beside a tag: the digest says which image is meant,
// the tag how it is called.
func (r Ref) name() string {
	if r.Tag != "" {
		r.Digest = ""
	}
	return r.String()
}

// TypedHost returns the registry as it was typed, for what users and other
// clients read. It decides nothing.
func (r Ref) TypedHost() string {
	if host, _, ok := strings.Cut(r.Name, "/"); ok {
		return host
	}
	return r.Domain
}

// Canonical returns the Name that all spellings of the registry have in common.
func (r Ref) Canonical() string {
	r.Name = ""
	return r.name()
}

// String returns the whole reference, with its tag and its digest.
func (r Ref) String() string {
	return r.complete(r.TypedHost() + "/" + r.Path)
}

// Familiar returns the short form that Docker's tools print.
func (r Ref) Familiar() string {
	named, err := reference.WithName(r.TypedHost() + "/" + r.Path)
	if err != nil { // a Ref that was not made by ParseRef
		return r.String()
	}
	return r.complete(reference.FamiliarName(named))
}

func (r Ref) complete(name string) string {
	if r.Tag != "" {
		name += ":" + r.Tag
	}
	if r.Digest != "" {
		name += "@" + r.Digest.String()
	}
	return name
}

// Object is the last part of the URL that asks for the manifest. A digest
// beside a tag wins, because it is the stronger wish.
func (r Ref) Object() string {
	if r.Digest != "" {
		return r.Digest.String()
	}
	return r.Tag
}

// ValidDigest checks the grammar of a digest before it becomes a URL, a path
// or a key: sha256, sha384 or sha512 and the right number of lower-case
// hexadecimal digits. Every error is an errdefs.ErrInvalidArgument.
func ValidDigest(d digest.Digest) error {
	if err := d.Validate(); err != nil {
		return failure.New(errdefs.ErrInvalidArgument, "digest %q: %w", string(d), err)
	}
	return nil
}
