package layer

import (
	"context"
	"errors"
	"io"
	"os"
)

// ApplyTo is Apply for tests that have a path.
func ApplyTo(ctx context.Context, root string, r io.Reader, o Options) (Result, error) {
	return applyTo(ctx, root, r, o, false)
}

// ApplyByWalking is ApplyTo on a kernel without openat2.
func ApplyByWalking(ctx context.Context, root string, r io.Reader, o Options) (Result, error) {
	return applyTo(ctx, root, r, o, true)
}

func applyTo(ctx context.Context, root string, r io.Reader, o Options, walks bool) (Result, error) {
	dir, err := os.Open(root)
	if err != nil {
		return Result{}, err
	}
	res, err := Apply(ctx, kernel{dir, walks}, r, o)
	return res, errors.Join(err, dir.Close())
}

// InheritTo is Inherit for tests that have paths.
func InheritTo(root string, lowers []string, dirs []Directory) error {
	return WithFolders(append([]string{root}, lowers...), func(all []*os.File) error { return Inherit(Folder(all[0]), Folders(all[1:]), dirs) })
}

// WithFolders calls do with the open folders at paths.
func WithFolders(paths []string, do func([]*os.File) error) error {
	all := make([]*os.File, 0, len(paths))
	defer func() {
		for _, f := range all {
			f.Close()
		}
	}()
	for _, path := range paths {
		f, err := os.Open(path)
		if err != nil {
			return err
		}
		all = append(all, f)
	}
	return do(all)
}

// FolderByWalking is Folder on a kernel without openat2.
func FolderByWalking(dir *os.File) System { return kernel{dir, true} }

// MeasureIn is Usage.Measure for tests that have a path.
func MeasureIn(u Usage, root string) (inodes, bytes int64, ok bool) {
	dir, err := os.Open(root)
	if err != nil {
		return 0, 0, false
	}
	defer dir.Close()
	return u.Measure(dir)
}

// MaxHandles is how many directories Apply keeps open.
const MaxHandles = maxHandles
