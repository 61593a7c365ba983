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
	fmt.Fprintf(&b, "# A profile of containerd-pull: choose it with --profile %s, or by the\n# references that match. Every line is what happens without it.\n[profiles.%s]\n", name, name)
	fmt.Fprintf(&b, "\n# the profile to build on\n#extends = \"base\"\n\n# patterns of the references that choose this profile\n#match = [\"registry.example.com/team/*\"]\n")
	var tables []string
	for _, s := range Table() {
		table, _, nested := strings.Cut(s.Key, ".")
		switch {
		case s.Key == "" || s.Key == keyDefault:
		case nested && !slices.Contains(tables, table):
			tables = append(tables, table)
		case !nested:
			fmt.Fprintf(&b, "\n# %s\n#%s = %s\n", plainUsage(s), s.Key, s.example())
		}
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

func plainUsage(s *Setting) string {
	text := strings.ReplaceAll(s.Usage, "`", "")
	if s.DefaultNote != "" {
		text += " (default: " + s.DefaultNote + ")"
	}
	return text
}

// example is the default of s in TOML, or something harmless of its type.
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
