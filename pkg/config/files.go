package config

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"
)

const (
	systemConfig = "/etc/containerd-pull/config.toml"
	configName   = "containerd-pull/config.toml"
	dropInDir    = "config.d"
)

// files are the documents of a call.
type files struct {
	documents []*document // the weakest first
	nerdctl   *document   // nil if there is none
	warnings  []string
}

// readFiles reads the files of the caller and the one that is named, if any.
// A file that was named has to exist.
func readFiles(caller Caller, named string) (*files, error) {
	f := new(files)
	for _, path := range caller.defaultFiles() {
		if err := f.read(path, false); err != nil {
			return nil, err
		}
	}
	if named != "" {
		abs, err := filepath.Abs(named)
		if err != nil {
			return nil, fmt.Errorf("finding %s: %w", named, err)
		}
		if err := f.read(abs, true); err != nil {
			return nil, err
		}
	}
	return f, f.readNerdctl(caller)
}

// defaultFiles are read without being named, the weakest first.
func (c Caller) defaultFiles() []string {
	paths := []string{filepath.Join(c.Root, systemConfig)}
	if home := c.configHome(); home != "" {
		paths = append(paths, filepath.Join(home, configName))
	}
	return paths
}

// read reads a file and what lies in config.d beside it.
func (f *files) read(path string, must bool) error {
	doc, err := readDocument(path)
	switch {
	case err == nil:
		f.documents = append(f.documents, doc)
	case must || !errors.Is(err, fs.ErrNotExist):
		return err
	}
	dropIns, err := filepath.Glob(filepath.Join(filepath.Dir(path), dropInDir, "*.toml"))
	if err != nil {
		return fmt.Errorf("listing %s beside %s: %w", dropInDir, path, err)
	}
	slices.Sort(dropIns)
	for _, name := range dropIns {
		doc, err := readDocument(name)
		if err != nil {
			return err
		}
		f.documents = append(f.documents, doc)
	}
	return nil
}

// check finds what is wrong in all documents.
func (f *files) check(caller Caller) []*Error {
	var all []*Error
	for _, d := range f.documents {
		all = append(all, d.check(caller)...)
	}
	return all
}

// nerdctlFile is nerdctl's configuration; an empty NERDCTL_TOML means none.
func (c Caller) nerdctlFile() string {
	if path, ok := c.Lookup("NERDCTL_TOML"); ok {
		return path
	}
	if c.UID == 0 {
		return filepath.Join(c.Root, "/etc/nerdctl/nerdctl.toml")
	}
	if home := c.configHome(); home != "" {
		return filepath.Join(home, "nerdctl/nerdctl.toml")
	}
	return ""
}

// nerdctlKeys are those of nerdctl's settings that concern a pull; the others
// are known and left alone.
func nerdctlKeys() (ours, others []string) {
	return []string{"address", "namespace", "snapshotter", "hosts_dir", "insecure_registry", "debug", "debug_full", "experimental"},
		[]string{"data_root", "cgroup_manager", "cni_path", "cni_netconfpath", "host_gateway_ip", "bridge_ip",
			"kube_hide_dupe", "cdi_spec_dirs", "userns_remap", "dns", "dns_opts", "dns_search", "disable_hc_systemd", "selinux_enabled"}
}

// readNerdctl reads nerdctl's file. A key that neither of us knows is worth a
// warning only, since the file is nerdctl's.
func (f *files) readNerdctl(caller Caller) error {
	path := caller.nerdctlFile()
	if path == "" {
		return nil
	}
	doc, err := readDocument(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	ours, others := nerdctlKeys()
	for key := range doc.tree {
		if !slices.Contains(ours, key) && !slices.Contains(others, key) {
			f.warnings = append(f.warnings, fmt.Sprintf("%s:%d: unknown key %q", path, doc.lines.of([]string{key}), key))
		}
	}
	slices.Sort(f.warnings)
	f.nerdctl = doc
	return nil
}

// layers are what the files hold outside of profiles.
func (f *files) layers() ([]layer, error) {
	var all []layer
	if f.nerdctl != nil {
		l, err := newFileLayer([]place{{doc: f.nerdctl, kind: FromNerdctl}})
		if err != nil {
			return nil, err
		}
		l.knows = isNerdctlKey
		all = append(all, l)
	}
	var places []place
	for _, d := range f.documents {
		places = append(places, place{doc: d, kind: FromFile})
	}
	l, err := newFileLayer(places)
	return append(all, l), err
}

func isNerdctlKey(s *Setting) bool {
	ours, _ := nerdctlKeys()
	return slices.Contains(ours, s.Key)
}
