package root

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/containerd-pull/containerd-pull/pkg/store"
)

// Foresee is Look for a root that may not exist yet: that is looked at as the empty
// one that Open would make, with the space of the file system that it would be on.
// Nothing is made but a folder for temporary files that stands in for it until the
// store is closed.
func (o Opener) Foresee(ctx context.Context, so store.Options) (*store.Store, error) {
	if _, err := os.Stat(so.Root); !errors.Is(err, os.ErrNotExist) {
		return o.Look(ctx, so)
	}
	return open(so, func(so store.Options) (*root, error) {
		absent, err := newAbsence(so.Root)
		if err != nil {
			return nil, err
		}
		so.Root = absent.instead
		r, err := newRoot(so)
		if err != nil {
			return nil, errors.Join(err, absent.close())
		}
		r.absent = absent
		return r, r.look(ctx, o)
	})
}

// absence is a root that does not exist.
type absence struct {
	above   *os.File // the nearest folder that does
	rest    string   // of the root beneath it
	instead string   // an empty folder
}

func newAbsence(name string) (*absence, error) {
	dir, err := filepath.Abs(name)
	rest := ""
	for err == nil {
		above, oerr := os.Open(dir)
		if oerr == nil {
			a := &absence{above: above, rest: rest}
			if a.instead, err = os.MkdirTemp("", "containerd-pull-root-"); err != nil {
				return nil, errors.Join(err, above.Close())
			}
			return a, nil
		}
		if err = unfit(oerr); errors.Is(oerr, os.ErrNotExist) && dir != filepath.Dir(dir) {
			dir, rest, err = filepath.Dir(dir), filepath.Join(filepath.Base(dir), rest), nil
		}
	}
	return nil, fmt.Errorf("finding root %q: %w", name, err)
}

// place is where the folder name of the root would be.
func (a *absence) place(name string) *store.Place {
	return &store.Place{Dir: a.above, Rest: filepath.Join(a.rest, name)}
}

func (a *absence) close() error { return errors.Join(a.above.Close(), os.Remove(a.instead)) }
