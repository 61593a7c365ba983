package hosts

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/pelletier/go-toml/v2"

	"github.com/containerd-pull/containerd-pull/pkg/source"
)

// File is a hosts.toml for containerd, CRI and other readers of hosts
// directories.
type File struct {
	// Name is the folder that it belongs in: a registry, or _default.
	Name string
	Text []byte
	// Secret is set if it holds a header, which may be a secret.
	Secret bool
}

// table is one host of a hosts.toml. The names are containerd's.
type table struct {
	Server       string            `toml:"server,omitempty"`
	Capabilities []string          `toml:"capabilities,omitempty"`
	CA           string            `toml:"ca,omitempty"`
	Client       [][2]string       `toml:"client,omitempty"`
	SkipVerify   bool              `toml:"skip_verify,omitempty"`
	OverridePath bool              `toml:"override_path,omitempty"`
	DialTimeout  string            `toml:"dial_timeout,omitempty"`
	Header       map[string]string `toml:"header,omitempty"`
}

// Files writes what the options mean for each of the registries, and for each
// that has a mirror, in containerd's own form. Credentials have no place in it.
func Files(o Options, registries []string) ([]File, error) {
	names := make([]string, 0, len(registries)+len(o.Mirrors))
	for _, name := range registries {
		names = append(names, source.CanonicalHost(name))
	}
	for _, m := range o.Mirrors {
		names = append(names, source.CanonicalHost(m.Host))
	}
	slices.Sort(names)
	var files []File
	for _, name := range slices.Compact(names) {
		f, err := file(o, name)
		if err != nil {
			return nil, err
		}
		files = append(files, f)
	}
	return files, nil
}

func file(o Options, name string) (File, error) {
	f := File{Name: name}
	top := table{}
	if name == "*" {
		f.Name = "_default"
	} else {
		top = ownTable(o, name)
	}
	text, err := marshalTable(top, "")
	if err != nil {
		return f, err
	}
	var b strings.Builder
	b.WriteString(text)
	seen := map[string]bool{}
	for _, m := range o.Mirrors {
		// A folder of its own hides _default, so that mirrors of any registry
		// have to stand in each.
		if !m.standsFor(name) {
			continue
		}
		f.Secret = f.Secret || len(m.Headers) > 0
		if err := writeMirror(&b, m, seen); err != nil {
			return f, err
		}
	}
	f.Text = []byte(b.String())
	return f, nil
}

// ownTable describes the registry itself.
func ownTable(o Options, name string) table {
	scheme := "https"
	if o.PlainHTTP {
		scheme = "http"
	}
	t := table{Server: scheme + "://" + source.ContactedHost(name), CA: o.CA, SkipVerify: o.SkipVerify || o.Insecure}
	if o.Cert != "" {
		t.Client = [][2]string{{o.Cert, o.Key}}
	}
	return t
}

// table is what all endpoints of the mirror have in common.
func (m Mirror) table() table {
	t := table{
		Capabilities: []string{"pull"}, CA: m.CA, SkipVerify: m.SkipVerify, OverridePath: m.OverridePath,
		Header: maps.Clone(m.Headers),
	}
	if m.Resolve {
		t.Capabilities = append(t.Capabilities, "resolve")
	}
	if m.Cert != "" {
		t.Client = [][2]string{{m.Cert, m.Key}}
	}
	if m.DialTimeout > 0 {
		t.DialTimeout = m.DialTimeout.String()
	}
	return t
}

// writeMirror writes the endpoints that have not been seen: no table may stand
// twice in a file.
func writeMirror(b *strings.Builder, m Mirror, seen map[string]bool) error {
	for _, endpoint := range m.Endpoints {
		u, err := m.parse(endpoint)
		if err != nil {
			return fmt.Errorf("mirror %q of %s: %w", endpoint, m.Host, err)
		}
		if seen[u.String()] {
			continue
		}
		seen[u.String()] = true
		written := u.String()
		if !m.OverridePath { // readers append it, and take a slash before it for a folder
			written = strings.TrimSuffix(written, "/v2")
		}
		one := m.table()
		if u.Scheme == "http" { // for containerd, any of these means https
			one.CA, one.Client, one.SkipVerify = "", nil, false
		}
		text, err := marshalTable(one, written)
		if err != nil {
			return err
		}
		b.WriteString("\n" + text)
	}
	return nil
}

// marshalTable writes a host as [host."URL"], or at the top if it has no URL.
func marshalTable(t table, url string) (string, error) {
	var v any = t
	if url != "" {
		v = map[string]map[string]table{"host": {url: t}}
	}
	text, err := toml.Marshal(v)
	if err != nil {
		return "", fmt.Errorf("writing hosts.toml: %w", err)
	}
	return strings.Replace(string(text), "[host]\n", "", 1), nil
}
