package layer

import (
	"runtime"

	"golang.org/x/sys/unix"
)

// chown costs a third of creating a file, and many layers are owned entirely by
// one non-root user. Files are therefore created with that user's fsuid/fsgid.
// Where that does not work, dress finds another owner among the file's
// attributes and changes it.

// noSetuidFixup is SECBIT_NO_SETUID_FIXUP (linux/securebits.h): a thread keeps
// its capabilities when its IDs change.
const noSetuidFixup = 1 << 2

// alone calls f on a goroutine of its own. If f has locked it to its thread, the
// thread ends with it, so that nothing else ever runs under the IDs that f leaves
// behind.
func alone(f func()) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		f()
	}()
	<-done
}

// creator decides which user owns what the goroutine creates, at first root.
type creator struct {
	barred   bool // from changing IDs
	locked   bool // whether the goroutine is locked to its thread
	uid, gid int  // of the thread, for file systems
}

// newCreator returns a creator for a goroutine that is alone. It does not change
// IDs in a user namespace, where some may not exist.
func newCreator(userns bool) creator { return creator{barred: userns || unix.Geteuid() != 0} }

// become makes uid and gid the owner of what is made next.
func (c *creator) become(uid, gid int) {
	uid, gid = known(uid), known(gid)
	if c.barred || uid == c.uid && gid == c.gid || !c.locked && !c.lock() {
		return
	}
	_ = unix.Setfsuid(uid)
	_ = unix.Setfsgid(gid)
	c.uid, c.gid = uid, gid
}

// lock locks the goroutine to its thread, which keeps its capabilities from now
// on. Layers that are root's do without, since passing data between threads takes
// longer.
func (c *creator) lock() bool {
	runtime.LockOSThread()
	bits, err := unix.PrctlRetInt(unix.PR_GET_SECUREBITS, 0, 0, 0, 0)
	if err == nil {
		err = unix.Prctl(unix.PR_SET_SECUREBITS, uintptr(bits|noSetuidFixup), 0, 0, 0)
	}
	c.locked, c.barred = err == nil, err != nil
	if c.barred {
		runtime.UnlockOSThread()
	}
	return c.locked
}

// known replaces the ID that stands for no change by root's.
func known(id int) int {
	if uint32(id) == unchanged {
		return 0
	}
	return id
}
