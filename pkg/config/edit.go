package config

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"

	"github.com/containerd-pull/containerd-pull/pkg/config/file"
	"github.com/containerd-pull/containerd-pull/pkg/userfile"
)

// Holder returns the file that holds a profile, and the line where the profile begins.
// If several files do, one of them has to be named.
func (s *Settings) Holder(profile, named string) (path string, line int, err error) {
	var holders []*file.Document
	for _, d := range s.files.documents {
		if slices.Contains(d.Profiles(), profile) {
			holders = append(holders, d)
		}
	}
	if len(holders) == 0 {
		return "", 0, unknownProfile(profile, s.Profiles(), nil)
	}
	if len(holders) > 1 {
		i := slices.IndexFunc(holders, func(d *file.Document) bool { return sameFile(d.Path, named) })
		if i < 0 {
			return "", 0, &severalHolders{profile, holders}
		}
		holders = holders[i:]
	}
	return holders[0].Path, holders[0].Line([]string{file.ProfilesKey, profile}), nil
}

func sameFile(path, named string) bool {
	abs, err := filepath.Abs(named)
	return named != "" && err == nil && abs == path
}

// severalHolders is the error for a profile that several files hold a part of.
type severalHolders struct {
	profile string
	files   []*file.Document
}

func (e *severalHolders) Error() string {
	return fmt.Sprintf("profile %s stands in several files: %s", e.profile, strings.Join(e.paths(), ", "))
}

// Hint is to name one.
func (e *severalHolders) Hint() string { return "name one of them: --config " + e.paths()[0] }

func (e *severalHolders) paths() []string {
	var all []string
	for _, d := range e.files {
		all = append(all, d.Path)
	}
	return all
}

// Dependent is what would lack a profile that is removed.
type Dependent struct {
	Text    string // in words
	Profile string // the one that extends it, empty if it is a default_profile
}

// Dependents lists what would lack a profile that is removed.
func (s *Settings) Dependents(profile string) []Dependent {
	var all []Dependent
	for _, p := range s.Profiles() {
		if p.Extends == profile {
			all = append(all, Dependent{"profile " + p.Name + " extends it", p.Name})
		}
	}
	for _, d := range s.files.documents {
		if name, _ := d.At([]string{keyDefault}); name == profile {
			all = append(all, Dependent{Text: fmt.Sprintf("it is the default_profile of %s:%d", d.Path, d.Line([]string{keyDefault}))})
		}
	}
	return all
}

// RemoveProfile removes a profile from a file, with its comments: those directly above
// and below, those between its keys, and the keys and tables that are commented out. All
// else in the file stays as it is.
func RemoveProfile(path, name string) error {
	old, err := userfile.Named(path, file.MaxSize)
	if err != nil {
		return fmt.Errorf("reading %s: %w", path, file.Reason(err))
	}
	before, err := file.Parse(path, old.Data)
	if err != nil {
		return err
	}
	at := []string{file.ProfilesKey, name}
	text := file.WithoutProfile(old.Data, name)
	after, err := file.Parse(path, text)
	if profiles, ok := before.Tree[file.ProfilesKey].(map[string]any); ok {
		delete(profiles, name)
	}
	if err != nil || !reflect.DeepEqual(withProfiles(before.Tree), withProfiles(after.Tree)) {
		return before.ErrorAt(at, errors.New("it does not stand in tables of its own"), "remove it with an editor")
	}
	return userfile.Write(path, text, old.Mode)
}

// withProfiles returns the tree of a file with a table of profiles.
func withProfiles(tree map[string]any) map[string]any {
	if tree[file.ProfilesKey] == nil {
		tree[file.ProfilesKey] = map[string]any{}
	}
	return tree
}

// Draft is a copy of a configuration file, to be edited. The file is written only by
// Save, and only as one that has no mistake.
type Draft struct {
	Path string // of the copy, in a folder of its own that only its owner can enter

	target string
	old    userfile.File
	caller Caller
}

// OpenDraft copies a file. The caller closes the draft.
func OpenDraft(target string, caller Caller) (*Draft, error) {
	old, err := userfile.Named(target, file.MaxSize)
	if err != nil {
		return nil, fmt.Errorf("reading %s: %w", target, file.Reason(err))
	}
	if err := userfile.CheckWrite(target); err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp("", "containerd-pull-")
	if err != nil {
		return nil, fmt.Errorf("making a folder for the copy: %w", err)
	}
	d := &Draft{Path: filepath.Join(dir, filepath.Base(target)), target: target, old: old, caller: caller}
	if err := os.WriteFile(d.Path, old.Data, 0o600); err != nil {
		return nil, errors.Join(err, d.Close())
	}
	return d, nil
}

// Check returns what is wrong in the copy, as if it were the file.
func (d *Draft) Check() []*file.Error {
	doc, err := file.Reader(func(string, int64) (userfile.File, error) {
		edited, err := userfile.Named(d.Path, file.MaxSize)
		edited.Mode, edited.UID = d.old.Mode, d.old.UID
		return edited, err
	}).Read(d.target)
	if err != nil {
		wrong, ok := errors.AsType[*file.Error](err)
		if !ok {
			wrong = &file.Error{File: d.target, Err: err}
		}
		return []*file.Error{wrong}
	}
	return check(doc, d.caller)
}

// IsChanged reports whether the copy is another than the file was, or whether that
// cannot be told.
func (d *Draft) IsChanged() bool {
	edited, err := userfile.Named(d.Path, file.MaxSize)
	return !errors.Is(err, fs.ErrNotExist) && (err != nil || !bytes.Equal(edited.Data, d.old.Data))
}

// Save writes the copy over the file, and reports whether that changed anything. A file
// that was changed meanwhile stays.
func (d *Draft) Save() (changed bool, err error) {
	edited, err := userfile.Named(d.Path, file.MaxSize)
	if err != nil {
		return false, fmt.Errorf("reading the copy: %w", err)
	}
	now, err := userfile.Named(d.target, file.MaxSize)
	if err != nil {
		return false, fmt.Errorf("reading %s: %w", d.target, file.Reason(err))
	}
	switch {
	case bytes.Equal(edited.Data, d.old.Data):
		return false, nil
	case !bytes.Equal(now.Data, d.old.Data):
		return false, fmt.Errorf("%s was changed meanwhile: nothing was written", d.target)
	}
	return true, userfile.Write(d.target, edited.Data, d.old.Mode)
}

// Close removes the copy.
func (d *Draft) Close() error { return os.RemoveAll(filepath.Dir(d.Path)) }
