package plugin

import (
	"debug/buildinfo"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/containerd-pull/containerd-pull/pkg/userfile"
)

// DefaultShimDir comes before the usual folder of nerdctl on search paths, that
// of sudo included.
const DefaultShimDir = "/usr/local/sbin"

// Program is an executable that recognizes its links and copies in the file
// system.
type Program struct {
	Path string // of the executable, without links
	main string // its main package
}

// ThisProgram is the running executable.
func ThisProgram() (Program, error) {
	path, err := os.Executable()
	if err == nil {
		path, err = filepath.EvalSymlinks(path)
	}
	if err != nil {
		return Program{}, fmt.Errorf("finding this program: %w", err)
	}
	return Program{Path: path, main: mainPackage(path)}, nil
}

func mainPackage(path string) string {
	info, err := buildinfo.ReadFile(path)
	if err != nil {
		return ""
	}
	return info.Path
}

// Is reports whether a file is the program: the same file, or one that was built
// from the same main package.
func (p Program) Is(path string) bool {
	file, err := os.Stat(path)
	if err != nil {
		return false
	}
	self, err := os.Stat(p.Path)
	if err == nil && os.SameFile(self, file) {
		return true
	}
	return p.main != "" && mainPackage(path) == p.main
}

// errNone is the error of a search path without nerdctl.
var errNone = errors.New("no nerdctl on PATH")

// Next is the real path of the first nerdctl on the search path that is not
// the program itself.
func (p Program) Next(searchPath string) (string, error) {
	for _, file := range nerdctls(searchPath) {
		if p.Is(file) {
			continue
		}
		target, err := filepath.EvalSymlinks(file)
		if err != nil {
			return "", fmt.Errorf("finding nerdctl: %w", err)
		}
		return target, nil
	}
	return "", fmt.Errorf("%w besides this shim", errNone)
}

// nerdctls lists the programs of the name on the search path, in its order.
func nerdctls(searchPath string) []string {
	var found []string
	for _, dir := range filepath.SplitList(searchPath) {
		file := filepath.Join(dir, Name)
		info, err := os.Stat(file)
		if filepath.IsAbs(dir) && err == nil && info.Mode().IsRegular() && info.Mode()&0o111 != 0 {
			found = append(found, file)
		}
	}
	return found
}

// ShimStatus is which nerdctl a shell finds, and what its calls lead to.
type ShimStatus struct {
	First string // the first on the search path, empty if there is none
	Shim  bool   // First is a shim
	Next  string // the program that is executed in the end, empty if there is none
}

// Status looks along the search path.
func (p Program) Status(searchPath string) ShimStatus {
	var s ShimStatus
	if found := nerdctls(searchPath); len(found) > 0 {
		s.First = found[0]
		s.Shim = p.Is(s.First)
	}
	s.Next, _ = p.Next(searchPath) // none is a state as well
	return s
}

// ForeignError is the error for a file that is not a shim of the program.
type ForeignError struct{ Path string }

func (e *ForeignError) Error() string { return e.Path + " is not a shim of containerd-pull" }

// Hint is what to do about the file.
func (e *ForeignError) Hint() string {
	return "it stays as it is; name another folder, or move it away"
}

// TargetError is the error for a program that no shim may lead to: another user
// could have it replaced.
type TargetError struct {
	Target string
	Err    error
}

func (e *TargetError) Error() string { return "linking nerdctl to " + e.Target + ": " + e.Err.Error() }
func (e *TargetError) Unwrap() error { return e.Err }

// Hint is how to get a program that a shim may lead to.
func (e *TargetError) Hint() string {
	return "a shim leads only to a program that is root's or yours, and that no other user can write; install one, for instance with: sudo install -m 755 " + e.Target + " /usr/local/bin/containerd-pull"
}

// Install makes the shim in a folder: a link to target, which is a path of the
// program. It replaces an older shim and nothing else. The shim of root leads to
// root's program alone, through root's folders.
func (p Program) Install(dir, target string) (file string, err error) {
	file = filepath.Join(dir, Name)
	if err := userfile.Check(target); err != nil {
		return file, &TargetError{target, err}
	}
	err = os.Symlink(target, file)
	if !errors.Is(err, fs.ErrExist) {
		return file, err
	}
	if err := p.check(file); err != nil {
		return file, err
	}
	// The new link takes the place of the old one in one step.
	fresh, err := os.MkdirTemp(dir, "."+Name+"-")
	if err != nil {
		return file, err
	}
	defer os.RemoveAll(fresh)
	link := filepath.Join(fresh, Name)
	if err := os.Symlink(target, link); err != nil {
		return file, err
	}
	return file, os.Rename(link, file)
}

// Remove removes the shim from a folder, and no other file.
func (p Program) Remove(dir string) (file string, err error) {
	file = filepath.Join(dir, Name)
	if err := p.check(file); err != nil {
		return file, err
	}
	return file, os.Remove(file)
}

// check refuses a file that is not a shim. A shim stays one when its target is
// gone.
func (p Program) check(file string) error {
	if _, err := os.Lstat(file); err != nil {
		return err
	}
	target, err := os.Readlink(file)
	dangling := err == nil && filepath.Base(target) == filepath.Base(p.Path) && missing(file)
	if dangling || p.Is(file) {
		return nil
	}
	return &ForeignError{file}
}

func missing(path string) bool {
	_, err := os.Stat(path)
	return errors.Is(err, fs.ErrNotExist)
}
