// Package boltcheck reads a bolt database page by page and reports what bolt could
// not live with: bolt believes its file, and panics, or is killed by the kernel,
// at a page that is not what the page above promises.
//
// The layout is that of go.etcd.io/bbolt/internal/common. Read Pages first.
package boltcheck

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/fnv"
	"io"
)

// The bounds of what is read. Databases of containerd are far below them.
const (
	maxFile  = 16 << 30 // bytes; bolt keeps a number in memory for each page that is free
	maxRun   = 64 << 20 // bytes of one page with those that continue it
	maxDepth = 64       // of pages and buckets in each other
)

const (
	headerSize  = 16 // of a page
	elementSize = 16 // of a leaf as of a branch
	bucketSize  = 16 // of the header of a bucket
	metaSize    = 64 // with its checksum
	minPageSize = 1 << 10
	maxPageSize = 1 << 24
	firstPage   = 2 // the pages before it are the meta pages

	branchPage, leafPage, freelistPage = 0x01, 0x02, 0x10

	bucketFlag = 0x01 // of an element in a leaf

	magic, version = 0xED0CDAED, 2
	noFreelist     = ^uint64(0)
	countIsFirst   = 0xFFFF // in a freelist: the number stands before the first page
)

var order = binary.NativeEndian

// Damage is an error about a file that is no whole database. Errors of reading
// are returned as they are.
type Damage struct{ text string }

func (d *Damage) Error() string { return d.text }

// Damaged is a Damage that the caller found in what the pages say.
func Damaged(format string, args ...any) error { return &Damage{fmt.Sprintf(format, args...)} }

// Pages checks the database of size bytes in file: every page that is in use, and
// the list of those that are free. Afterwards bolt can read all of it and change
// it. Values are not looked at, which makes this a part of the time that reading
// them takes.
func Pages(file io.ReaderAt, size int64) error {
	c := &checker{file: file, used: map[uint64]bool{}}
	if size > maxFile {
		return Damaged("%d bytes are too many", size)
	}
	m, err := c.meta(size)
	if err != nil {
		return err
	}
	if m.pages > uint64(size)/c.pageSize {
		return Damaged("cut short: %d bytes of %d", size, m.pages*c.pageSize)
	}
	c.pages = m.pages
	if err := c.tree(m.root, bounds{}, 0); err != nil {
		return err
	}
	if m.freelist == noFreelist {
		return nil
	}
	return c.freelist(m.freelist)
}

// checker is one check of a file.
type checker struct {
	file     io.ReaderAt
	pageSize uint64
	pages    uint64 // up to the last that was ever in use
	used     map[uint64]bool
	buffers  [][]byte // of the pages that lie in each other, by depth
}

// meta is what a meta page says.
type meta struct {
	pageSize, root, freelist, pages, tx uint64
}

// meta finds the meta page that counts: the whole one with the highest
// transaction.
func (c *checker) meta(size int64) (*meta, error) {
	first, err := c.readMeta(0)
	if err != nil {
		return nil, err
	}
	if first != nil {
		c.pageSize = first.pageSize
		second, err := c.readMeta(int64(c.pageSize))
		if err == nil && second != nil && second.tx > first.tx {
			return second, nil
		}
		return first, err
	}
	for at := int64(minPageSize); at <= maxPageSize && at < size-minPageSize; at *= 2 {
		second, err := c.readMeta(at)
		if err != nil {
			return nil, err
		}
		if second != nil {
			c.pageSize = second.pageSize
			return c.secondOnly(second, at)
		}
	}
	return nil, Damaged("neither of the first two pages is that of a bolt database")
}

// secondOnly is the second meta page if it lies where bolt will look for it.
func (c *checker) secondOnly(m *meta, at int64) (*meta, error) {
	if int64(m.pageSize) != at {
		return nil, Damaged("pages of %d bytes, and the second one at byte %d", m.pageSize, at)
	}
	return m, nil
}

// readMeta reads the meta page at a byte of the file, nil if there is none.
func (c *checker) readMeta(at int64) (*meta, error) {
	page := make([]byte, headerSize+metaSize)
	if _, err := c.file.ReadAt(page, at); errors.Is(err, io.EOF) {
		return nil, nil
	} else if err != nil {
		return nil, err
	}
	b := page[headerSize:]
	sum := fnv.New64a()
	_, _ = sum.Write(b[:metaSize-8]) // it never fails
	if order.Uint32(b) != magic || order.Uint32(b[4:]) != version || order.Uint64(b[metaSize-8:]) != sum.Sum64() {
		return nil, nil
	}
	m := &meta{
		pageSize: uint64(order.Uint32(b[8:])), root: order.Uint64(b[16:]),
		freelist: order.Uint64(b[32:]), pages: order.Uint64(b[40:]), tx: order.Uint64(b[48:]),
	}
	if m.pageSize < minPageSize || m.pageSize > maxPageSize || m.pageSize&(m.pageSize-1) != 0 {
		return nil, Damaged("pages of %d bytes", m.pageSize)
	}
	return m, nil
}

// page is a page that was read, with those that continue it.
type page struct {
	id    uint64 // 0 for one that lies in a value
	kind  uint16
	count int
	data  []byte // from the header on
}

// read reads the page id, which nothing else may use. The page is good until the next
// one of its depth is read.
func (c *checker) read(id uint64, depth int) (page, error) {
	if id < firstPage || id >= c.pages {
		return page{}, Damaged("page %d of %d is asked for", id, c.pages)
	}
	head := c.buffer(depth, c.pageSize)
	if _, err := c.file.ReadAt(head, int64(id*c.pageSize)); err != nil {
		return page{}, err
	}
	run := uint64(order.Uint32(head[12:])) + 1
	switch {
	case order.Uint64(head) != id:
		return page{}, Damaged("page %d calls itself page %d", id, order.Uint64(head))
	case run > c.pages-id || run*c.pageSize > maxRun:
		return page{}, Damaged("page %d goes on over %d pages", id, run)
	}
	for i := id; i < id+run; i++ {
		if c.used[i] {
			return page{}, Damaged("page %d is used twice", i)
		}
		c.used[i] = true
	}
	if run == 1 {
		return asPage(id, head), nil
	}
	data := c.buffer(depth, run*c.pageSize)
	if _, err := c.file.ReadAt(data, int64(id*c.pageSize)); err != nil {
		return page{}, err
	}
	return asPage(id, data), nil
}

func (c *checker) buffer(depth int, size uint64) []byte {
	for len(c.buffers) <= depth {
		c.buffers = append(c.buffers, nil)
	}
	if uint64(cap(c.buffers[depth])) < size {
		c.buffers[depth] = make([]byte, size)
	}
	return c.buffers[depth][:size]
}

func asPage(id uint64, data []byte) page {
	return page{id: id, kind: order.Uint16(data[8:]), count: int(order.Uint16(data[10:])), data: data}
}

// bounds are those of the keys in a page: from low on, and below high. nil is none.
type bounds struct{ low, high []byte }

// tree checks the pages from id down, and the buckets in them.
func (c *checker) tree(id uint64, b bounds, depth int) error {
	if depth > maxDepth {
		return Damaged("more than %d pages lie in each other", maxDepth)
	}
	p, err := c.read(id, depth)
	if err != nil {
		return err
	}
	switch p.kind {
	case leafPage:
		return c.leaf(p, b, depth)
	case branchPage:
		return c.branch(p, b, depth)
	}
	return Damaged("page %d is neither a branch nor a leaf", id)
}

// branch checks a page that leads to others.
func (c *checker) branch(p page, b bounds, depth int) error {
	if p.count == 0 {
		return Damaged("page %d leads nowhere", p.id)
	}
	keys, err := p.keys(4, 0, b)
	if err != nil {
		return err
	}
	for i, low := range keys {
		below := bounds{low: low, high: b.high}
		if i+1 < len(keys) {
			below.high = keys[i+1]
		}
		if err := c.tree(order.Uint64(p.element(i)[8:]), below, depth+1); err != nil {
			return err
		}
	}
	return nil
}

// leaf checks a page of keys and values. A value may be a bucket, and that one may
// have its only page in it.
func (c *checker) leaf(p page, b bounds, depth int) error {
	keys, err := p.keys(8, 12, b)
	if err != nil {
		return err
	}
	for i, key := range keys {
		e := p.element(i)
		switch order.Uint32(e) {
		case 0:
			continue
		case bucketFlag:
		default:
			return Damaged("page %d: entry %d is of no kind", p.id, i)
		}
		at := i*elementSize + headerSize + int(order.Uint32(e[4:])) + len(key)
		if err := c.bucket(p.data[at:at+int(order.Uint32(e[12:]))], depth+1); err != nil {
			return fmt.Errorf("page %d: bucket %q: %w", p.id, key, err)
		}
	}
	return nil
}

// bucket checks the bucket that value holds.
func (c *checker) bucket(value []byte, depth int) error {
	if len(value) < bucketSize {
		return Damaged("too short")
	}
	if root := order.Uint64(value); root != 0 {
		return c.tree(root, bounds{}, depth)
	}
	inline := value[bucketSize:]
	if len(inline) < headerSize {
		return Damaged("too short")
	}
	p := asPage(0, inline)
	if p.kind != leafPage {
		return Damaged("no leaf")
	}
	if depth > maxDepth {
		return Damaged("more than %d buckets lie in each other", maxDepth)
	}
	return c.leaf(p, bounds{}, depth)
}

func (p page) element(i int) []byte { return p.data[headerSize+i*elementSize:] }

// keys returns the keys of the page, which have to rise within b, and have room in
// it with their values. keySize and valueSize are where an element has these two;
// in front of the first stands where its key begins. A valueSize of 0 is for elements
// without values.
func (p page) keys(keySize, valueSize int, b bounds) ([][]byte, error) {
	if headerSize+p.count*elementSize > len(p.data) {
		return nil, Damaged("page %d has no room for %d entries", p.id, p.count)
	}
	keys := make([][]byte, p.count)
	for i := range keys {
		e := p.element(i)
		begin := uint64(order.Uint32(e[keySize-4:]))
		end := begin + uint64(order.Uint32(e[keySize:]))
		whole := end
		if valueSize != 0 {
			whole += uint64(order.Uint32(e[valueSize:]))
		}
		if end == begin || whole > uint64(len(e)) {
			return nil, Damaged("page %d: entry %d does not lie in it", p.id, i)
		}
		keys[i] = e[begin:end]
		if bytes.Compare(keys[i], b.low) < 0 || b.high != nil && bytes.Compare(keys[i], b.high) >= 0 || i > 0 && bytes.Compare(keys[i-1], keys[i]) >= 0 {
			return nil, Damaged("page %d: entry %d is out of order", p.id, i)
		}
	}
	return keys, nil
}

// freelist checks the list of free pages: none is used, and none stands in it twice.
func (c *checker) freelist(id uint64) error {
	p, err := c.read(id, 0)
	if err != nil {
		return err
	}
	if p.kind != freelistPage {
		return Damaged("page %d is not the list of free pages", id)
	}
	ids, count := p.data[headerSize:], uint64(p.count)
	if count == countIsFirst {
		count, ids = order.Uint64(ids), ids[8:]
	}
	if count > uint64(len(ids))/8 {
		return Damaged("page %d has no room for %d free pages", id, count)
	}
	for i := range count {
		free := order.Uint64(ids[i*8:])
		if free < firstPage || free >= c.pages || c.used[free] {
			return Damaged("page %d lists page %d as free", id, free)
		}
		c.used[free] = true
	}
	return nil
}
