package erofs

import (
	"bytes"
	"fmt"
	"math"
	"os"
)

const (
	// chunk is how much is written at a time, and the least hole.
	chunk     = 1 << 20
	maxBlocks = math.MaxUint32 - 1
)

// data writes an image from its beginning to its end.
type data struct {
	file *os.File
	buf  []byte
	off  int64 // in the file, of buf
}

// newData leaves room for the block of the superblock.
func newData(file *os.File) data {
	return data{file: file, buf: make([]byte, blockSize, chunk)}
}

// end is the place of what is put next.
func (d *data) end() int64 { return d.off + int64(len(d.buf)) }

// block is the number of the block that is put next, after pad.
func (d *data) block() uint32 { return uint32(d.end() >> blockBits) }

func (d *data) put(p []byte) error {
	for len(p) > 0 {
		if len(d.buf) == cap(d.buf) {
			if err := d.flush(); err != nil {
				return err
			}
		}
		n := min(len(p), cap(d.buf)-len(d.buf))
		d.buf = append(d.buf, p[:n]...)
		p = p[n:]
	}
	return nil
}

// zeros puts up to a block of zeros.
func (d *data) zeros(n int) error { return d.put(noBytes[:n]) }

// pad ends the block that was begun.
func (d *data) pad() error {
	if begun := int(d.end() % blockSize); begun != 0 {
		return d.zeros(blockSize - begun)
	}
	return nil
}

// flush writes what was put. Zeros are left out: the file has holes there.
func (d *data) flush() error {
	if d.end()>>blockBits > maxBlocks {
		return tooLarge()
	}
	if !isZero(d.buf) {
		if _, err := d.file.WriteAt(d.buf, d.off); err != nil {
			return fmt.Errorf("writing the EROFS image: %w", err)
		}
	}
	d.off = d.end()
	d.buf = d.buf[:0]
	return nil
}

var noBytes [blockSize]byte

func isZero(p []byte) bool {
	for len(p) > 0 {
		n := min(len(p), len(noBytes))
		if !bytes.Equal(p[:n], noBytes[:n]) {
			return false
		}
		p = p[n:]
	}
	return true
}
