package config

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"github.com/containerd-pull/containerd-pull/pkg/config/file"
	"github.com/containerd-pull/containerd-pull/pkg/config/value"
	"github.com/containerd-pull/containerd-pull/pkg/userfile"
)

// InitProfile adds a profile to a file, with every key in comments, and makes
// the file if it is missing. It never changes a profile that exists.
func InitProfile(path, name string) error {
	if !regexp.MustCompile(profileName).MatchString(name) {
		return fmt.Errorf("profile %q: want lower-case letters, digits, _ and -", name)
	}
	if ext := filepath.Ext(path); ext == ".yaml" || ext == ".yml" {
		return fmt.Errorf("%s: a profile is written as TOML", path)
	}
	old, err := oldText(path)
	if errors.Is(err, fs.ErrNotExist) {
		old.Mode, err = 0o600, userfile.MakeFolder(path)
	}
	if err != nil {
		return fmt.Errorf("reading %s: %w", path, file.Reason(err))
	}
	doc, err := file.Parse(path, old.Data)
	if err != nil {
		return err
	}
	if slices.Contains(doc.Profiles(), name) {
		return &file.Error{File: path, Line: doc.Line([]string{file.ProfilesKey, name}), Err: fmt.Errorf("profile %q exists", name), Remedy: "choose another name"}
	}
	text := string(old.Data)
	if text != "" {
		text = strings.TrimRight(text, "\n") + "\n\n"
	}
	return userfile.Write(path, []byte(text+starter(name)), old.Mode)
}

// CheckUserFile refuses to write a file that would be left out when it is read: in
// the home of another user, as under sudo -E.
func CheckUserFile(path string) error {
	for dir := path; dir != ""; dir = filepath.Dir(dir) {
		err := userfile.Check(dir)
		if !errors.Is(err, fs.ErrNotExist) || dir == filepath.Dir(dir) {
			return err
		}
	}
	return nil
}

// oldText is what a profile is added to: nothing, if it is written to a device or
// a pipe.
func oldText(path string) (userfile.File, error) {
	if info, err := os.Stat(path); err == nil && info.Mode()&(fs.ModeDevice|fs.ModeNamedPipe|fs.ModeSocket) != 0 {
		return userfile.File{}, nil
	}
	return userfile.Named(path, file.MaxSize)
}

// starter is a profile in which everything is commented out.
func starter(name string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "# A profile of containerd-pull: choose it with --profile %s, or by the\n"+
		"# references that match. Every line is what happens without it, or an example.\n"+
		"# Credentials, mirrors, TLS and verification stand at the end, as tables do.\n[profiles.%s]\n", name, name)
	fmt.Fprintf(&b, "\n# the profile to build on\n#extends = \"base\"\n\n# patterns of the references that choose this profile\n#match = [\"registry.example.com/team/*\"]\n")
	var tables []string
	for _, s := range Table() {
		table, _, nested := strings.Cut(s.Key, ".")
		switch {
		case s.Key == "" || s.Key == keyDefault || s.holdsTables():
		case nested && !slices.Contains(tables, table):
			tables = append(tables, table)
		case !nested:
			fmt.Fprintf(&b, "\n# %s\n#%s = %s\n", plainUsage(s), s.Key, s.example())
		}
	}
	for _, e := range blocks() {
		fmt.Fprintf(&b, "\n# %s\n#[[profiles.%s.%s]]\n#%s\n", e.what, name, e.key, strings.ReplaceAll(e.text, "\n", "\n#"))
	}
	for _, table := range tables {
		fmt.Fprintf(&b, "\n#[profiles.%s.%s]\n", name, table)
		for _, s := range Table() {
			if key, ok := strings.CutPrefix(s.Key, table+"."); ok {
				fmt.Fprintf(&b, "\n# %s\n#%s = %s\n", plainUsage(s), key, s.example())
			}
		}
	}
	return b.String()
}

// holdsTables reports whether the setting is a list of tables, of which blocks has
// examples.
func (s *Setting) holdsTables() bool {
	shape := s.shape()
	return shape.Type == "array" && shape.Items.Type == "object"
}

// block is one table of a list of tables, for the file of a new profile.
type block struct {
	key  string // of the list
	what string
	text string // lines of TOML; " or …" is another way to say the line above
}

func blocks() []block {
	credential := func(what, text string) block {
		return block{"credentials", "credential: " + what, "match = [\"registry.example.com\"]\n" + text}
	}
	return []block{
		credential("a password", "source = \"password\"\nusername = \"robot\"\npassword_file = \"/etc/containerd-pull/registry.pass\"\n"+
			" or password_env = \"REGISTRY_PASSWORD\"\n or password_command = [\"pass\", \"show\", \"registry\"]\n or password = \"…\", in a file that others cannot read"),
		credential("the program docker-credential-NAME", "source = \"helper\"\nhelper = \"ecr-login\""),
		credential("the file that containerd-pull login, docker login and podman login write", "source = \"docker-config\"\n or path = \"/root/.docker\", another folder than the user's"),
		credential("another file in that form", "source = \"authfile\"\npath = \"/etc/containerd-pull/auth.json\""),
		credential("what the kubelet asks", "source = \"credential-provider\"\nconfig = \"/etc/kubernetes/credential-providers.yaml\"\nbin_dir = \"/usr/libexec/kubernetes/credential-providers\""),
		credential("a refresh token, which a token server takes", "source = \"identity-token\"\ntoken_file = \"/etc/containerd-pull/registry.token\"\n"+
			" or token_env = \"REGISTRY_TOKEN\"\n or token_command = [\"vault\", \"read\", \"-field=token\", \"registry\"]\n or identity_token = \"…\", in a file that others cannot read"),
		credential("a bearer token, which the registry takes", "source = \"registry-token\"\ntoken_file = \"/etc/containerd-pull/registry.token\"\n"+
			" or token_env and token_command as above\n or registry_token = \"…\", in a file that others cannot read"),
		credential("none, whatever else there is for the host", "source = \"anonymous\""),
		{"mirrors", "a mirror, asked before the registry", "host = \"docker.io\"\nendpoints = [\"https://mirror.example.com\"]\n" +
			" it may also be asked what a tag points to\nresolve = true\n the path of the endpoint stands as it is, without /v2\noverride_path = false\n" +
			" TLS of the mirror\nca = \"/etc/containerd-pull/mirror-ca.pem\"\ncert = \"/etc/containerd-pull/client.pem\"\nkey = \"/etc/containerd-pull/client.key\"\nskip_verify = false\n" +
			"dial_timeout = \"3s\"\nheaders = { X-Team = \"web\" }"},
	}
}

func plainUsage(s *Setting) string {
	text := strings.ReplaceAll(s.Usage, "`", "")
	if s.DefaultNote != "" {
		text += " (default: " + s.DefaultNote + ")"
	}
	return text
}

// example is the default of s in TOML, or something of its type that has no effect
// before it is changed.
func (s *Setting) example() string {
	switch shape := s.shape(); {
	case s.Default != "" && shape.Type == "array":
		return `["` + strings.Join(value.Texts{s.Default}.Split(), `", "`) + `"]`
	case (shape.Type == "integer" || shape.Type == "boolean") && s.Default != "":
		return s.Default
	case s.Default != "":
		return `"` + s.Default + `"`
	case shape.Type == "array":
		return "[]"
	case shape.Type == "object":
		return "{}"
	case shape.Type == "boolean":
		return "false"
	case shape.Type == "integer" || shape.Type == "number" || shape.Name == "size":
		return "0"
	case shape.Name == "time":
		return `"0"`
	}
	return `""`
}
