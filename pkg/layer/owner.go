package layer

import (
	"runtime"

	"golang.org/x/sys/unix"
)

// To give a file away takes a third of the time of making it, and many layers
// belong as a whole to somebody who is not root. Files are therefore made as
// their owner's, by a thread that has the owner's file system IDs. Where that
// does not work it is noticed with the file's attributes, and dress gives it
// away.

// noSetuidFixup is SECBIT_NO_SETUID_FIXUP (linux/securebits.h): a thread keeps
// its capabilities when its IDs change.
const noSetuidFixup = 1 << 2

// alone calls f on a goroutine of its own. If f has taken its thread for itself,
// the thread ends with it, so that nothing else ever runs under the IDs that f
// leaves behind.
func alone(f func()) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		f()
	}()
	<-done
}

// creator makes files as somebody's, at first as root's.
type creator struct {
	barred   bool // from changing IDs
	taken    bool // this thread is ours
	uid, gid int  // of this thread, for file systems
}

// newCreator is for a goroutine that is alone. It does not change IDs in a user
// namespace, where some may not exist.
func newCreator(userns bool) creator { return creator{barred: userns || unix.Geteuid() != 0} }

// become makes uid and gid the owner of what is made next.
func (c *creator) become(uid, gid int) {
	uid, gid = known(uid), known(gid)
	if c.barred || uid == c.uid && gid == c.gid || !c.taken && !c.take() {
		return
	}
	_ = unix.Setfsuid(uid)
	_ = unix.Setfsgid(gid)
	c.uid, c.gid = uid, gid
}

// take reserves this thread, which keeps its capabilities from now on. Layers
// that are root's do without: to pass data between threads takes longer.
func (c *creator) take() bool {
	runtime.LockOSThread()
	bits, err := unix.PrctlRetInt(unix.PR_GET_SECUREBITS, 0, 0, 0, 0)
	if err == nil {
		err = unix.Prctl(unix.PR_SET_SECUREBITS, uintptr(bits|noSetuidFixup), 0, 0, 0)
	}
	c.taken, c.barred = err == nil, err != nil
	if c.barred {
		runtime.UnlockOSThread()
	}
	return c.taken
}

// known is root for the ID that means nobody in particular.
func known(id int) int {
	if uint32(id) == unchanged {
		return 0
	}
	return id
}
