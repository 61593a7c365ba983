package config

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/containerd-pull/containerd-pull/pkg/config/file"
	"github.com/containerd-pull/containerd-pull/pkg/config/value"
	"github.com/containerd-pull/containerd-pull/pkg/registry/credential"
	"github.com/containerd-pull/containerd-pull/pkg/registry/hosts"
	"github.com/containerd-pull/containerd-pull/pkg/source"
	"github.com/containerd-pull/containerd-pull/pkg/userfile"
)

// Change is a line of a file, or a whole file, that means something else than it
// did in the first release.
type Change struct {
	File  string
	Line  int    // 0 if it concerns the whole file
	Key   string // empty as well then
	Value string
	Was   string
	Now   string
	Write string // what to write instead, or to do
}

// Changes lists what means something else than it did in the first release, in
// these profiles, or in all and outside of them.
func (s *Settings) Changes(profiles []string) ([]Change, error) {
	all := leftOutChanges(s.files.leftOut)
	searched, err := s.searched()
	if err != nil {
		return nil, err
	}
	all = append(all, leftOutChanges(searched)...)
	for _, d := range s.files.documents {
		m := &migration{settings: s, doc: d}
		names := profiles
		if len(names) == 0 {
			m.credentials(nil, nil)
			names = d.Profiles()
		}
		for _, name := range names {
			if err := m.profile(name); err != nil {
				return nil, err
			}
		}
		all = append(all, m.found...)
	}
	return all, nil
}

func leftOutChanges(files []*userfile.Foreign) []Change {
	var list []Change
	for _, f := range files {
		list = append(list, Change{File: f.Path, Was: "it was read", Now: "it is left out: " + f.Reason(), Write: f.Hint()})
	}
	return list
}

// searched lists the files of hosts and credentials that are left out.
func (s *Settings) searched() ([]*userfile.Foreign, error) {
	cfg, err := s.Resolve(source.Ref{})
	if err != nil {
		return nil, err
	}
	var list []*userfile.Foreign
	if cfg.Registry.Hosts.DirsFound {
		list = hosts.LeftOut(cfg.Registry.Hosts.Dirs)
	}
	for _, path := range cfg.CredentialOptions(s.caller, nil).Searched() {
		if foreign, ok := errors.AsType[*userfile.Foreign](userfile.Check(path)); ok {
			list = append(list, foreign)
		}
	}
	return list, nil
}

// migration looks for changes in one document.
type migration struct {
	settings *Settings
	doc      *file.Document
	found    []Change
}

func (m *migration) add(keys []string, value string, c Change) {
	c.File, c.Line, c.Key, c.Value = m.doc.Path, m.doc.Line(keys), file.Dotted(keys), value
	m.found = append(m.found, c)
}

func (m *migration) profile(name string) error {
	keys := []string{file.ProfilesKey, name}
	if _, ok := m.doc.At(keys); !ok {
		return nil
	}
	chain, err := m.settings.chain(name)
	if err != nil {
		return err
	}
	owner, err := ownerOf(chain)
	if err != nil {
		return err
	}
	if match, ok := m.doc.At(append(slices.Clone(keys), keyMatch)); ok {
		m.patterns(append(slices.Clone(keys), keyMatch), match)
	}
	m.credentials(keys, owner)
	return nil
}

// patterns looks at a list of patterns, which stands at keys.
func (m *migration) patterns(keys []string, raw any) {
	list, _ := value.ParseList(raw) // its type has been checked
	for i, text := range list {
		if former, changed := source.FormerMeaning(text); changed {
			m.add(append(slices.Clone(keys), value.Element(i)), text, Change{Was: former.Was, Now: former.Now, Write: former.Write})
		}
	}
}

// credentials looks at the credentials of a profile, or at those outside of
// profiles, which have no owner.
func (m *migration) credentials(prefix []string, owner *credential.Profile) {
	keys := append(slices.Clone(prefix), "credentials")
	raw, _ := m.doc.At(keys)
	if list, ok := raw.([]any); ok {
		for i, one := range list {
			m.credential(append(slices.Clone(keys), value.Element(i)), one, owner)
		}
		return
	}
	m.credential(keys, raw, owner)
}

func (m *migration) credential(keys []string, raw any, owner *credential.Profile) {
	t, ok := raw.(map[string]any)
	if !ok {
		return
	}
	if match, ok := t[keyMatch]; ok {
		m.patterns(append(slices.Clone(keys), keyMatch), match)
		return
	}
	kind, _ := t["source"].(string)
	entry := credential.Entry{Source: kind, Profile: owner}
	if owner == nil || len(owner.Match) == 0 && !entry.IsHomeless() {
		return
	}
	m.add(keys, kind, Change{
		Was:   "it was for the registry of the reference, whichever that was",
		Now:   "it can reach: " + entry.Reach(),
		Write: "match = [" + quotedList(owner.Match) + "] in the credential, with the registries that it is for",
	})
}

// quotedList writes patterns as the elements of a list in TOML.
func quotedList(patterns []source.Pattern) string {
	if len(patterns) == 0 {
		return `"registry.example.com"`
	}
	texts := make([]string, len(patterns))
	for i, p := range patterns {
		texts[i] = fmt.Sprintf("%q", p.String())
	}
	return strings.Join(texts, ", ")
}
