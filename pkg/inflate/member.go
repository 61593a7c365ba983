package inflate

import (
	"hash/crc32"
	"io"
)

// Flags of a member header (RFC 1952, 2.3.1).
const (
	flagHeaderCRC = 1 << 1
	flagExtra     = 1 << 2
	flagName      = 1 << 3
	flagComment   = 1 << 4
	flagsReserved = 0xe0
)

// maxHeaderString is the longest name or comment, including its final zero
// byte, that compress/gzip takes, and with it containerd.
const maxHeaderString = 512

// header reads the header of a gzip member, or finds the end of the stream.
func (z *Reader) header() {
	if !z.want(8) {
		if z.begun && z.srcErr == io.EOF {
			z.fail(io.EOF)
		} else {
			z.truncated()
		}
		return
	}
	z.begun = true
	z.crc = 0 // of the header, for now
	z.optionalFields(z.fixedFields())
	z.crc, z.size = 0, 0
	z.cp, z.base = z.wp, z.wp
	z.state = atBlock
}

// fixedFields reads what every header has and returns its flags.
func (z *Reader) fixedFields() (flags byte) {
	magic := [3]byte{z.headerByte(), z.headerByte(), z.headerByte()}
	flags = z.headerByte()
	for range 6 { // time, level, system
		z.headerByte()
	}
	if magic != [3]byte{0x1f, 0x8b, 8} {
		z.fail(ErrHeader)
	}
	return flags
}

// optionalFields reads what flags say that there is.
func (z *Reader) optionalFields(flags byte) {
	if flags&flagExtra != 0 {
		n := int(z.headerByte()) | int(z.headerByte())<<8
		for ; n > 0 && z.err == nil; n-- {
			z.headerByte()
		}
	}
	if flags&flagName != 0 {
		z.headerString()
	}
	if flags&flagComment != 0 {
		z.headerString()
	}
	if sum := uint16(z.crc); flags&flagHeaderCRC != 0 && uint16(z.take(16)) != sum {
		z.fail(ErrHeader)
	}
	if flags&flagsReserved != 0 {
		z.fail(ErrHeader)
	}
}

// headerByte reads one byte of a header and adds it to crc.
func (z *Reader) headerByte() byte {
	b := byte(z.take(8))
	z.crc = ^(crc32.IEEETable[byte(^z.crc)^b] ^ ^z.crc>>8)
	return b
}

// headerString skips a string that ends with a zero byte.
func (z *Reader) headerString() {
	for range maxHeaderString {
		if z.headerByte() == 0 {
			return
		}
	}
	z.fail(ErrHeader)
}

// trailer checks a member's checksum and size.
func (z *Reader) trailer() {
	z.account()
	z.drop(z.nbits & 7)
	crc, size := z.take(32), z.take(32)
	if crc != z.crc || size != z.size {
		z.fail(ErrChecksum)
	}
	z.state = atMember
}
