package credential

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strings"

	"github.com/containerd/errdefs"

	"github.com/containerd-pull/containerd-pull/pkg/failure"
	"github.com/containerd-pull/containerd-pull/pkg/source"
)

// Values of Entry.Source.
const (
	SourceDockerConfig       = "docker-config"
	SourceAuthFile           = "authfile"
	SourceHelper             = "helper"
	SourcePassword           = "password"
	SourceIdentityToken      = "identity-token"
	SourceRegistryToken      = "registry-token"
	SourceCredentialProvider = "credential-provider"
	SourceAnonymous          = "anonymous"
)

// Entry is one configured credential. Which fields are used depends
// on Source.
type Entry struct {
	// Match are patterns of hosts, or of hosts and repositories, that the
	// entry is for; see Entry.isFor for an entry without them.
	Match []string
	// Profile is the one that the entry stands in, nil for an entry outside of
	// profiles.
	Profile *Profile
	Source  string
	// Path is Docker's configuration folder, or an auth file.
	Path   string
	Helper string // NAME of docker-credential-NAME

	// Of a password, one is set.
	Username        string
	Password        string
	PasswordFile    string
	PasswordEnv     string
	PasswordCommand []string

	// Of a token, one is set.
	IdentityToken string
	RegistryToken string
	TokenFile     string
	TokenEnv      string
	TokenCommand  []string

	// Config and BinDir are kubelet's CredentialProviderConfig and the folder
	// of the programs that it names.
	Config, BinDir string
}

// Validate reports what an entry lacks or has too much of.
func (e Entry) Validate() error {
	if _, err := source.ParsePatterns(e.Match); err != nil {
		return fmt.Errorf("match: %w", err)
	}
	given := e.given()
	allowed, ok := entryFields()[e.Source]
	if !ok {
		return failure.New(errdefs.ErrInvalidArgument, "there is no credential source %q", e.Source)
	}
	for _, name := range given {
		if !strings.Contains(" "+allowed+" ", " "+name+" ") {
			return failure.New(errdefs.ErrInvalidArgument, "%s does not belong to the credential source %q", name, e.Source)
		}
	}
	switch e.Source {
	case SourceHelper:
		return e.needs(e.Helper != "", "helper")
	case SourcePassword:
		return errors.Join(e.needs(e.Username != "", "username"), e.needs(len(given) == 2, "exactly one of password, password_file, password_env and password_command"))
	case SourceIdentityToken, SourceRegistryToken:
		return e.needs(len(given) == 1, "exactly one of token_file, token_env, token_command and the token itself")
	case SourceAuthFile:
		return e.needs(e.Path != "", "path")
	case SourceCredentialProvider:
		return errors.Join(e.needs(e.Config != "", "config"), e.needs(e.BinDir != "", "bin_dir"))
	}
	return nil
}

func (e Entry) needs(ok bool, what string) error {
	if ok {
		return nil
	}
	return failure.New(errdefs.ErrInvalidArgument, "the credential source %q needs %s", e.Source, what)
}

// SourceNames lists the values of Entry.Source.
func SourceNames() []string {
	return slices.Sorted(maps.Keys(entryFields()))
}

// entryFields are the fields that each source uses.
func entryFields() map[string]string {
	return map[string]string{
		SourceDockerConfig:       "path",
		SourceAuthFile:           "path",
		SourceHelper:             "helper",
		SourcePassword:           "username password password_file password_env password_command",
		SourceIdentityToken:      "identity_token token_file token_env token_command",
		SourceRegistryToken:      "registry_token token_file token_env token_command",
		SourceCredentialProvider: "config bin_dir",
		SourceAnonymous:          "",
	}
}

// given names the fields that are set, except Match and Source.
func (e Entry) given() []string {
	var names []string
	for _, f := range []struct {
		name string
		set  bool
	}{
		{"path", e.Path != ""}, {"helper", e.Helper != ""}, {"username", e.Username != ""},
		{"password", e.Password != ""}, {"password_file", e.PasswordFile != ""}, {"password_env", e.PasswordEnv != ""}, {"password_command", e.PasswordCommand != nil},
		{"identity_token", e.IdentityToken != ""}, {"registry_token", e.RegistryToken != ""},
		{"token_file", e.TokenFile != ""}, {"token_env", e.TokenEnv != ""}, {"token_command", e.TokenCommand != nil},
		{"config", e.Config != ""}, {"bin_dir", e.BinDir != ""},
	} {
		if f.set {
			names = append(names, f.name)
		}
	}
	return names
}

// Profile is what a credential inherits from the profile that it stands in.
type Profile struct {
	Name string
	// Match are the patterns of the profile.
	Match []source.Pattern
}

// IsFor reports whether ref is among what the profile is for. A profile without
// patterns, and no profile, are for everything.
func (p *Profile) IsFor(ref source.Ref) bool {
	return p == nil || len(p.Match) == 0 || slices.ContainsFunc(p.Match, func(m source.Pattern) bool {
		return m.Match(ref.Domain, ref.Path)
	})
}

// refuse returns why the profile's credentials are not for the host, empty if they
// may be. With a reference outside of the profile, the reference's own host, which
// the author of its name has chosen, gets none of them.
func (p *Profile) refuse(q question) string {
	if !q.isOwn() || p.IsFor(q.ref) {
		return ""
	}
	return fmt.Sprintf("the credentials of profile %s are for %s", p.Name, source.List(p.Match))
}

// entry is an Entry with its patterns parsed.
type entry struct {
	Entry
	match []source.Pattern
}

// entries are the configured sources.
type entries struct {
	list   []entry
	lookup func(string) (string, bool)
	home   string
}

func newEntries(list []Entry, o Options) (entries, error) {
	s := entries{lookup: o.Lookup, home: o.Home}
	for i, e := range list {
		if err := e.Validate(); err != nil {
			return entries{}, fmt.Errorf("credentials[%d]: %w", i, err)
		}
		match, err := source.ParsePatterns(e.Match)
		if err != nil {
			return entries{}, err
		}
		s.list = append(s.list, entry{e, match})
	}
	return s, nil
}

// credential asks the entries that are about the host. The ones that look into
// files of many hosts may have nothing for it.
func (s entries) credential(ctx context.Context, q question) (Credential, bool, error) {
	var withheld string
	for _, e := range s.list {
		ok, why := e.isFor(q)
		if !ok {
			withheld = cmp.Or(withheld, why)
			continue
		}
		cred, ok, err := s.ask(ctx, e.Entry, q)
		if ok || err != nil {
			cred.For = e.Reach()
			return cred, ok, err
		}
	}
	return Credential{Withheld: withheld}, false, nil
}

// isFor reports whether the entry belongs to the host, and if not, why that may
// surprise. It belongs to the hosts that its own patterns name, else to those of
// its profile. Without either, an entry outside of profiles belongs to the
// reference's own host. One in a profile then belongs to a host only if its source
// files credentials by their hosts: a secret that it holds itself would go wherever
// the author of an image name points it.
func (e entry) isFor(q question) (ok bool, why string) {
	if why := e.Profile.refuse(q); why != "" {
		return false, why
	}
	switch {
	case len(e.match) > 0:
		return slices.ContainsFunc(e.match, func(m source.Pattern) bool { return m.Match(q.host, q.ref.Path) }), ""
	case e.Source == SourceCredentialProvider:
		return true, "" // it says itself which images it is for
	case e.IsHomeless():
		return false, fmt.Sprintf("a credential of profile %s names no hosts: give it a match", e.Profile.Name)
	}
	return q.isOwn(), ""
}

// IsHomeless reports whether no host may get the entry: it holds a secret, stands
// in a profile, and neither of them has patterns.
func (e Entry) IsHomeless() bool {
	return len(e.Match) == 0 && e.Profile != nil && len(e.Profile.Match) == 0 && e.holdsSecret()
}

// IsOpen reports whether the author of a reference decides which host gets the
// entry: it holds a secret outside of profiles and has no patterns.
func (e Entry) IsOpen() bool {
	return len(e.Match) == 0 && e.Profile == nil && e.holdsSecret()
}

// holdsSecret reports whether the entry is one secret for whatever host it is
// given to, rather than a place where secrets are filed by their hosts.
func (e Entry) holdsSecret() bool {
	return slices.Contains([]string{SourcePassword, SourceIdentityToken, SourceRegistryToken}, e.Source)
}

// Reach lists in words the hosts that the entry may be sent to.
func (e Entry) Reach() string {
	switch {
	case len(e.Match) > 0:
		return strings.Join(e.Match, ", ")
	case e.IsHomeless():
		return "no host: neither it nor its profile has a match"
	case e.Source == SourceCredentialProvider:
		return "the images that its configuration names"
	case e.Profile != nil && len(e.Profile.Match) > 0:
		return source.List(e.Profile.Match)
	case !e.holdsSecret():
		return "the registry of the reference, as far as it is filed there"
	}
	return "the registry of the reference, whichever that is"
}

func (s entries) ask(ctx context.Context, e Entry, q question) (Credential, bool, error) {
	switch e.Source {
	case SourceDockerConfig:
		return s.dockerConfig(e).credential(ctx, q)
	case SourceAuthFile:
		return authFile{path: e.Path, name: "authfile " + e.Path, required: true}.credential(ctx, q)
	case SourceHelper:
		return e.helper(ctx, q)
	case SourceCredentialProvider:
		return providers{config: e.Config, binDir: e.BinDir}.credential(ctx, q)
	case SourceAnonymous:
		return Credential{Source: "configured as anonymous"}, true, nil
	}
	secret, from, err := e.secret(ctx, q, s.lookup)
	if err != nil {
		return Credential{}, false, unusable(e.secretHint(err), "%s from %s: %w", e.Source, from, err)
	}
	cred := Credential{Source: e.Source + " from " + from, Remedy: "correct the " + e.Source + " from " + from}
	switch e.Source {
	case SourcePassword:
		cred.Username, cred.Password = e.Username, secret
	case SourceIdentityToken:
		cred.IdentityToken = secret
	case SourceRegistryToken:
		cred.RegistryToken = secret
	}
	return cred, true, nil
}

func (s entries) dockerConfig(e Entry) authFile {
	dir := e.Path
	if dir == "" {
		dir, _ = s.lookup("DOCKER_CONFIG")
	}
	found := dir == ""
	if found {
		dir = filepath.Join(s.home, ".docker")
	}
	path := filepath.Join(dir, "config.json")
	return authFile{path: path, name: "docker config " + path, required: e.Path != "", found: found, tool: "docker"}
}

// helper asks for the host under Docker's name and, where that is another, its own.
// A helper that is configured for a host and does not know it is a failure.
func (e Entry) helper(ctx context.Context, q question) (Credential, bool, error) {
	for _, name := range slices.Compact([]string{q.dockersName(), source.CanonicalHost(q.host)}) {
		cred, ok, err := q.askHelper(ctx, "configuration", e.Helper, name)
		if ok || err != nil {
			return cred, ok, err
		}
	}
	return Credential{}, false, fmt.Errorf("credential helper %q knows nothing of %s", e.Helper, q.host)
}

// secret reads the secret of an entry from where it is kept.
func (e Entry) secret(ctx context.Context, q question, lookup func(string) (string, bool)) (secret, from string, err error) {
	switch {
	case e.PasswordFile+e.TokenFile != "":
		path := e.PasswordFile + e.TokenFile
		data, err := readNamed(path)
		secret, err := oneLine(data, err)
		return secret, "file " + path, err
	case e.PasswordEnv+e.TokenEnv != "":
		name := e.PasswordEnv + e.TokenEnv
		text, _ := lookup(name)
		secret, err := oneLine([]byte(text), nil)
		return secret, "environment " + name, err
	case e.PasswordCommand != nil || e.TokenCommand != nil:
		words := append(e.PasswordCommand, e.TokenCommand...)
		data, err := q.runWords(ctx, words)
		secret, err := oneLine(data, err)
		return secret, fmt.Sprintf("command %q", strings.Join(words[:min(1, len(words))], "")), err
	}
	return e.Password + e.IdentityToken + e.RegistryToken, "configuration", nil
}

// secretHint is what to do when the secret of the entry cannot be had.
func (e Entry) secretHint(err error) string {
	switch {
	case e.PasswordFile != "":
		return fileHint(err, e.PasswordFile, "password_file")
	case e.TokenFile != "":
		return fileHint(err, e.TokenFile, "token_file")
	case e.PasswordEnv+e.TokenEnv != "":
		return fmt.Sprintf("set the variable %s", e.PasswordEnv+e.TokenEnv)
	case e.PasswordCommand != nil || e.TokenCommand != nil:
		return "run the command by hand to see why it gives no secret"
	}
	return "the secret in the configuration is empty"
}

func (q question) runWords(ctx context.Context, words []string) ([]byte, error) {
	if len(words) == 0 {
		return nil, errors.New("no program to run")
	}
	path, err := findProgram(words[0])
	if err != nil {
		return nil, err
	}
	return q.shared.ask(ctx, program{path: path, args: words[1:], detached: q.detached})
}

// oneLine takes the end of a line off a secret. An empty one is a mistake.
func oneLine(data []byte, err error) (string, error) {
	if err != nil {
		return "", err
	}
	data = bytes.TrimRight(data, "\r\n")
	if len(data) == 0 {
		return "", errors.New("it is empty")
	}
	return string(data), nil
}
