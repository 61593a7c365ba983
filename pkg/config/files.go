package config

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"

	"github.com/containerd-pull/containerd-pull/pkg/config/file"
	"github.com/containerd-pull/containerd-pull/pkg/userfile"
)

const (
	systemConfig = "/etc/containerd-pull/config.toml"
	configName   = "containerd-pull/config.toml"
)

// files are the documents of a call.
type files struct {
	documents []*file.Document // the weakest first
	nerdctl   *nerdctlLayer    // nil if there is none
	// leftOut are the files that were found and do not count.
	leftOut []*userfile.Foreign
}

// readFiles reads the files of the caller and the one that is named, if any.
// A file that was named has to exist.
func readFiles(caller Caller, named string) (*files, error) {
	f := new(files)
	for _, path := range caller.defaultFiles() {
		if err := f.found(path); err != nil {
			return nil, err
		}
		if err := f.dropIns(path); err != nil {
			return nil, err
		}
	}
	if named != "" {
		if err := f.named(named); err != nil {
			return nil, err
		}
	}
	return f, f.readNerdctl(caller)
}

// found reads a file if it is there and counts.
func (f *files) found(path string) error {
	doc, err := file.Reader(userfile.Found).Read(path)
	if err == nil {
		f.documents = append(f.documents, doc)
	}
	return f.leaveOut(err)
}

// leaveOut notes a file that does not count. It returns every other error, except
// for one about a file that is not there.
func (f *files) leaveOut(err error) error {
	if foreign, ok := errors.AsType[*userfile.Foreign](err); ok {
		f.leftOut = append(f.leftOut, foreign)
		return nil
	}
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// dropIns reads what lies in config.d beside a file.
func (f *files) dropIns(path string) error {
	names, err := file.DropIns(path)
	if err != nil {
		return err
	}
	for _, name := range names {
		if err := f.found(name); err != nil {
			return err
		}
	}
	return nil
}

func (f *files) named(path string) error {
	abs, err := filepath.Abs(path)
	if err != nil {
		return fmt.Errorf("finding %s: %w", path, err)
	}
	doc, err := file.Reader(userfile.Named).Read(abs)
	if err != nil {
		return err
	}
	f.documents = append(f.documents, doc)
	return f.dropIns(abs)
}

func (f *files) readNerdctl(caller Caller) error {
	path, named := caller.nerdctlFile()
	read := file.Reader(userfile.Found)
	if named {
		read = userfile.Named
	}
	var err error
	f.nerdctl, err = readNerdctl(path, read)
	if named && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return f.leaveOut(err)
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
