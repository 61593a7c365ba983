package credential

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"github.com/containerd/errdefs"
	"github.com/docker/docker-credential-helpers/credentials"

	"github.com/containerd-pull/containerd-pull/pkg/failure"
	"github.com/containerd-pull/containerd-pull/pkg/source"
	"github.com/containerd-pull/containerd-pull/pkg/userfile"
)

// LoginFile is the file in which a user's logins are kept, in Docker's form: the
// stated AuthFile, else Docker's configuration. A helper that it names keeps the
// secret in its place.
type LoginFile struct {
	Path string
	// Readers are the programs that look for credentials there.
	Readers []string

	file   authFile
	shared *Shared
}

// LoginFile returns the file of the user, which need not exist. It is an error if
// there is no place for one.
func (o Options) LoginFile() (*LoginFile, error) {
	l := &LoginFile{shared: o.Shared}
	if l.shared == nil {
		l.shared = &Shared{}
	}
	if o.AuthFile != "" {
		l.file = authFile{path: o.AuthFile, name: "authfile " + o.AuthFile}
		l.Readers = []string{"containerd-pull --authfile", "podman --authfile"}
	} else {
		for _, place := range usersOwn(o) {
			if f, ok := place.(authFile); ok && f.tool == "docker" {
				l.file = f
			}
		}
		l.Readers = []string{"containerd-pull", "docker", "nerdctl", "podman"}
	}
	if l.Path = l.file.path; l.Path == "" {
		return nil, failure.New(errdefs.ErrFailedPrecondition, "no HOME to keep a login in").WithHint("name a file with --authfile, or set DOCKER_CONFIG")
	}
	return l, nil
}

// Store keeps the password of a registry: with the helper of the file, whose name
// it returns, else in the file itself. A helper that fails leaves the file as it
// was. The file is replaced as a whole, and what else is in it stays.
func (l *LoginFile) Store(ctx context.Context, registry string, cred Credential) (helper string, err error) {
	d, err := l.read()
	if err != nil {
		return "", err
	}
	q := l.question(registry)
	name := q.dockersName()
	entry := dockerAuth{Auth: cred.BasicAuth()}
	helper, server := d.config.helperOf(q)
	if helper != "" {
		entry = dockerAuth{}
	}
	for _, key := range d.filed(q) {
		delete(d.auths, key)
	}
	if err := d.put(name, entry); err != nil {
		return "", err
	}
	data, err := d.bytes()
	if err != nil {
		return "", err
	}
	if l.file.tool != "" {
		if err := userfile.MakeFolder(l.Path); err != nil {
			return "", err
		}
	}
	if err := userfile.CheckWrite(l.Path); err != nil {
		return "", err
	}
	if helper != "" {
		if err := q.storeWith(ctx, helper, server, cred); err != nil {
			return "", err
		}
	}
	return helper, l.write(d, data)
}

// Erased is what Erase did.
type Erased struct {
	// Removed reports whether there was a credential of the registry.
	Removed bool
	// Helper is the program that had the secret, empty if the file had it.
	Helper string
	// Left are the entries for parts of the registry, which stay.
	Left []string
}

// Erase removes the credential of a registry from the file and from the helper
// that the file names.
func (l *LoginFile) Erase(ctx context.Context, registry string) (Erased, error) {
	d, err := l.read()
	if err != nil {
		return Erased{}, err
	}
	q := l.question(registry)
	done := Erased{Left: d.parts(q)}
	keys := d.filed(q)
	helper, server := d.config.helperOf(q)
	if helper != "" {
		names := append([]string{server}, keys...)
		slices.Sort(names)
		for _, name := range slices.Compact(names) {
			had, err := q.eraseWith(ctx, helper, name)
			if err != nil {
				return Erased{}, err
			}
			if had {
				done.Removed, done.Helper = true, helper
			}
		}
	}
	if len(keys) == 0 {
		return done, nil
	}
	for _, key := range keys {
		if entry := d.config.Auths[key]; entry != (dockerAuth{}) {
			done.Removed = true
		}
		delete(d.auths, key)
	}
	data, err := d.bytes()
	if err != nil {
		return Erased{}, err
	}
	return done, l.write(d, data)
}

func (l *LoginFile) question(registry string) question {
	ref := source.RegistryRef(registry)
	return question{host: ref.Domain, ref: ref, shared: l.shared}
}

// loginDocument is the file as it was found: what is not read of it is kept as it
// is.
type loginDocument struct {
	before []byte
	config dockerConfig
	all    map[string]json.RawMessage
	auths  map[string]json.RawMessage
}

func (l *LoginFile) read() (*loginDocument, error) {
	data, err := l.file.read()
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ENOTDIR) {
		err = nil
	}
	if err != nil {
		return nil, fmt.Errorf("reading %s: %w", l.file.name, err)
	}
	d := &loginDocument{before: data, all: map[string]json.RawMessage{}, auths: map[string]json.RawMessage{}}
	data = bytes.TrimSpace(bytes.TrimPrefix(data, []byte(byteOrderMark)))
	if len(data) > 0 && d.parse(data) != nil {
		return nil, unusable("correct or remove it", "%s is not JSON in the form of Docker's config.json", l.file.name)
	}
	return d, nil
}

// parse parts data into the credentials, in whatever case their key is spelled, and
// the rest.
func (d *loginDocument) parse(data []byte) error {
	if err := errors.Join(json.Unmarshal(data, &d.config), json.Unmarshal(data, &d.all)); err != nil {
		return err
	}
	for key, raw := range d.all {
		if !strings.EqualFold(key, authsKey) {
			continue
		}
		if err := json.Unmarshal(raw, &d.auths); err != nil {
			return err
		}
		if d.auths == nil { // null
			d.auths = map[string]json.RawMessage{}
		}
		delete(d.all, key)
	}
	return nil
}

// authsKey is where the file has credentials.
const authsKey = "auths"

// filed lists the keys of the file that stand for the registry as a whole.
func (d *loginDocument) filed(q question) (keys []string) {
	for _, key := range slices.Sorted(maps.Keys(d.auths)) {
		if path, ok := q.filedUnder(key); ok && path == "" {
			keys = append(keys, key)
		}
	}
	return keys
}

// parts lists the keys of the file that stand for repositories of the registry.
func (d *loginDocument) parts(q question) (keys []string) {
	for _, key := range slices.Sorted(maps.Keys(d.auths)) {
		host, path, _ := strings.Cut(key, "/")
		if path != "" && !strings.Contains(key, "://") && source.SameHost(host, q.host) && path != "v1/" && path != "v2/" {
			keys = append(keys, key)
		}
	}
	return keys
}

func (d *loginDocument) put(name string, entry dockerAuth) error {
	raw := json.RawMessage("{}")
	if entry.Auth != "" {
		text, err := json.Marshal(map[string]string{"auth": entry.Auth})
		if err != nil {
			return fmt.Errorf("writing the entry of %s: %w", name, err)
		}
		raw = text
	}
	d.auths[name] = raw
	return nil
}

// bytes is the document in the form in which Docker writes it.
func (d *loginDocument) bytes() ([]byte, error) {
	auths, err := encoded(d.auths)
	if err != nil {
		return nil, err
	}
	all := map[string]json.RawMessage{}
	maps.Copy(all, d.all)
	all[authsKey] = auths
	return encoded(all)
}

func encoded(v any) ([]byte, error) {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "\t")
	if err := enc.Encode(v); err != nil {
		return nil, errors.New("writing credentials as JSON failed") // the cause could repeat them
	}
	return b.Bytes(), nil
}

// write replaces the file unless nothing changes. Others must not read it.
func (l *LoginFile) write(d *loginDocument, data []byte) error {
	if bytes.Equal(data, d.before) {
		return nil
	}
	return userfile.Write(l.Path, data, 0o600)
}

// helperOf returns the program that keeps the secret of a registry, and under which
// name; both are empty if the file does it.
func (c dockerConfig) helperOf(q question) (helper, server string) {
	for _, key := range slices.Sorted(maps.Keys(c.CredHelpers)) {
		if path, ok := q.filedUnder(key); ok && path == "" && c.CredHelpers[key] != "" {
			return c.CredHelpers[key], key
		}
	}
	if c.CredsStore != "" {
		return c.CredsStore, q.dockersName()
	}
	return "", ""
}

// storeWith has a helper keep a credential. The secret goes through its standard
// input.
func (q question) storeWith(ctx context.Context, helper, server string, cred Credential) error {
	text, err := json.Marshal(credentials.Credentials{ServerURL: server, Username: cred.Username, Secret: cred.Password}) //nolint:gosec // the helper's protocol
	if err != nil {
		return errors.New("writing the credential as JSON failed") // the cause could repeat it
	}
	return q.tell(ctx, helper, "store", server, string(text), cred.Password, base64.StdEncoding.EncodeToString([]byte(cred.Password)), cred.BasicAuth())
}

// eraseWith has a helper forget what it keeps of a server, and reports whether that
// was anything.
func (q question) eraseWith(ctx context.Context, helper, server string) (bool, error) {
	_, ok, err := q.runHelper(ctx, helper, server)
	if err != nil || !ok {
		return false, err
	}
	return true, q.tell(ctx, helper, "erase", server, server)
}

// tell runs a helper that has nothing to answer. What it says about a failure is
// repeated only if none of the secrets is in it.
func (q question) tell(ctx context.Context, helper, verb, server, stdin string, secrets ...string) error {
	path, err := findProgram("docker-credential-" + helper)
	if err != nil {
		return unusable(fmt.Sprintf("install docker-credential-%s, or take it out of the configuration that names it", helper), "%w", err)
	}
	out, err := q.shared.run(ctx, program{path: path, args: []string{verb}, stdin: stdin, detached: q.detached})
	if err == nil {
		return nil
	}
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	why := err.Error()
	if reason := reasonOf(out); reason != "" {
		why += ": " + reason
	}
	for _, secret := range secrets {
		if secret != "" && strings.Contains(why, secret) {
			why = "it says why, and repeats the secret in that"
		}
	}
	return unusable("nothing was changed: see to the helper, or take it out of the configuration that names it",
		"credential helper %q, %s of %s: %s", filepath.Base(helper), verb, server, why)
}
