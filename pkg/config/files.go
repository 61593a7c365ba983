package config

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"

	"github.com/containerd-pull/containerd-pull/pkg/config/file"
)

const (
	systemConfig = "/etc/containerd-pull/config.toml"
	configName   = "containerd-pull/config.toml"
)

// files are the documents of a call.
type files struct {
	documents []*file.Document // the weakest first
	nerdctl   *file.Document   // nil if there is none
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

// read reads a file and its drop-ins.
func (f *files) read(path string, required bool) error {
	doc, err := file.Read(path)
	switch {
	case err == nil:
		f.documents = append(f.documents, doc)
	case required || !errors.Is(err, fs.ErrNotExist):
		return err
	}
	dropIns, err := file.ReadDropIns(path)
	f.documents = append(f.documents, dropIns...)
	return err
}

// check finds what is wrong in all documents.
func (f *files) check(caller Caller) []*file.Error {
	var all []*file.Error
	for _, d := range f.documents {
		all = append(all, check(d, caller)...)
	}
	return all
}

// nerdctlKeys are those of nerdctl's settings that concern a pull; the others
// are known and left alone.
func nerdctlKeys() (used, others []string) {
	return []string{"address", "namespace", "snapshotter", "hosts_dir", "insecure_registry", "debug", "debug_full", "experimental"},
		[]string{"data_root", "cgroup_manager", "cni_path", "cni_netconfpath", "host_gateway_ip", "bridge_ip",
			"kube_hide_dupe", "cdi_spec_dirs", "userns_remap", "dns", "dns_opts", "dns_search", "disable_hc_systemd", "selinux_enabled"}
}

// readNerdctl reads nerdctl's file. A key that is known neither to nerdctl nor
// here is worth a warning only, since the file is nerdctl's.
func (f *files) readNerdctl(caller Caller) error {
	path := caller.nerdctlFile()
	if path == "" {
		return nil
	}
	doc, err := file.Read(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	used, others := nerdctlKeys()
	for key := range doc.Tree {
		if !slices.Contains(used, key) && !slices.Contains(others, key) {
			f.warnings = append(f.warnings, fmt.Sprintf("%s:%d: unknown key %q", path, doc.Line([]string{key}), key))
		}
	}
	slices.Sort(f.warnings)
	f.nerdctl = doc
	return nil
}

// layers are what the files hold outside of profiles, the weakest first.
func (f *files) layers() ([]layer, error) {
	var all []layer
	if f.nerdctl != nil {
		used, _ := nerdctlKeys()
		l, err := newFileLayer(FromNerdctl, used, []file.Place{{Document: f.nerdctl}})
		if err != nil {
			return nil, err
		}
		all = append(all, l)
	}
	l, err := newFileLayer(FromFile, settingKeys(), f.places(""))
	return append(all, l), err
}

// places are where settings of a profile, or those outside of profiles, may
// stand, the weakest first.
func (f *files) places(profile string) []file.Place {
	places := make([]file.Place, len(f.documents))
	for i, d := range f.documents {
		places[i] = file.Place{Document: d, Profile: profile}
	}
	return places
}
