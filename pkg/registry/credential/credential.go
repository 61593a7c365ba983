// Package credential finds the credential for one host: on the command line, in
// the configuration, in the files and variables of Docker and Podman, from
// Docker's credential helpers, and from kubelet's credential providers.
//
// It contacts no registry, and it gives a credential to no host but those that it
// belongs to (Entry.isFor); pkg/registry decides when a host is asked for one. Which
// names and patterns stand for a host is in pkg/source. Errors and
// Credential.Source never hold a secret.
//
// Start reading at New, then at the kinds of sources: docker.go, entry.go and
// kubelet.go. exec.go runs programs, shared.go each once in a call.
package credential

import (
	"cmp"
	"context"
	"encoding/base64"
	"os"
	"path/filepath"

	"github.com/containerd-pull/containerd-pull/pkg/source"
)

// Finder finds the credential for one host, as contacted, and ref. The zero
// Credential means that there is none, so that the host is asked anonymously. An
// error ends the pull: what is configured is never silently anonymous.
type Finder func(ctx context.Context, host string, ref source.Ref) (Credential, error)

// Credential is what a Finder found. At most one of Password, IdentityToken and
// RegistryToken is set.
type Credential struct {
	Username, Password string
	// IdentityToken is a refresh token for the token server.
	IdentityToken string
	// RegistryToken is sent to the registry as it is.
	RegistryToken string
	// Source says where it was found; it never holds the secret.
	Source string
	// Remedy says what to do when a registry does not accept it.
	Remedy string
	// For says which hosts it may be sent to.
	For string
	// Withheld says why a host for which nothing was found does not get what is
	// configured; it is empty where nothing surprises.
	Withheld string
}

// IsZero reports whether nothing was found.
func (c Credential) IsZero() bool {
	c.Withheld = ""
	return c == Credential{}
}

// IsSecret reports whether there is anything to send.
func (c Credential) IsSecret() bool { return c.Password+c.IdentityToken+c.RegistryToken != "" }

// Why is Withheld as the end of a sentence, empty if that is.
func (c Credential) Why() string {
	if c.Withheld == "" {
		return ""
	}
	return ": " + c.Withheld
}

// BasicAuth encodes name and password as they follow "Basic " in a header.
func (c Credential) BasicAuth() string {
	return base64.StdEncoding.EncodeToString([]byte(c.Username + ":" + c.Password))
}

// Options say where credentials are looked for. The zero value looks
// where Docker and Podman keep those of the process's user.
type Options struct {
	// Own is the credential of the command line. It is for the reference's own
	// host alone.
	Own *Credential
	// AuthFile is read in place of Docker's and Podman's files and variables.
	AuthFile string
	// Entries are what is configured: the first that matches a host counts.
	Entries []Entry
	// EntriesFile is asked after the Entries. It stands in FileProfile, nil if that
	// is none.
	EntriesFile string
	FileProfile *Profile
	// Lookup reads the environment; nil reads that of the process.
	Lookup func(name string) (string, bool)
	// Home is the folder of the user, empty if there is none.
	Home string
	// Shared is what this Finder shares with others of the same call; nil stands
	// for one of its own.
	Shared *Shared
	// Detached runs helpers and other programs without a terminal, so that none
	// of them can ask a person for anything.
	Detached bool
}

// New returns a Finder that looks for credentials in the order of the options' fields,
// then in DOCKER_AUTH_CONFIG, REGISTRY_AUTH_FILE, Docker's configuration and
// Podman's. Each host is asked for on its own, and the first source that has
// something for it counts.
//
// A source that is configured for a host and fails is an error, never an
// anonymous request.
func New(o Options) (Finder, error) {
	if o.Lookup == nil {
		o.Lookup = os.LookupEnv
	}
	if o.Shared == nil {
		o.Shared = &Shared{}
	}
	s := sources{}
	if o.Own != nil {
		s = append(s, ownHost{*o.Own})
	}
	if o.AuthFile != "" {
		s = append(s, authFile{path: o.AuthFile, name: "authfile " + o.AuthFile, required: true})
	}
	entries, err := newEntries(o.Entries, o)
	if err != nil {
		return nil, err
	}
	s = append(s, entries)
	if o.EntriesFile != "" {
		s = append(s, profileFile{authFile{path: o.EntriesFile, name: "authfile " + o.EntriesFile, required: true}, o.FileProfile})
	}
	if o.AuthFile == "" {
		s = append(s, usersOwn(o)...)
	}
	return func(ctx context.Context, host string, ref source.Ref) (Credential, error) {
		return s.find(ctx, question{host, ref, o.Detached, o.Shared})
	}, nil
}

// usersOwn are the places where Docker and Podman keep credentials.
func usersOwn(o Options) sources {
	env := func(name string) string { text, _ := o.Lookup(name); return text }
	s := sources{dockerVariable{env("DOCKER_AUTH_CONFIG")}}
	if path := env("REGISTRY_AUTH_FILE"); path != "" {
		s = append(s, authFile{path: path, name: "REGISTRY_AUTH_FILE " + path, required: true})
	}
	docker := env("DOCKER_CONFIG")
	found := docker == ""
	if found {
		docker = under(o.Home, ".docker")
	}
	if docker != "" {
		path := filepath.Join(docker, "config.json")
		s = append(s, authFile{path: path, name: "docker config " + path, found: found, tool: "docker"})
	}
	config := env("XDG_CONFIG_HOME")
	if config == "" {
		config = under(o.Home, ".config")
	}
	for _, dir := range []string{env("XDG_RUNTIME_DIR"), config} {
		if dir != "" {
			path := filepath.Join(dir, "containers/auth.json")
			s = append(s, authFile{path: path, name: "podman's " + path, found: true, tool: "podman"})
		}
	}
	return s
}

// Searched lists the files in which a Finder would search by itself, rather than
// because they were named.
func (o Options) Searched() []string {
	if o.AuthFile != "" {
		return nil
	}
	var paths []string
	for _, place := range usersOwn(o) {
		if f, ok := place.(authFile); ok && f.found {
			paths = append(paths, f.path)
		}
	}
	return paths
}

func under(dir, name string) string {
	if dir == "" {
		return ""
	}
	return filepath.Join(dir, name)
}

// place may hold the credential of a host. ok is false if it has nothing for it;
// with ok, a zero Credential stands for an anonymous request.
type place interface {
	credential(ctx context.Context, q question) (cred Credential, ok bool, err error)
}

// question is whose credential is wanted, for what, and how it may be found.
type question struct {
	host     string // as contacted
	ref      source.Ref
	detached bool // programs run without a terminal
	shared   *Shared
}

// isOwn reports whether the host is the reference's own.
func (q question) isOwn() bool { return source.SameHost(q.host, q.ref.Domain) }

// sources are places in the order of asking.
type sources []place

func (s sources) find(ctx context.Context, q question) (Credential, error) {
	var withheld string
	for _, from := range s {
		cred, ok, err := from.credential(ctx, q)
		if err != nil {
			return Credential{}, err
		}
		if ok {
			return cred, nil
		}
		withheld = cmp.Or(withheld, cred.Withheld)
	}
	return Credential{Withheld: withheld}, nil
}

// ownHost is the credential of the command line. No mirror has a right to it,
// even if it serves the same image.
type ownHost struct{ cred Credential }

func (o ownHost) credential(_ context.Context, q question) (Credential, bool, error) {
	o.cred.For, o.cred.Remedy = q.ref.TypedHost(), "check the user and the password that were given"
	return o.cred, q.isOwn(), nil
}

// profileFile is an auth file that a profile names.
type profileFile struct {
	file    authFile
	profile *Profile
}

func (f profileFile) credential(ctx context.Context, q question) (Credential, bool, error) {
	if why := f.profile.refuse(q); why != "" {
		return Credential{Withheld: why}, false, nil
	}
	return f.file.credential(ctx, q)
}
