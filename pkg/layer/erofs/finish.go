package erofs

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

const (
	superOffset = 1024
	superSize   = 128
	magic       = 0xe0f5e1e2
	// featureCompat: the superblock has a checksum, and inodes have the time of the
	// modification.
	featureCompat = 1<<0 | 1<<1

	slot        = 32 // bytes that inodes are counted by
	inodeSize   = 64 // of an extended inode
	attrsHeader = 12
	attrHeader  = 4
	direntSize  = 12

	extended   = 1 // bit of the format of an inode
	flatPlain  = 0 << 1
	flatInline = 2 << 1
)

// Finish writes what is held of the image, and ends it. The tree is read-only then.
func (m *Image) Finish() error {
	if err := m.pad(); err != nil {
		return err
	}
	all := m.layOut()
	end, err := m.place(all)
	if err != nil {
		return err
	}
	for _, i := range all {
		if err := m.putNames(i, false); err != nil {
			return err
		}
	}
	first := m.block()
	if err := m.putInodes(all, end); err != nil {
		return err
	}
	if err := m.flush(); err != nil {
		return err
	}
	if err := m.file.Truncate(m.off); err != nil {
		return fmt.Errorf("writing the EROFS image: %w", err)
	}
	return m.putSuper(len(all), first)
}

// entry is a name in a directory that is laid out.
type entry struct {
	name string
	*inode
}

// layOut sorts the directories, and returns all inodes in the order in which a walk
// meets them.
func (m *Image) layOut() (all []*inode) {
	met := map[*inode]struct{}{} // of those with several names
	var walk func(i *inode)
	walk = func(i *inode) {
		all = append(all, i)
		if !i.isDir() {
			return
		}
		i.sort()
		for _, e := range i.folder.sorted {
			if e.nlink > 1 && !e.isDir() {
				if _, ok := met[e.inode]; ok {
					continue
				}
				met[e.inode] = struct{}{}
			}
			if e.name != "." && e.name != ".." {
				walk(e.inode)
			}
		}
	}
	walk(m.root)
	return all
}

// sort lists a directory with itself and its parent in the order of the format, and
// counts the names that lead to it.
func (i *inode) sort() {
	f := i.folder
	if f.sorted != nil {
		return
	}
	f.sorted = make([]entry, 0, len(f.names)+2)
	f.sorted = append(f.sorted, entry{".", i}, entry{"..", f.parent})
	i.nlink = 2
	for name, below := range f.names {
		f.sorted = append(f.sorted, entry{name, below})
		if below.isDir() {
			i.nlink++
		}
	}
	f.names = nil
	slices.SortFunc(f.sorted, func(a, b entry) int { return strings.Compare(a.name, b.name) })
	i.size = 0
	for block := range f.blocks() {
		i.size = (i.size+blockSize-1)&^(blockSize-1) + int64(sizeOf(block))
	}
}

// blocks are the names of a directory by the block that they lie in.
func (f *folder) blocks() func(yield func([]entry) bool) {
	return func(yield func([]entry) bool) {
		for rest := f.sorted; len(rest) > 0; {
			n, size := 0, 0
			for n < len(rest) && size+direntSize+len(rest[n].name) <= blockSize {
				size += direntSize + len(rest[n].name)
				n++
			}
			if !yield(rest[:n]) {
				return
			}
			rest = rest[n:]
		}
	}
}

// sizeOf is what names take in their block.
func sizeOf(names []entry) (size int) {
	for _, e := range names {
		size += direntSize + len(e.name)
	}
	return size
}

// tail is how many bytes lie beside the inode.
func (i *inode) tail() int {
	switch {
	case i.isDir() && i.size <= inlineMax:
		return int(i.size)
	case len(i.inline) <= inlineMax:
		return len(i.inline)
	}
	return 0
}

// place gives each inode its place and returns where they end. What lies beside an
// inode lies in one block. Targets of links that are too long for that get blocks.
func (m *Image) place(all []*inode) (end int64, err error) {
	end = 2 * slot // none has the number 0
	block := m.block()
	for _, i := range all {
		if i.tail() == 0 && (i.isDir() || i.inline != "") {
			i.block = block
			block += uint32((i.size + blockSize - 1) >> blockBits)
		}
		size, tail := int64(inodeSize+i.attrsSize()), int64(i.tail())
		if from := end + size; tail > 0 && from>>blockBits != (from+tail-1)>>blockBits {
			next := (from + blockSize - 1) &^ (blockSize - 1)
			end = (next - size + slot - 1) &^ (slot - 1)
		}
		i.nid = uint64(end / slot)
		end = (end + size + tail + slot - 1) &^ (slot - 1)
	}
	end += slot // the fsck.erofs of Debian 12 looks behind an inode for attributes, also behind the last
	if int64(block)<<blockBits+end > maxBlocks<<blockBits {
		return 0, tooLarge()
	}
	return end, nil
}

// putNames puts the names of a directory, or the target of a link, beside its inode or
// else into blocks of their own.
func (m *Image) putNames(i *inode, beside bool) error {
	if (i.tail() > 0) != beside {
		return nil
	}
	if !i.isDir() {
		if err := m.put([]byte(i.inline)); err != nil || beside || i.inline == "" {
			return err
		}
		return m.pad()
	}
	for names := range i.folder.blocks() {
		if err := m.put(dirents(names)); err != nil {
			return err
		}
		if beside {
			continue
		}
		if err := m.pad(); err != nil {
			return err
		}
	}
	return nil
}

// dirents is a block of a directory: fixed records, then the names.
func dirents(names []entry) []byte {
	block := make([]byte, 0, blockSize)
	at := direntSize * len(names)
	for _, e := range names {
		block = binary.LittleEndian.AppendUint64(block, e.nid)
		block = binary.LittleEndian.AppendUint16(block, uint16(at))
		block = append(block, fileType(e.kind()), 0)
		at += len(e.name)
	}
	for _, e := range names {
		block = append(block, e.name...)
	}
	return block
}

// fileType is what a directory says of the kind of a file.
func fileType(kind uint32) byte {
	switch kind {
	case unix.S_IFREG:
		return 1
	case unix.S_IFDIR:
		return 2
	case unix.S_IFCHR:
		return 3
	case unix.S_IFBLK:
		return 4
	case unix.S_IFIFO:
		return 5
	}
	return 7 // a link; there are no sockets in archives
}

// putInodes puts the inodes, each at its place, in blocks of their own.
func (m *Image) putInodes(all []*inode, end int64) error {
	base := m.end()
	for n, i := range all {
		for gap := base + int64(i.nid)*slot - m.end(); gap > 0; gap = base + int64(i.nid)*slot - m.end() {
			if err := m.zeros(int(min(gap, blockSize))); err != nil {
				return err
			}
		}
		if err := m.put(i.encode(uint32(n + 1))); err != nil {
			return err
		}
		if err := m.putNames(i, true); err != nil {
			return err
		}
	}
	if err := m.zeros(int(base + end - m.end())); err != nil {
		return err
	}
	return m.pad()
}

// encode is the inode with its attributes. number is what 32 bits are for.
func (i *inode) encode(number uint32) []byte {
	format, attrs := uint16(extended|flatPlain), uint16(0)
	if i.tail() > 0 {
		format = extended | flatInline
	}
	if size := i.attrsSize(); size > 0 {
		attrs = uint16((size-attrsHeader)/4 + 1)
	}
	at := i.block
	if kind := i.kind(); kind == unix.S_IFCHR || kind == unix.S_IFBLK {
		at = i.device
	}
	order := binary.LittleEndian
	b := make([]byte, 0, inodeSize+i.attrsSize())
	b = order.AppendUint16(b, format)
	b = order.AppendUint16(b, attrs)
	b = order.AppendUint16(b, uint16(i.mode))
	b = order.AppendUint16(b, 0)
	b = order.AppendUint64(b, uint64(i.size))
	b = order.AppendUint32(b, at)
	b = order.AppendUint32(b, number)
	b = order.AppendUint32(b, i.uid)
	b = order.AppendUint32(b, i.gid)
	b = order.AppendUint64(b, uint64(i.mtime.Sec))
	b = order.AppendUint32(b, uint32(i.mtime.Nsec))
	b = order.AppendUint32(b, i.nlink)
	b = append(b, noBytes[:inodeSize-len(b)]...)
	return i.appendAttrs(b)
}

func (i *inode) appendAttrs(b []byte) []byte {
	if len(i.attrs) == 0 {
		return b
	}
	b = append(b, noBytes[:attrsHeader]...)
	for _, a := range i.attrs {
		number, rest := a.split()
		b = append(b, byte(len(rest)), number)
		b = binary.LittleEndian.AppendUint16(b, uint16(len(a.value)))
		b = append(append(b, rest...), a.value...)
		b = append(b, noBytes[:-len(b)&3]...)
	}
	return b
}

// putSuper writes the block that the image begins with. inodes begin at the block
// first.
func (m *Image) putSuper(inodes int, first uint32) error {
	order := binary.LittleEndian
	b := make([]byte, blockSize-superOffset)
	order.PutUint32(b, magic)
	order.PutUint32(b[8:], featureCompat)
	b[12] = blockBits
	order.PutUint16(b[14:], uint16(m.root.nid))
	order.PutUint64(b[16:], uint64(inodes))
	order.PutUint64(b[24:], uint64(m.now.Sec))
	order.PutUint32(b[32:], uint32(m.now.Nsec))
	order.PutUint32(b[36:], m.block())
	order.PutUint32(b[40:], first)
	order.PutUint32(b[4:], ^crc32.Checksum(b, crc32.MakeTable(crc32.Castagnoli)))
	if _, err := m.file.WriteAt(b, superOffset); err != nil {
		return fmt.Errorf("writing the EROFS image: %w", err)
	}
	return nil
}
