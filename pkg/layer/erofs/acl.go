package erofs

import (
	"encoding/binary"
	"math"

	"golang.org/x/sys/unix"
)

// The tags of the entries of an ACL, in their order (linux/posix_acl.h).
const (
	aclOwner  = 0x01
	aclUser   = 0x02
	aclGroup  = 0x04 // the file's
	aclGroups = 0x08 // another
	aclMask   = 0x10
	aclOther  = 0x20

	aclVersion = 2
	aclHeader  = 4
	aclSize    = 8 // of an entry
	noID       = math.MaxUint32
)

// aclEntry is an entry of an ACL.
type aclEntry struct {
	tag, perm uint16
	id        uint32
}

type acl []aclEntry

// parseACL reads the value of an attribute. There is no ACL in an empty one.
func parseACL(value string) (acl, error) {
	switch {
	case value == "":
		return nil, nil
	case len(value) < aclHeader:
		return nil, unix.EINVAL
	case binary.LittleEndian.Uint32([]byte(value)) != aclVersion:
		return nil, unix.ENOTSUP
	case (len(value)-aclHeader)%aclSize != 0:
		return nil, unix.EINVAL
	}
	var list acl
	for raw := []byte(value[aclHeader:]); len(raw) > 0; raw = raw[aclSize:] {
		e := aclEntry{binary.LittleEndian.Uint16(raw), binary.LittleEndian.Uint16(raw[2:]), binary.LittleEndian.Uint32(raw[4:])}
		if e.tag != aclUser && e.tag != aclGroups {
			e.id = noID
		}
		list = append(list, e)
	}
	if len(list) > 0 && !list.valid() {
		return nil, unix.EINVAL
	}
	return list, nil
}

// valid reports whether the entries are those of an ACL, in order.
func (l acl) valid() bool {
	count := map[uint16]int{}
	last := uint16(0)
	for _, e := range l {
		named := e.tag == aclUser || e.tag == aclGroups
		if e.tag < last || e.tag == last && !named || e.perm&^7 != 0 || named && e.id == noID {
			return false
		}
		switch e.tag {
		case aclOwner, aclUser, aclGroup, aclGroups, aclMask, aclOther:
		default:
			return false
		}
		count[e.tag]++
		last = e.tag
	}
	needsMask := count[aclUser]+count[aclGroups] > 0
	return count[aclOwner] == 1 && count[aclGroup] == 1 && count[aclOther] == 1 && (!needsMask || count[aclMask] == 1)
}

func (l acl) String() string {
	raw := binary.LittleEndian.AppendUint32(nil, aclVersion)
	for _, e := range l {
		raw = binary.LittleEndian.AppendUint16(raw, e.tag)
		raw = binary.LittleEndian.AppendUint16(raw, e.perm)
		raw = binary.LittleEndian.AppendUint32(raw, e.id)
	}
	return string(raw)
}

// class returns the entry that the permissions of the group stand for, which is the
// mask if there is one, and the others' two.
func (l acl) class() (owner, group, other *aclEntry) {
	for i := range l {
		switch e := &l[i]; e.tag {
		case aclOwner:
			owner = e
		case aclGroup, aclMask: // the mask comes later
			group = e
		case aclOther:
			other = e
		}
	}
	return owner, group, other
}

// plain reports whether l says no more than a mode.
func (l acl) plain() bool { return len(l) == 3 }

// permissions are the bits of the mode that l stands for.
func (l acl) permissions() uint32 {
	owner, group, other := l.class()
	return uint32(owner.perm)<<6 | uint32(group.perm)<<3 | uint32(other.perm)
}

// setACL is the setting of one of the two attributes.
func (m *Image) setACL(i *inode, key, value string) error {
	if i.kind() == unix.S_IFLNK {
		return unix.ENOTSUP
	}
	list, err := parseACL(value)
	switch {
	case err != nil:
		return err
	case key == defaultACL && !i.isDir() && list != nil:
		return unix.EACCES
	case list == nil:
		m.unset(i, key)
		return nil
	case key == defaultACL:
		return m.set(i, key, list.String())
	}
	i.mode = i.mode&^0o777 | list.permissions()
	if list.plain() {
		m.unset(i, key)
		return nil
	}
	return m.set(i, key, list.String())
}

// aclOf returns an ACL of i, nil if it has none.
func (i *inode) aclOf(key string) acl {
	value, _, ok := i.get(key)
	if !ok {
		return nil
	}
	list, err := parseACL(value)
	if err != nil { // it was valid when it was set
		return nil
	}
	return list
}

// inheritACL gives what is new in a directory what its default ACL says, as far as the
// mode that was asked for allows.
func (m *Image) inheritACL(from, i *inode) error {
	list := from.aclOf(defaultACL)
	if list == nil || i.kind() == unix.S_IFLNK {
		return nil
	}
	if i.isDir() {
		if err := m.set(i, defaultACL, list.String()); err != nil {
			return err
		}
	}
	owner, group, other := list.class()
	owner.perm &= uint16(i.mode >> 6)
	group.perm &= uint16(i.mode >> 3)
	other.perm &= uint16(i.mode)
	i.mode = i.mode&^0o777 | list.permissions()
	if list.plain() {
		return nil
	}
	return m.set(i, accessACL, list.String())
}

// chmodACL makes the ACL of i follow its mode.
func (m *Image) chmodACL(i *inode) error {
	list := i.aclOf(accessACL)
	if list == nil {
		return nil
	}
	owner, group, other := list.class()
	owner.perm, group.perm, other.perm = uint16(i.mode>>6&7), uint16(i.mode>>3&7), uint16(i.mode&7)
	return m.set(i, accessACL, list.String())
}
