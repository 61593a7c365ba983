package config

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"

	"github.com/containerd-pull/containerd-pull/pkg/config/file"
)

const (
	systemConfig = "/etc/containerd-pull/config.toml"
	configName   = "containerd-pull/config.toml"
)

// files are the documents of a call.
type files struct {
	documents []*file.Document // the weakest first
	nerdctl   *nerdctlLayer    // nil if there is none
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
	var err error
	f.nerdctl, err = readNerdctl(caller.nerdctlFile())
	return f, err
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

// layers are what the files hold outside of profiles, the weakest first.
func (f *files) layers() ([]layer, error) {
	var all []layer
	if f.nerdctl != nil {
		all = append(all, f.nerdctl)
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
