package root

import (
	"bufio"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/containerd-pull/containerd-pull/pkg/store"
)

const (
	// patience is how long a root is waited for that another process holds.
	patience = time.Minute
	poll     = 50 * time.Millisecond
)

// lockPlace waits until no other process works on the place: an exclusive lock for
// none at all, else for none that writes. It is on a file of its own that other users
// cannot open, and cannot hold therefore. The process that made the file removes it, so
// that a root is what a daemon makes of it. A place that is only looked at does not get
// one, and the lock is nil where there is none.
func (o Opener) lockPlace(ctx context.Context, p *place, exclusive bool) (*os.File, error) {
	flags, how := os.O_RDONLY, unix.LOCK_SH
	if exclusive {
		flags, how = os.O_RDWR|os.O_CREATE, unix.LOCK_EX
	}
	for {
		f, err := p.file(lockName, flags, 0o600)
		if !exclusive && (errors.Is(err, os.ErrNotExist) || errors.Is(err, os.ErrPermission)) {
			return nil, nil
		}
		if err != nil {
			return nil, fmt.Errorf("locking the root: %w", err)
		}
		if err := lock(ctx, f, how, cmp.Or(o.Patience, patience), o.Waiting); err != nil {
			return nil, errors.Join(err, f.Close())
		}
		var st unix.Stat_t
		if err := unix.Fstat(int(f.Fd()), &st); err != nil || st.Nlink > 0 {
			return f, err
		}
		if err := f.Close(); err != nil { // the process before has removed it
			return nil, err
		}
	}
}

// unlock gives up the lock of the place, which may be nil. The file goes from this
// place, whatever lies under its path by now.
func (p *place) unlock(f *os.File, exclusive bool) error {
	if f == nil {
		return nil
	}
	if !exclusive {
		return f.Close()
	}
	err := unix.Unlinkat(int(p.dir.Fd()), lockName, 0)
	if errors.Is(err, os.ErrNotExist) { // with all of the root
		err = nil
	}
	if err != nil {
		err = fmt.Errorf("removing %s: %w", f.Name(), err)
	}
	return errors.Join(err, f.Close())
}

// lock locks f, and says once who is waited for. It waits for at most patience.
func lock(ctx context.Context, f *os.File, how int, patience time.Duration, waiting func(string)) error {
	late := time.NewTimer(patience)
	defer late.Stop()
	for said := false; ; said = true {
		err := unix.Flock(int(f.Fd()), how|unix.LOCK_NB)
		if err == nil {
			return nil
		}
		if !errors.Is(err, unix.EWOULDBLOCK) {
			return fmt.Errorf("locking %s: %w", f.Name(), err)
		}
		if !said && waiting != nil {
			waiting(fmt.Sprintf("waiting for %s, which holds %s", holder(f), filepath.Dir(f.Name())))
		}
		select {
		case <-time.After(poll):
		case <-late.C:
			return &busyError{f.Name(), holder(f), fmt.Errorf("still after %s", patience)}
		case <-ctx.Done():
			return &busyError{f.Name(), holder(f), context.Cause(ctx)}
		}
	}
}

// busyError is a root that another process holds.
type busyError struct {
	path, holder string
	cause        error // why it is not waited for any longer
}

func (e *busyError) Error() string {
	return fmt.Sprintf("%v: %s holds %s: %v", store.ErrBusy, e.holder, e.path, e.cause)
}

func (e *busyError) Unwrap() []error { return []error{store.ErrBusy, e.cause} }

// Hint is empty for a database, which a daemon holds for as long as it runs.
func (e *busyError) Hint() string {
	if filepath.Base(e.path) != lockName {
		return ""
	}
	return "wait until that process has ended, or end it, and run the same command again"
}

// holder names a process that has a lock on f, as far as this process can see it:
// those of other PID namespaces are not shown.
func holder(f *os.File) string {
	var st unix.Stat_t
	if err := unix.Fstat(int(f.Fd()), &st); err != nil {
		return "another process"
	}
	locks, err := os.Open("/proc/locks")
	if err != nil {
		return "another process"
	}
	defer locks.Close()
	pid := holderIn(locks, &st)
	if pid == "" {
		return "a process that cannot be seen from here"
	}
	name, err := os.ReadFile("/proc/" + pid + "/comm")
	if err != nil {
		return "process " + pid
	}
	return fmt.Sprintf("%s (process %s)", strings.TrimSpace(string(name)), pid)
}

// holderIn finds the process in a list of locks (proc_locks(5)):
//
//	1: FLOCK  ADVISORY  WRITE 1234 08:01:5678 0 EOF
//
// Some file systems have another device in that list than stat(2) shows, so a file of
// the same number is taken if there is no better one.
func holderIn(locks io.Reader, st *unix.Stat_t) (pid string) {
	inode := fmt.Sprintf(":%d", st.Ino)
	file := fmt.Sprintf("%02x:%02x", unix.Major(st.Dev), unix.Minor(st.Dev)) + inode
	for lines := bufio.NewScanner(locks); lines.Scan(); {
		fields := strings.Fields(lines.Text())
		if len(fields) < 6 || fields[1] != "FLOCK" || !strings.HasSuffix(fields[5], inode) {
			continue
		}
		if fields[5] == file {
			return fields[4]
		}
		pid = fields[4]
	}
	return pid
}
