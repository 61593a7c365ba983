package registry

import (
	"context"
	"os"
	"path/filepath"

	"github.com/containerd-pull/containerd-pull/pkg/source"
)

// CredentialOptions say where credentials are looked for. The zero value looks
// where Docker and Podman keep those of the process's user.
type CredentialOptions struct {
	// Own is the credential of the command line. It is for the reference's
	// own host and for nobody else.
	Own *Credential
	// AuthFile is read in place of Docker's and Podman's files and variables.
	AuthFile string
	// Entries are what is configured: the first that matches a host counts.
	Entries []CredentialEntry
	// EntriesFile is asked after the Entries.
	EntriesFile string
	// Lookup reads the environment; nil reads that of the process.
	Lookup func(name string) (string, bool)
	// Detached runs helpers and other programs without a terminal, so that none
	// of them can ask anybody for anything.
	Detached bool
}

// NewCredentials looks for credentials in the order of the options' fields,
// then in DOCKER_AUTH_CONFIG, REGISTRY_AUTH_FILE, Docker's configuration and
// Podman's. Each host is asked for on its own, and the first source that has
// something for it counts.
//
// A source that is configured for a host and fails is an error, never an
// anonymous request.
func NewCredentials(o CredentialOptions) (Credentials, error) {
	if o.Lookup == nil {
		o.Lookup = os.LookupEnv
	}
	s := credentialSources{}
	if o.Own != nil {
		s = append(s, ownHost{*o.Own})
	}
	if o.AuthFile != "" {
		s = append(s, authFile{path: o.AuthFile, name: "authfile " + o.AuthFile, must: true})
	}
	entries, err := newEntries(o.Entries, o.Lookup)
	if err != nil {
		return nil, err
	}
	s = append(s, entries)
	if o.EntriesFile != "" {
		s = append(s, authFile{path: o.EntriesFile, name: "authfile " + o.EntriesFile, must: true})
	}
	if o.AuthFile == "" {
		s = append(s, usersOwn(o.Lookup)...)
	}
	if o.Detached {
		return func(ctx context.Context, host string, ref source.Ref) (Credential, error) {
			return s.find(context.WithValue(ctx, detachedKey{}, true), host, ref)
		}, nil
	}
	return s.find, nil
}

// detachedKey marks a context in which programs run without a terminal.
type detachedKey struct{}

// usersOwn are the places where Docker and Podman keep credentials.
func usersOwn(lookup func(string) (string, bool)) credentialSources {
	env := func(name string) string { text, _ := lookup(name); return text }
	s := credentialSources{dockerVariable{env("DOCKER_AUTH_CONFIG")}}
	if path := env("REGISTRY_AUTH_FILE"); path != "" {
		s = append(s, authFile{path: path, name: "REGISTRY_AUTH_FILE " + path, must: true})
	}
	docker := env("DOCKER_CONFIG")
	if docker == "" {
		docker = under(env("HOME"), ".docker")
	}
	if docker != "" {
		path := filepath.Join(docker, "config.json")
		s = append(s, authFile{path: path, name: "docker config " + path})
	}
	config := env("XDG_CONFIG_HOME")
	if config == "" {
		config = under(env("HOME"), ".config")
	}
	for _, dir := range []string{env("XDG_RUNTIME_DIR"), config} {
		if dir != "" {
			path := filepath.Join(dir, "containers/auth.json")
			s = append(s, authFile{path: path, name: "podman's " + path})
		}
	}
	return s
}

func under(dir, name string) string {
	if dir == "" {
		return ""
	}
	return filepath.Join(dir, name)
}

// credentialSource may know the credential of a host. ok is false if it has
// nothing for it; with ok, a zero Credential stands for an anonymous request.
type credentialSource interface {
	credential(ctx context.Context, q question) (cred Credential, ok bool, err error)
}

// question is whose credential is wanted, and for what.
type question struct {
	host string // as contacted
	ref  source.Ref
}

// own reports whether the host is the reference's own.
func (q question) own() bool { return source.SameHost(q.host, q.ref.Domain) }

// credentialSources are sources in the order of asking.
type credentialSources []credentialSource

func (s credentialSources) find(ctx context.Context, host string, ref source.Ref) (Credential, error) {
	q := question{host, ref}
	for _, source := range s {
		cred, ok, err := source.credential(ctx, q)
		if err != nil {
			return Credential{}, err
		}
		if ok {
			return cred, nil
		}
	}
	return Credential{}, nil
}

// OwnHost gives cred to the reference's own host and to nobody else.
func OwnHost(cred Credential) Credentials {
	return credentialSources{ownHost{cred}}.find
}

// ownHost is the credential of the command line. No mirror has a right to it,
// even if it serves the same image.
type ownHost struct{ cred Credential }

func (o ownHost) credential(_ context.Context, q question) (Credential, bool, error) {
	return o.cred, q.own(), nil
}
