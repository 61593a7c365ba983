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

// alone calls f on a thread that ends with it, so that nothing else ever runs
// under the IDs that f leaves behind.
func alone(f func()) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		runtime.LockOSThread()
		f()
	}()
	<-done
}

// creator makes files as somebody's. The zero value makes them as root's.
type creator struct {
	able     bool
	uid, gid int // of this thread, for file systems
}

// newCreator is for this thread alone. It cannot change IDs in a user namespace,
// where some may not exist, nor without the right to keep its capabilities.
func newCreator(userns bool) creator {
	if userns || unix.Geteuid() != 0 {
		return creator{}
	}
	bits, err := unix.PrctlRetInt(unix.PR_GET_SECUREBITS, 0, 0, 0, 0)
	if err == nil {
		err = unix.Prctl(unix.PR_SET_SECUREBITS, uintptr(bits|noSetuidFixup), 0, 0, 0)
	}
	return creator{able: err == nil, uid: 0, gid: unix.Getegid()}
}

// become makes uid and gid the owner of what is made next.
func (c *creator) become(uid, gid int) {
	if !c.able {
		return
	}
	if uid = known(uid); uid != c.uid {
		_ = unix.Setfsuid(uid)
		c.uid = uid
	}
	if gid = known(gid); gid != c.gid {
		_ = unix.Setfsgid(gid)
		c.gid = gid
	}
}

// known is root for the ID that means nobody in particular.
func known(id int) int {
	if uint32(id) == unchanged {
		return 0
	}
	return id
}
