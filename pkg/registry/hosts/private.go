package hosts

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"github.com/containerd/errdefs"

	"github.com/containerd-pull/containerd-pull/pkg/failure"
	"github.com/containerd-pull/containerd-pull/pkg/userfile"
)

// private returns a directory with what was read of f, for containerd, which reads by
// name: another user could put something else there meanwhile, or something that never
// ends. Where no other user can, it is f itself. The caller calls done.
func (f folder) private() (dir string, done func(), err error) {
	files, err := f.files()
	if err != nil {
		return "", nil, err
	}
	if f.isOwn(files) {
		return f.path, func() {}, nil
	}
	path, err := os.MkdirTemp("", "containerd-pull-hosts-")
	if err != nil {
		return "", nil, fmt.Errorf("copying %s, which is another user's: %w", f.path, err)
	}
	handle, err := os.Open(path)
	if err == nil {
		dir = fmt.Sprintf("/proc/self/fd/%d", handle.Fd()) // which another user of TMPDIR cannot move
		err = f.copyTo(dir, files)
	}
	done = func() {
		if handle != nil {
			_ = handle.Close()
		}
		_ = os.RemoveAll(path) // the copies of a moment ago
	}
	if err != nil {
		done()
		return "", nil, fmt.Errorf("copying %s, which is another user's: %w", f.path, err)
	}
	return dir, done, nil
}

// isOwn reports whether the directory and all that it names are such that only the
// caller and root can have written them.
func (f folder) isOwn(files map[string][]byte) bool {
	if userfile.Check(f.path) != nil {
		return false
	}
	for name := range files {
		if err := userfile.Check(f.at(name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return false
		}
	}
	return true
}

// at is the path of a file that the directory names.
func (f folder) at(name string) string {
	if filepath.IsAbs(name) {
		return name
	}
	return filepath.Join(f.path, name)
}

// copyTo writes the files into dir. Those that hosts.toml names get names of their own
// there, by which it names them in the copy.
func (f folder) copyTo(dir string, files map[string][]byte) error {
	text, described := files[hostsFile]
	copies := []string{}
	for name, data := range files {
		if name == hostsFile {
			continue
		}
		if described {
			own := fmt.Sprintf("%d.pem", len(copies))
			for _, quote := range []string{`"`, `'`} {
				text = bytes.ReplaceAll(text, []byte(quote+name+quote), []byte(quote+own+quote))
			}
			name = own
		}
		copies = append(copies, name)
		if err := os.WriteFile(filepath.Join(dir, name), data, 0o600); err != nil {
			return err
		}
	}
	if !described {
		return nil
	}
	for _, name := range namedIn(text) {
		if !slices.Contains(copies, name) {
			return failure.New(errdefs.ErrFailedPrecondition, "%s names %s, which is not there or is written in another way than in one pair of quotes", filepath.Join(f.path, hostsFile), name)
		}
	}
	return os.WriteFile(filepath.Join(dir, hostsFile), text, 0o600)
}
