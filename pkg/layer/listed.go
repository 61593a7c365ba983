package layer

import (
	"fmt"
	"slices"
	"unsafe"

	"github.com/containerd/errdefs"
	"golang.org/x/sys/unix"

	"github.com/containerd-pull/containerd-pull/pkg/failure"
)

const (
	// maxNames bounds the bytes of the names that are kept of one archive, for
	// each of the purposes. They are compressed well in a blob, and a name may
	// come without a file of its own.
	maxNames = 512 << 20
	// firstPrune is how many bytes of listed directories are kept before those are
	// looked for that are listed more than once.
	firstPrune = 4 << 20
)

var errNames error = failure.New(errdefs.ErrInvalidArgument, "names of the archive take more than %d bytes", maxNames)

// names counts the bytes of names that are kept.
type names struct{ bytes int }

// add puts a name into a set.
func (n *names) add(set map[string]struct{}, name string) error {
	if _, there := set[name]; there {
		return nil
	}
	set[name] = struct{}{}
	if n.bytes += len(name); n.bytes > maxNames {
		return errNames
	}
	return nil
}

// listedDir is a directory of the archive. Its times are set at the end, when
// everything in it is done.
type listedDir struct {
	name  string
	times [2]unix.Timespec
}

// listedDirs are the directories of an archive in their order, where of the same
// name the last one counts.
type listedDirs struct {
	all   []listedDir
	bytes int
	next  int // bytes at which they are pruned
}

// size is what d takes in bytes.
func (d listedDir) size() int { return int(unsafe.Sizeof(d)) + len(d.name) }

func (l *listedDirs) add(d listedDir) error {
	l.all = append(l.all, d)
	if l.bytes += d.size(); l.bytes < max(l.next, firstPrune) {
		return nil
	}
	l.prune()
	l.next = 2 * l.bytes
	if l.bytes > maxNames {
		return errNames
	}
	return nil
}

// prune drops all but the last of each name.
func (l *listedDirs) prune() {
	seen := make(map[string]struct{}, len(l.all))
	kept := l.all[:0:0]
	l.bytes = 0
	for _, d := range slices.Backward(l.all) {
		if _, again := seen[d.name]; again {
			continue
		}
		seen[d.name] = struct{}{}
		l.bytes += d.size()
		kept = append(kept, d)
	}
	slices.Reverse(kept)
	l.all = kept
}

// setListedTimes sets the times of directories as the oracle does: of what their
// names lead to at the end, which may be something else by then. A name that
// leads nowhere any more is an error.
func (a *applier) setListedTimes() error {
	for i := range a.listed.all {
		l := &a.listed.all[i]
		if err := a.setTimes(l); err != nil {
			return fmt.Errorf("setting the times of directory %s: %w", quoted(l.name), blame(err))
		}
	}
	return nil
}
