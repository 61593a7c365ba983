package erofs

import (
	"os"
	"strings"
	"sync/atomic"
	"time"

	"github.com/containerd/errdefs"
	"golang.org/x/sys/unix"

	"github.com/containerd-pull/containerd-pull/pkg/failure"
	"github.com/containerd-pull/containerd-pull/pkg/layer"
)

const (
	blockBits = 12
	blockSize = 1 << blockBits
	// inlineMax is the most that lies beside an inode: what is larger would often
	// leave as much unused in front of it.
	inlineMax = blockSize / 2
	// maxInline bounds what is kept for that of one image. Files that come later
	// take a block.
	maxInline = 16 << 20

	// The costs of what is held, with what Go's allocator and maps add.
	inodeCost  = 128
	nameCost   = 64
	folderCost = 96
	attrCost   = 48
)

// ErrHeld is the error of a layer that has so many files, or such attributes, that its
// image takes more memory than the Budget has left. It is an
// errdefs.ErrInvalidArgument.
var ErrHeld error = failure.New(errdefs.ErrInvalidArgument, "no memory is left for the EROFS image")

// Budget is the memory that images which are made at the same time may take together,
// for inodes, names, attributes and small files. 96 MiB are enough for half a million
// files.
type Budget struct {
	bytes  int64
	taken  atomic.Int64
	inline *Budget // the share of small files, nil for that share itself
}

// NewBudget returns a Budget of so many bytes.
func NewBudget(bytes int64) *Budget {
	return &Budget{bytes: bytes, inline: &Budget{bytes: bytes / 4}}
}

// take reports whether there were so many bytes left.
func (b *Budget) take(bytes int) bool {
	for {
		taken := b.taken.Load()
		if taken+int64(bytes) > b.bytes {
			return false
		}
		if b.taken.CompareAndSwap(taken, taken+int64(bytes)) {
			return true
		}
	}
}

func (b *Budget) giveBack(bytes int) { b.taken.Add(-int64(bytes)) }

// takeInline is take for the content of small files, of which there may be less: files
// that find no room there take a block, and names have none.
func (b *Budget) takeInline(bytes int) bool {
	if !b.inline.take(bytes) {
		return false
	}
	if !b.take(bytes) {
		b.inline.giveBack(bytes)
		return false
	}
	return true
}

// elsewhere is what to do about a layer that no EROFS image can be made of.
const elsewhere = "use --snapshotter overlayfs for this image"

// Image is an EROFS image that is being made. It implements layer.System; its methods
// are not for several goroutines at a time.
type Image struct {
	data
	root *inode
	// handles are what is open, by descriptor. 0 is the root.
	handles []*inode
	free    []int // of the handles
	writing *inode
	values  map[string]string // names and values of attributes, each once
	budget  *Budget
	held    int // bytes of memory, by their costs
	inline  int // bytes of content among them
	now     unix.Timespec
}

// New makes an image of an empty tree in file, which is empty and stays open. The root
// is root's, with mode 0755. What it takes of the budget is given back by Discard.
func New(file *os.File, budget *Budget) *Image {
	m := &Image{
		data: newData(file), values: map[string]string{}, budget: budget,
		now: unix.NsecToTimespec(time.Now().UnixNano()),
	}
	m.root = &inode{mode: unix.S_IFDIR | 0o755, mtime: m.now, folder: &folder{names: map[string]*inode{}}}
	m.root.folder.parent = m.root
	m.handles = []*inode{m.root}
	return m
}

// hold counts what is held in memory, and is an error if that is too much.
func (m *Image) hold(bytes int) error {
	if !m.budget.take(bytes) {
		return failure.New(ErrHeld, "files, names and attributes of the layer take more than %d MiB while its EROFS image is made", m.budget.bytes>>20).
			WithHint(elsewhere)
	}
	m.held += bytes
	return nil
}

// release counts what is held no longer.
func (m *Image) release(bytes int) {
	m.held -= bytes
	m.budget.giveBack(bytes)
}

// holdInline counts content that is held, and reports whether it may be.
func (m *Image) holdInline(bytes int) bool {
	if m.inline+bytes > maxInline || !m.budget.takeInline(bytes) {
		return false
	}
	m.held += bytes
	m.inline += bytes
	return true
}

func (m *Image) releaseInline(i *inode) {
	m.inline -= len(i.inline)
	m.budget.inline.giveBack(len(i.inline))
	m.release(len(i.inline))
}

// Discard lets go of what is held of the image, which is of no use then. The file stays
// as it is.
func (m *Image) Discard() {
	m.budget.inline.giveBack(m.inline)
	m.release(m.held)
	*m = Image{budget: m.budget}
}

// once returns s, or the same text that is held already.
func (m *Image) once(s string) (string, error) {
	if known, ok := m.values[s]; ok {
		return known, nil
	}
	s = strings.Clone(s) // it may be a part of something large
	m.values[s] = s
	return s, m.hold(len(s) + nameCost)
}

// inode is a file of any kind.
type inode struct {
	mode     uint32 // with the kind
	uid, gid uint32
	nlink    uint32 // names; of a directory, those of other directories when it is written
	device   uint32 // as Linux encodes it
	block    uint32 // where its content begins, if it is not inline
	mtime    unix.Timespec
	size     int64
	inline   string // content, or the target of a link
	attrs    []attr
	attrSize int     // what attrs take in the image, without their header
	folder   *folder // of a directory
	nid      uint64  // place among the inodes
}

// folder is what a directory has besides.
type folder struct {
	names  map[string]*inode
	parent *inode
	sorted []entry // in the place of names once the image is laid out
}

func (i *inode) kind() uint32 { return i.mode & unix.S_IFMT }

func (i *inode) isDir() bool { return i.folder != nil }

// device returns a number as mknod passes it on: Linux cuts it to 32 bits.
func device(number uint64) uint32 { return uint32(number) }

// tooLarge is the error of an image of more blocks than the format can count.
func tooLarge() error {
	return failure.New(layer.ErrUnfit, "the EROFS image has more than %d blocks, and the format cannot count them", uint32(maxBlocks)).WithHint(elsewhere)
}
