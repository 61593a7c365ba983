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
	"slices"
	"strings"
	"syscall"

	"github.com/containerd-pull/containerd-pull/pkg/source"
	"github.com/containerd-pull/containerd-pull/pkg/userfile"
)

// dockerConfig is the part of Docker's config.json, and of Podman's auth.json,
// that concerns credentials.
type dockerConfig struct {
	Auths       map[string]dockerAuth `json:"auths"`
	CredsStore  string                `json:"credsStore"`
	CredHelpers map[string]string     `json:"credHelpers"`
}

type dockerAuth struct {
	Auth          string `json:"auth"` // USER:PASSWORD in base64
	Username      string `json:"username"`
	Password      string `json:"password"`
	IdentityToken string `json:"identitytoken"`
	RegistryToken string `json:"registrytoken"`
}

// authFile is a file in Docker's form.
type authFile struct {
	path     string
	name     string // what to call it
	required bool   // it was named by the user, so that it has to be there
	found    bool   // it was named neither by the user nor by a variable
	tool     string // that writes it when a user logs in, empty if that is not known
}

func (f authFile) credential(ctx context.Context, q question) (Credential, bool, error) {
	data, err := f.read()
	if foreign, ok := errors.AsType[*userfile.Foreign](err); ok && f.found {
		q.warn("%s", foreign.Warning())
		return Credential{}, false, nil
	}
	if err != nil && !f.required {
		switch {
		case errors.Is(err, fs.ErrNotExist), errors.Is(err, syscall.ENOTDIR):
			return Credential{}, false, nil
		case errors.Is(err, syscall.EISDIR): // containers make a folder of a file that is missing where it is mounted from
			q.warn("%s is a folder: no credentials are in it", f.name)
			return Credential{}, false, nil
		}
	}
	if err != nil {
		return Credential{}, false, unusable(fileHint(err, f.path, "the setting"), "reading %s: %w", f.name, err)
	}
	cred, ok, err := readDockerConfig(ctx, f.name, data, q)
	if ok {
		cred.Remedy = f.remedy(q.host)
	}
	return cred, ok, err
}

// remedy is what to do when a registry does not accept what the file has for it.
func (f authFile) remedy(host string) string {
	name := source.CanonicalHost(host)
	if f.tool == "" {
		return fmt.Sprintf("correct the entry of %s in %s", name, f.path)
	}
	if name == source.DockerHub {
		return fmt.Sprintf("%s logout drops it, and %s login makes a new one", f.tool, f.tool)
	}
	return fmt.Sprintf("%s logout %s drops it, and %s login %s makes a new one", f.tool, name, f.tool, name)
}

func (f authFile) read() ([]byte, error) {
	if f.found {
		content, err := userfile.Found(f.path, maxFile)
		return content.Data, err
	}
	return readNamed(f.path)
}

// dockerVariable is the text of DOCKER_AUTH_CONFIG.
type dockerVariable struct{ text string }

func (v dockerVariable) credential(ctx context.Context, q question) (Credential, bool, error) {
	cred, ok, err := readDockerConfig(ctx, "DOCKER_AUTH_CONFIG", []byte(v.text), q)
	if ok {
		cred.Remedy = "correct the variable DOCKER_AUTH_CONFIG"
	}
	return cred, ok, err
}

// byteOrderMark is what editors of other systems write before UTF-8.
const byteOrderMark = "\uFEFF"

// readDockerConfig looks for a host in data, which may be empty. Errors of the
// parser are not passed on: they may repeat a part of what they could not read.
func readDockerConfig(ctx context.Context, name string, data []byte, q question) (Credential, bool, error) {
	var c dockerConfig
	data = bytes.TrimSpace(bytes.TrimPrefix(data, []byte(byteOrderMark)))
	if len(data) == 0 {
		return Credential{}, false, nil
	}
	if err := json.Unmarshal(data, &c); err != nil {
		return Credential{}, false, unusable("correct or remove it", "%s is not JSON in the form of Docker's config.json", name)
	}
	for _, id := range c.identifiers(q) {
		cred, ok, err := c.lookup(ctx, q, name, id)
		if ok || err != nil {
			return cred, ok, err
		}
	}
	return Credential{}, false, nil
}

// identifier is a name under which a credential may be filed.
type identifier struct {
	name string
	path string // of the part of the host that it names, empty for all of it
}

// identifiers lists the names to look for: repositories from the longest to
// the shortest, then the host in the ways in which Docker has filed it.
func (q question) identifiers() []identifier {
	var ids []identifier
	for _, name := range source.CredentialNames(q.host) {
		for path := q.ref.Path; path != ""; {
			ids = append(ids, identifier{name: name + "/" + path, path: path})
			path = path[:max(strings.LastIndex(path, "/"), 0)]
		}
	}
	for _, name := range source.CredentialNames(q.host) {
		ids = append(ids, identifier{name: name})
		if name == source.DockerHub {
			ids = append(ids, identifier{name: hubKey})
		}
		for _, scheme := range []string{"https://", "http://"} {
			ids = append(ids, identifier{name: scheme + name})
		}
		if !strings.Contains(name, ":") {
			ids = append(ids, identifier{name: name + ":443"}, identifier{name: "https://" + name + ":443"})
		}
	}
	return ids
}

// identifiers adds to those of the question the other spellings of the host that
// the file itself has.
func (c dockerConfig) identifiers(q question) []identifier {
	ids := q.identifiers()
	for _, key := range slices.Sorted(maps.Keys(c.keys())) {
		known := slices.ContainsFunc(ids, func(id identifier) bool { return id.name == key })
		if path, ok := q.filedUnder(key); ok && !known {
			ids = append(ids, identifier{name: key, path: path})
		}
	}
	slices.SortStableFunc(ids, func(a, b identifier) int { return len(b.path) - len(a.path) })
	return ids
}

func (c dockerConfig) keys() map[string]bool {
	keys := map[string]bool{}
	for key := range c.Auths {
		keys[key] = true
	}
	for key := range c.CredHelpers {
		keys[key] = true
	}
	return keys
}

// filedUnder reports whether a key of the file stands for the host or for a part
// of it that holds the repository, which is path. Docker has filed hosts as URLs
// of their API, with either version and with a slash at the end.
func (q question) filedUnder(key string) (path string, ok bool) {
	scheme, rest, isURL := strings.Cut(key, "://")
	if !isURL {
		rest = key
	} else if !strings.EqualFold(scheme, "https") && !strings.EqualFold(scheme, "http") {
		return "", false
	}
	host, path, hasPath := strings.Cut(rest, "/")
	path = strings.TrimSuffix(path, "/")
	if hasPath && (path == "v1" || path == "v2") && (isURL || source.CanonicalHost(host) == source.DockerHub) {
		path = ""
	}
	within := path == "" || path == q.ref.Path || strings.HasPrefix(q.ref.Path, path+"/")
	return path, within && source.SameHost(host, q.host)
}

// lookup asks, for one identifier, the helper of that name, then the helper for
// everything, then the file itself. The helper for everything files hosts.
func (c dockerConfig) lookup(ctx context.Context, q question, name string, id identifier) (Credential, bool, error) {
	if helper := c.CredHelpers[id.name]; helper != "" {
		return q.askHelper(ctx, name, helper, id.name)
	}
	if c.CredsStore != "" && slices.Contains(c.storeNames(q), id.name) {
		cred, ok, err := q.askHelper(ctx, name, c.CredsStore, id.name)
		if ok || err != nil {
			return cred, ok, err
		}
	}
	entry, ok := c.Auths[id.name]
	if !ok {
		return Credential{}, false, nil
	}
	cred, err := entry.credential()
	if err != nil {
		return Credential{}, false, unusable("correct or remove the entry; containerd-pull login writes it anew", "%s, entry %q: %w", name, id.name, err)
	}
	cred.Source = name
	return cred, cred != Credential{Source: name}, nil
}

// storeNames lists the names under which the helper for everything files the host.
// Docker writes each of them into the file, too; without any it is the one that
// Docker would choose. A helper is slow, so that it is not asked for all that may
// be.
func (c dockerConfig) storeNames(q question) []string {
	var names []string
	for key := range c.Auths {
		if path, ok := q.filedUnder(key); ok && path == "" {
			names = append(names, key)
		}
	}
	if len(names) == 0 {
		return []string{q.dockersName()}
	}
	return names
}

// hubKey is how Docker files Docker Hub.
const hubKey = "https://index.docker.io/v1/"

// dockersName is how Docker files the host.
func (q question) dockersName() string {
	if name := source.CanonicalHost(q.host); name != source.DockerHub {
		return name
	}
	return hubKey
}

// credential reads an entry. An empty one, which Docker writes beside a helper,
// says nothing.
func (a dockerAuth) credential() (Credential, error) {
	cred := Credential{Username: a.Username, Password: a.Password, IdentityToken: a.IdentityToken, RegistryToken: a.RegistryToken}
	if a.Auth != "" {
		text, err := base64.RawStdEncoding.DecodeString(strings.TrimRight(a.Auth, "= \t\r\n")) // some write no padding
		user, password, ok := strings.Cut(string(text), ":")
		if err != nil || !ok {
			return cred, errors.New("auth is not USER:PASSWORD in base64")
		}
		cred.Username, cred.Password = user, strings.Trim(password, "\x00")
	}
	switch {
	case cred.RegistryToken != "":
		return Credential{RegistryToken: cred.RegistryToken}, nil
	case cred.IdentityToken != "":
		return Credential{Username: cred.Username, IdentityToken: cred.IdentityToken}, nil
	}
	return cred, nil
}

// askHelper runs docker-credential-HELPER, which is named in source.
func (q question) askHelper(ctx context.Context, source, helper, server string) (Credential, bool, error) {
	source = fmt.Sprintf("%s, credential helper %q", source, helper)
	cred, ok, err := q.runHelper(ctx, helper, server)
	if err != nil {
		return Credential{}, false, fmt.Errorf("%s: %w", source, err)
	}
	cred.Source = source
	return cred, ok, nil
}
