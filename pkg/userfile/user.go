package userfile

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"

	"golang.org/x/sys/unix"
)

// user is whose files count, and how strictly they are judged.
type user struct {
	uid int
	// strict is set for root: every folder on the way is judged, and groups count
	// as others. An ordinary user shares folders with a group, and has a home
	// wherever the administrator made it.
	strict bool
	// unmapped is the number by which a user namespace shows all owners that it
	// has no number for, if root of the machine is among them; -1 otherwise.
	unmapped int
	// ambiguous is set if the namespace also has a user of that number.
	ambiguous bool
}

// self is the user of the process.
var self = sync.OnceValue(func() user { return newUser(os.Geteuid(), readIDs()) })

// idRange maps so many user IDs of a namespace, from inside on, to those of the
// namespace around it.
type idRange struct{ inside, outside, count int }

// has reports whether id, of the namespace, is in the range.
func (r idRange) has(id int) bool { return id >= r.inside && id-r.inside < r.count }

// newUser tells root from an ordinary user who is root in a user namespace of
// their own, as RootlessKit makes it: there, 0 stands for that user alone.
func newUser(uid int, ids []idRange) user {
	u := user{uid: uid, strict: uid == 0, unmapped: overflowID()}
	for _, r := range ids {
		if r.outside == 0 {
			u.unmapped = -1
		}
		if r.has(0) && r.count == 1 && r.outside != 0 {
			u.strict = false
		}
	}
	for _, r := range ids {
		u.ambiguous = u.ambiguous || r.has(u.unmapped)
	}
	if u.ambiguous && !mayProbe() {
		u.unmapped = -1
	}
	return u
}

// readIDs reads the ranges of the user namespace. Without any, it is that of the
// machine.
func readIDs() []idRange {
	f, err := os.Open("/proc/self/uid_map")
	if err != nil {
		return []idRange{{count: 1 << 32}}
	}
	defer f.Close()
	var ids []idRange
	for lines := bufio.NewScanner(f); lines.Scan(); {
		var r idRange
		if _, err := fmt.Sscan(lines.Text(), &r.inside, &r.outside, &r.count); err == nil {
			ids = append(ids, r)
		}
	}
	return ids
}

// overflowID is the number of owners without a number.
func overflowID() int {
	text, err := os.ReadFile("/proc/sys/kernel/overflowuid")
	id, err2 := strconv.Atoi(strings.TrimSpace(string(text)))
	if err != nil || err2 != nil {
		return 65534 // as the kernel is built
	}
	return id
}

// mayProbe reports whether the process has the capability by which isUnmapped
// knows the owners that the namespace has numbers for.
func mayProbe() bool {
	var data [2]unix.CapUserData
	err := unix.Capget(&unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}, &data[0])
	return err == nil && data[0].Effective&(1<<unix.CAP_FOWNER) != 0
}

// trusts reports whether the owner of an entry is the user or root.
func (u user) trusts(e entry) bool {
	owner := int(e.st.Uid)
	return owner == 0 || owner == u.uid || u.isMachineRoot(e)
}

// isMachineRoot reports whether the owner may be taken for root of the machine
// around the user namespace: it has no number here. In a container, that may be
// any user of the machine who can put an entry into a folder on the way. RootlessKit
// has the file system of the machine, where an ordinary user looks nowhere but in
// root's folders and in those that the user's own environment names.
func (u user) isMachineRoot(e entry) bool {
	if u.unmapped < 0 || int(e.st.Uid) != u.unmapped || u.strict && e.belowShared != 0 {
		return false
	}
	return !u.ambiguous || isUnmapped(e)
}

// isUnmapped reports whether the namespace has no number for the owner of a file
// or folder. Only then the kernel refuses root of the namespace to leave the time
// of access alone.
func isUnmapped(e entry) bool {
	if !isKind(e.st, unix.S_IFREG) && !isKind(e.st, unix.S_IFDIR) {
		return false
	}
	fd, err := unix.Openat(int(e.dir.Fd()), e.name, unix.O_RDONLY|unix.O_NOATIME|unix.O_NOFOLLOW|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err == nil {
		unix.Close(fd)
	}
	return err != nil
}

// others are the bits of a mode by which other users can write.
func (u user) others() uint32 {
	if u.strict {
		return 0o022
	}
	return 0o002
}

// judgeFound judges what leads to a file that was found by search, and the file.
// Of an ordinary user, it judges what lies in folders that all users share, and the
// file.
func (u user) judgeFound(e entry) error {
	shared := e.inShared&u.others() != 0
	link, folder := isKind(e.st, unix.S_IFLNK), isKind(e.st, unix.S_IFDIR)
	sticky := folder && e.st.Mode&unix.S_ISVTX != 0
	switch {
	case link && !shared: // whose folder it is in has made it
		return nil
	case !u.strict && !e.last && !shared:
		return nil
	case !u.trusts(e):
		return &Foreign{At: e.path, why: fmt.Sprintf("belongs to uid %d", e.st.Uid), found: true, strict: u.strict, owner: true}
	case !link && !sticky && u.isOpen(e):
		return &Foreign{At: e.path, why: writable(e), found: true, strict: u.strict}
	}
	return nil
}

// judgeNamed judges what leads to a file that was named, and the file. Whose they
// are is the caller's choice, save that another user's link may lead root only to that
// user's own: what root alone can read would be shown in errors.
func (u user) judgeNamed() judge {
	var foreign []entry // links of other users that were followed
	return func(e entry) error {
		if isKind(e.st, unix.S_IFLNK) {
			if u.strict && !u.trusts(e) {
				foreign = append(foreign, e)
			}
			return nil
		}
		for _, l := range foreign {
			if e.last && l.st.Uid != e.st.Uid {
				return &Foreign{At: l.path, why: fmt.Sprintf("is a link of uid %d to a file of uid %d", l.st.Uid, e.st.Uid), strict: u.strict, link: true}
			}
		}
		return u.judgeModes(e)
	}
}

// judgeModes judges who can write what leads to a file that was named, and the file.
func (u user) judgeModes(e entry) error {
	sticky := e.st.Mode&unix.S_ISVTX != 0
	way := isKind(e.st, unix.S_IFDIR) && !sticky && u.strict && e.st.Mode&0o002 != 0
	if way || (isKind(e.st, unix.S_IFREG) || isKind(e.st, unix.S_IFIFO)) && u.isOpen(e) {
		return &Foreign{At: e.path, why: writable(e), strict: u.strict}
	}
	return nil
}

// isOpen reports whether others can write an entry. Those that can write a device
// do not change what it gives.
func (u user) isOpen(e entry) bool {
	return e.st.Mode&u.others() != 0 && !isKind(e.st, unix.S_IFCHR)
}

func writable(e entry) string {
	who := "its group"
	if e.st.Mode&0o002 != 0 {
		who = "every user"
	}
	return fmt.Sprintf("can be written by %s (mode %04o)", who, e.st.Mode&0o7777)
}

// Foreign is the error for a file that does not count, because another user may
// have written it.
type Foreign struct {
	Path string // as it was asked for
	// At is what is to blame: the file, or a folder or link on the way.
	At     string
	why    string
	found  bool // by search, not named
	strict bool
	owner  bool // the owner is to blame, not the mode
	link   bool // the owner of a link is to blame
}

// Error names the file and what is wrong.
func (e *Foreign) Error() string {
	if e.At == e.Path {
		return e.At + " " + e.why
	}
	return fmt.Sprintf("%s: %s, on the way, %s", e.Path, e.At, e.why)
}

// Hint says what to do about it.
func (e *Foreign) Hint() string {
	switch {
	case e.link:
		return "name the file that it leads to"
	case e.owner && e.strict && e.At == e.Path:
		return "root reads by itself only what is root's: chown root " + e.At + ", or name it for this call"
	case e.owner && e.strict:
		return "root reads by itself only what is root's, with all folders on the way: name it for this call (--config, --authfile, --hosts-dir), or use sudo without -E"
	case e.owner:
		return "only your own files and root's are read by themselves: chown it to yourself, or name it for this call"
	case e.strict:
		return "only root may be able to write it: chmod go-w " + e.At
	}
	return "chmod o-w " + e.At
}

// Warning says in one line that the file is left out, why, and what to do.
func (e *Foreign) Warning() string { return e.Path + " is left out: " + e.Reason() + "; " + e.Hint() }

// Reason says what is wrong, without the name of the file.
func (e *Foreign) Reason() string {
	if e.At == e.Path {
		return "it " + e.why
	}
	return e.At + " " + e.why
}

// of notes in a *Foreign what was asked for.
func of(path string, err error) error {
	if foreign, ok := errors.AsType[*Foreign](err); ok {
		foreign.Path = path
		if abs, err := filepath.Abs(path); err == nil && abs == foreign.At {
			foreign.At = path
		}
	}
	return err
}
