package erofs

import (
	"encoding/binary"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/containerd-pull/containerd-pull/pkg/failure"
	"github.com/containerd-pull/containerd-pull/pkg/layer"
)

const (
	modeBits   = 0o7777
	accessACL  = "system.posix_acl_access"
	defaultACL = "system.posix_acl_default"
	capability = "security.capability"

	// maxXattr is the greatest size of a value on Linux, and maxValue that of EROFS.
	maxXattr = 64 << 10
	maxValue = maxXattr - 1
	// maxAttrs is what the attributes of one inode can take: their size is counted by
	// fours, from one for the header alone, in 16 bits.
	maxAttrs = attrsHeader + 4*(1<<16-2)
)

// attr is an extended attribute under its whole name.
type attr struct{ key, value string }

// prefixes are the beginnings of names that the format has numbers for.
var prefixes = []struct {
	number byte
	text   string
}{{1, "user."}, {2, accessACL}, {3, defaultACL}, {4, "trusted."}, {6, "security."}}

// split returns the number of the beginning of a's name, and the rest of it.
func (a attr) split() (number byte, rest string) {
	for _, p := range prefixes {
		if rest, ok := strings.CutPrefix(a.key, p.text); ok {
			return p.number, rest
		}
	}
	return 0, a.key
}

// size of the attribute in the image.
func (a attr) size() int {
	_, rest := a.split()
	return (attrHeader + len(rest) + len(a.value) + 3) &^ 3
}

// attrsSize is what the attributes of i take in the image.
func (i *inode) attrsSize() int {
	if len(i.attrs) == 0 {
		return 0
	}
	return attrsHeader + i.attrSize
}

// get returns the value of an attribute, and where it is or belongs.
func (i *inode) get(key string) (value string, at int, ok bool) {
	at, ok = slices.BinarySearchFunc(i.attrs, key, func(a attr, key string) int { return strings.Compare(a.key, key) })
	if ok {
		value = i.attrs[at].value
	}
	return value, at, ok
}

// set gives i an attribute, in the place of the one that it has of that name.
func (m *Image) set(i *inode, key, value string) (err error) {
	if key, err = m.once(key); err != nil {
		return err
	}
	if value, err = m.once(value); err != nil {
		return err
	}
	_, at, has := i.get(key)
	is := attr{key, value}
	i.attrSize += is.size()
	if has {
		i.attrSize -= i.attrs[at].size()
		i.attrs[at] = is
		return i.fits()
	}
	i.attrs = slices.Insert(i.attrs, at, is)
	if err := m.hold(attrCost); err != nil {
		return err
	}
	return i.fits()
}

// fits is an error if the attributes of i are more than the format has room for.
func (i *inode) fits() error {
	if size := i.attrsSize(); size > maxAttrs {
		return failure.New(layer.ErrUnfit, "extended attributes take %d bytes, and EROFS takes no more than %d in one file", size, maxAttrs).
			WithHint(elsewhere)
	}
	return nil
}

func (m *Image) unset(i *inode, key string) {
	if _, at, ok := i.get(key); ok {
		i.attrSize -= i.attrs[at].size()
		i.attrs = slices.Delete(i.attrs, at, at+1)
		m.release(attrCost)
	}
}

// Setxattr implements layer.Setter.
func (m *Image) Setxattr(dir int, name, key, value string, flags int) error {
	i, err := m.find(dir, name)
	if err != nil {
		return err
	}
	if err := checkAttr(i, key, value); err != nil {
		return err
	}
	if _, _, has := i.get(key); has && flags&unix.XATTR_CREATE != 0 {
		return unix.EEXIST
	}
	if key == accessACL || key == defaultACL {
		return m.setACL(i, key, value)
	}
	return m.set(i, key, value)
}

// checkAttr returns the error that Linux has for such an attribute of i.
func checkAttr(i *inode, key, value string) error {
	switch {
	case strings.Contains(key, "\x00"):
		return unix.EINVAL
	case len(value) > maxXattr:
		return unix.E2BIG
	case key == "" || len(key) > maxName:
		return unix.ERANGE
	}
	number, rest := attr{key: key}.split()
	isACL := key == accessACL || key == defaultACL
	switch {
	case number == 0 || strings.HasPrefix(key, "system.") && !isACL:
		return unix.ENOTSUP
	case rest == "" && !isACL:
		return unix.EINVAL
	case strings.HasPrefix(key, "user.") && i.kind() != unix.S_IFREG && i.kind() != unix.S_IFDIR:
		return unix.EPERM
	case key == capability && !isCapability(value):
		return unix.EINVAL
	case len(value) > maxValue:
		return failure.New(layer.ErrUnfit, "it has %d bytes, and EROFS takes no more than %d", len(value), maxValue).
			WithHint(elsewhere)
	}
	return nil
}

// isCapability reports whether Linux takes the value for a file capability: of its
// second version, or of the third, which has the owner of a user namespace.
func isCapability(value string) bool {
	if len(value) < 4 {
		return false
	}
	switch binary.LittleEndian.Uint32([]byte(value)) & 0xff000000 {
	case 0x02000000:
		return len(value) == 20
	case 0x03000000:
		return len(value) == 24
	}
	return false
}

// Listxattr implements layer.Reader.
func (m *Image) Listxattr(dir int, buf []byte) (int, error) {
	var all []byte
	for _, a := range m.handles[dir].attrs {
		all = append(append(all, a.key...), 0)
	}
	return answer(buf, string(all))
}

// Getxattr implements layer.Reader.
func (m *Image) Getxattr(dir int, key string, buf []byte) (int, error) {
	value, _, ok := m.handles[dir].get(key)
	if !ok {
		return 0, unix.ENODATA
	}
	return answer(buf, value)
}

// answer is how Linux hands out attributes.
func answer(buf []byte, value string) (int, error) {
	if len(buf) > 0 && len(buf) < len(value) {
		return 0, unix.ERANGE
	}
	copy(buf, value)
	return len(value), nil
}
