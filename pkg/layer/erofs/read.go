package erofs

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"sort"
	"strings"

	"github.com/containerd/errdefs"
	"golang.org/x/sys/unix"

	"github.com/containerd-pull/containerd-pull/pkg/failure"
)

// knownFeatures are those features of an image without which it cannot be read that
// change nothing of directories, links and attributes: how files are compressed, cut
// into chunks or shared.
const knownFeatures = 0x3f

// Reader is a layer.Reader of an image that is complete, made by this package or by
// mkfs.erofs. It reads directories, links and attributes, and no content. Its methods
// are not for several goroutines at a time.
type Reader struct {
	file    io.ReaderAt
	bits    uint  // of the size of a block
	inodes  int64 // where they begin
	shared  int64 // where attributes begin that several inodes have
	root    uint64
	built   unix.Timespec
	handles []*node
}

// Open opens the image in file, which stays open as long as it is used. What is no
// image is an errdefs.ErrDataLoss, and one with features that came later is an
// errdefs.ErrNotImplemented.
func Open(file *os.File) (*Reader, error) {
	b := make([]byte, superSize)
	if _, err := file.ReadAt(b, superOffset); err != nil && !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("reading the EROFS image: %w", err)
	}
	order := binary.LittleEndian
	if order.Uint32(b) != magic || b[12] < 9 || b[12] > 16 {
		return nil, failure.New(errdefs.ErrDataLoss, "%s is no EROFS image", file.Name())
	}
	if features := order.Uint32(b[80:]); features&^knownFeatures != 0 {
		return nil, failure.New(errdefs.ErrNotImplemented, "the EROFS image %s has features that are not known here (%#x)", file.Name(), features)
	}
	r := &Reader{
		file: file, bits: uint(b[12]), root: uint64(order.Uint16(b[14:])),
		built: unix.Timespec{Sec: int64(order.Uint64(b[24:])), Nsec: int64(order.Uint32(b[32:]))},
	}
	r.inodes = int64(order.Uint32(b[40:])) << r.bits
	r.shared = int64(order.Uint32(b[44:])) << r.bits
	return r, nil
}

// node is an inode of an image.
type node struct {
	stat   unix.Stat_t
	inline bool   // whether its end lies beside it
	block  uint32 // of the rest
	attrs  int64  // where its attributes begin
	length int64  // of them
}

// damaged is the error of an image that contradicts itself, the one that Linux has.
const damaged = unix.EUCLEAN

// read fills p from off.
func (r *Reader) read(p []byte, off int64) error {
	if off < 0 {
		return damaged
	}
	_, err := r.file.ReadAt(p, off)
	if errors.Is(err, io.EOF) {
		return damaged
	}
	return err
}

// node reads the inode with that number.
func (r *Reader) node(nid uint64) (*node, error) {
	at := r.inodes + int64(nid)*slot
	b := make([]byte, inodeSize)
	if err := r.read(b[:slot], at); err != nil {
		return nil, err
	}
	order := binary.LittleEndian
	n := &node{stat: unix.Stat_t{Mode: uint32(order.Uint16(b[4:])), Ino: nid}}
	format, size := order.Uint16(b), int64(slot)
	if format&extended != 0 {
		size = inodeSize
		if err := r.read(b, at); err != nil {
			return nil, err
		}
	}
	switch layout := format & 0xe; layout {
	case flatPlain, flatInline:
		n.inline = layout == flatInline
	default:
		if n.stat.Mode&unix.S_IFMT != unix.S_IFREG {
			return nil, damaged
		}
	}
	n.block, n.attrs = order.Uint32(b[16:]), at+size
	if count := int64(order.Uint16(b[2:])); count > 0 {
		n.length = attrsHeader + 4*(count-1)
	}
	r.fill(&n.stat, b, format&extended != 0)
	return n, nil
}

// fill reads what an inode tells of a file into st.
func (r *Reader) fill(st *unix.Stat_t, b []byte, long bool) {
	order := binary.LittleEndian
	if long {
		st.Size = int64(order.Uint64(b[8:]))
		st.Uid, st.Gid = order.Uint32(b[24:]), order.Uint32(b[28:])
		st.Mtim = unix.Timespec{Sec: int64(order.Uint64(b[32:])), Nsec: int64(order.Uint32(b[40:]))}
	} else {
		st.Size = int64(order.Uint32(b[8:]))
		st.Uid, st.Gid = uint32(order.Uint16(b[24:])), uint32(order.Uint16(b[26:]))
		st.Mtim = r.built
	}
	st.Atim, st.Ctim = st.Mtim, st.Mtim
}

// content reads the block of what n holds that begins at off. It is shorter at the
// end.
func (r *Reader) content(n *node, off int64) ([]byte, error) {
	size := int64(1) << r.bits
	if off < 0 || off >= n.stat.Size {
		return nil, damaged
	}
	b := make([]byte, min(size, n.stat.Size-off))
	at := int64(n.block)<<r.bits + off
	if n.inline && n.stat.Size-off <= size {
		at = n.attrs + n.length
	}
	return b, r.read(b, at)
}

// find reads what the name is in the open directory dir.
func (r *Reader) find(dir int, name string) (*node, error) {
	at := r.handles[dir]
	switch {
	case name == "", name == ".":
		return at, nil
	case at.stat.Mode&unix.S_IFMT != unix.S_IFDIR:
		return nil, unix.ENOTDIR
	case len(name) > maxName:
		return nil, unix.ENAMETOOLONG
	}
	nid, err := r.lookUp(at, name)
	if err != nil {
		return nil, err
	}
	return r.node(nid)
}

// lookUp finds the number of the inode with that name. Names are in order, in blocks
// and within them.
func (r *Reader) lookUp(dir *node, name string) (nid uint64, err error) {
	blocks := int((dir.stat.Size + 1<<r.bits - 1) >> r.bits)
	above := sort.Search(blocks, func(i int) bool {
		names, failed := r.namesIn(dir, i)
		if failed != nil {
			err = failed
		}
		return failed != nil || names[0].name > name
	})
	if err != nil {
		return 0, err
	}
	if above == 0 {
		return 0, unix.ENOENT
	}
	names, err := r.namesIn(dir, above-1)
	if err != nil {
		return 0, err
	}
	for _, n := range names {
		if n.name == name {
			return n.nid, nil
		}
	}
	return 0, unix.ENOENT
}

// named is a name that an image has for an inode.
type named struct {
	name string
	nid  uint64
}

// namesIn reads a block of a directory, in which there is at least one name.
func (r *Reader) namesIn(dir *node, block int) ([]named, error) {
	b, err := r.content(dir, int64(block)<<r.bits)
	if err != nil {
		return nil, err
	}
	if len(b) < direntSize {
		return nil, damaged
	}
	order := binary.LittleEndian
	begin := int(order.Uint16(b[8:]))
	if begin < direntSize || begin%direntSize != 0 || begin > len(b) {
		return nil, damaged
	}
	names := make([]named, begin/direntSize)
	for i := range names {
		d := b[i*direntSize:]
		from, to := int(order.Uint16(d[8:])), len(b)
		if i+1 < len(names) {
			to = int(order.Uint16(d[direntSize+8:]))
		}
		if from < begin || to < from || to > len(b) {
			return nil, damaged
		}
		text, _, _ := bytes.Cut(b[from:to], []byte{0})
		names[i] = named{string(text), order.Uint64(d)}
	}
	return names, nil
}

// open returns a handle of n.
func (r *Reader) open(n *node) int {
	for fd, other := range r.handles {
		if other == nil {
			r.handles[fd] = n
			return fd
		}
	}
	r.handles = append(r.handles, n)
	return len(r.handles) - 1
}

// Root implements layer.Reader.
func (r *Reader) Root() (int, error) {
	n, err := r.node(r.root)
	if err != nil {
		return -1, err
	}
	return r.open(n), nil
}

// OpenDir implements layer.Reader.
func (r *Reader) OpenDir(dir int, name string) (int, error) {
	n, err := r.find(dir, name)
	if err != nil {
		return -1, err
	}
	if n.stat.Mode&unix.S_IFMT != unix.S_IFDIR {
		return -1, unix.ENOTDIR
	}
	return r.open(n), nil
}

// Peek implements layer.Reader.
func (r *Reader) Peek(dir int, name string) (int, error) {
	n, err := r.find(dir, name)
	if err != nil {
		return -1, err
	}
	return r.open(n), nil
}

// Readlink implements layer.Reader.
func (r *Reader) Readlink(fd int) (string, error) {
	n := r.handles[fd]
	switch {
	case n.stat.Mode&unix.S_IFMT != unix.S_IFLNK:
		return "", nil
	case n.stat.Size >= unix.PathMax || n.stat.Size>>r.bits > 0:
		return "", damaged
	}
	target, err := r.content(n, 0)
	return string(target), err
}

// Stat implements layer.Reader.
func (r *Reader) Stat(dir int, name string, st *unix.Stat_t) error {
	n, err := r.find(dir, name)
	if err == nil {
		*st = n.stat
	}
	return err
}

// Close implements layer.Reader.
func (r *Reader) Close(fd int) error {
	r.handles[fd] = nil
	return nil
}

// Listxattr implements layer.Reader.
func (r *Reader) Listxattr(dir int, buf []byte) (int, error) {
	attrs, err := r.attrsOf(r.handles[dir])
	if err != nil {
		return 0, err
	}
	var all strings.Builder
	for _, a := range attrs {
		all.WriteString(a.key + "\x00")
	}
	return answer(buf, all.String())
}

// Getxattr implements layer.Reader.
func (r *Reader) Getxattr(dir int, key string, buf []byte) (int, error) {
	attrs, err := r.attrsOf(r.handles[dir])
	if err != nil {
		return 0, err
	}
	for _, a := range attrs {
		if a.key == key {
			return answer(buf, a.value)
		}
	}
	return 0, unix.ENODATA
}

// attrsOf reads the attributes of n, those that it shares first.
func (r *Reader) attrsOf(n *node) (all []attr, err error) {
	if n.length == 0 {
		return nil, nil
	}
	b := make([]byte, n.length)
	if err := r.read(b, n.attrs); err != nil {
		return nil, err
	}
	count := int(b[4])
	if attrsHeader+4*count > len(b) {
		return nil, damaged
	}
	for i := range count {
		id := binary.LittleEndian.Uint32(b[attrsHeader+4*i:])
		a, err := r.sharedAttr(r.shared + 4*int64(id))
		if err != nil {
			return nil, err
		}
		all = append(all, a)
	}
	for b = b[attrsHeader+4*count:]; len(b) >= attrHeader; {
		a, size, ok := decodeAttr(b)
		if !ok {
			return nil, damaged
		}
		all = append(all, a)
		b = b[min(len(b), (size+3)&^3):]
	}
	return all, nil
}

// sharedAttr reads the attribute at a place.
func (r *Reader) sharedAttr(at int64) (attr, error) {
	b := make([]byte, attrHeader)
	if err := r.read(b, at); err != nil {
		return attr{}, err
	}
	b = make([]byte, attrHeader+int(b[0])+int(binary.LittleEndian.Uint16(b[2:])))
	if err := r.read(b, at); err != nil {
		return attr{}, err
	}
	a, _, ok := decodeAttr(b)
	if !ok {
		return attr{}, damaged
	}
	return a, nil
}

// decodeAttr reads the attribute that b begins with, of size bytes.
func decodeAttr(b []byte) (a attr, size int, ok bool) {
	end := attrHeader + int(b[0])
	size = end + int(binary.LittleEndian.Uint16(b[2:]))
	if size > len(b) {
		return attr{}, 0, false
	}
	for _, p := range prefixes {
		if p.number == b[1] {
			a.key = p.text
		}
	}
	a.key += string(b[attrHeader:end])
	a.value = string(b[end:size])
	return a, size, true
}
