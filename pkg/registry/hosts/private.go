package hosts

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"

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
	if dir, done, err = f.copied(files); err != nil {
		return "", nil, fmt.Errorf("copying %s, which others can write: %w", f.path, err)
	}
	return dir, done, nil
}

// copied returns a new directory with the files. The caller calls done.
func (f folder) copied(files map[string][]byte) (dir string, done func(), err error) {
	path, err := os.MkdirTemp("", "containerd-pull-hosts-")
	if err != nil {
		return "", nil, err
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
		return "", nil, err
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

// copyTo writes the files into dir. Each that hosts.toml names gets a folder there, and
// the copy of hosts.toml names it by that.
func (f folder) copyTo(dir string, files map[string][]byte) error {
	text, described := files[hostsFile]
	copies := map[string]string{} // names there, by those here
	for name, data := range files {
		if name == hostsFile {
			continue
		}
		own := name
		if described {
			number := strconv.Itoa(len(copies))
			own = filepath.Join(number, filepath.Base(name))
			if err := os.Mkdir(filepath.Join(dir, number), 0o700); err != nil {
				return err
			}
		}
		copies[name] = own
		if err := os.WriteFile(filepath.Join(dir, own), data, 0o600); err != nil {
			return err
		}
	}
	if !described {
		return nil
	}
	text, err := renamed(text, copies)
	if err != nil {
		return fmt.Errorf("%s %w", filepath.Join(f.path, hostsFile), err)
	}
	return os.WriteFile(filepath.Join(dir, hostsFile), text, 0o600)
}

// renamed returns a hosts.toml that names the copies of files. All is replaced at once,
// since the new name of one may be the old name of another.
func renamed(text []byte, copies map[string]string) ([]byte, error) {
	pairs := make([]string, 0, 4*len(copies))
	for name, own := range copies {
		for _, quote := range []string{`"`, `'`} {
			pairs = append(pairs, quote+name+quote, quote+own+quote)
		}
	}
	changed := []byte(strings.NewReplacer(pairs...).Replace(string(text)))
	now := namedIn(changed)
	for i, name := range namedIn(text) {
		if own, ok := copies[name]; !ok || i >= len(now) || now[i] != own {
			return nil, failure.New(errdefs.ErrFailedPrecondition, "names %s, which is not there or is written in another way than in one pair of quotes", name)
		}
	}
	return changed, nil
}
