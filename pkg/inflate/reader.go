package inflate

import (
	"hash/crc32"
	"io"
)

const (
	inSize   = 128 << 10
	histSize = 32 << 10 // how far back a match can reach
	winSize  = histSize + 512<<10

	// decodeFast may look at this much input per round: two refills of 8
	// bytes, the second at most 7 bytes after the first.
	inMargin = 16
	// decodeFast is worth starting, and sure to make progress, with this much
	// input: its first refill takes up to 7 bytes.
	minInput = 32
	// decodeFast may write this much output per round: three literals, a
	// match of 258 bytes and 15 bytes past its end.
	winMargin = 3 + 258 + 15
)

// A state is what comes next in the stream.
type state uint8

const (
	atMember  state = iota // a member header, or the end of the stream
	atBlock                // a block header
	inStored               // bytes of a stored block
	inHuffman              // symbols of a compressed block
	atTrailer              // checksum and size of the member
)

// A Reader decompresses a gzip stream of one or more members. It reads ahead:
// the position of the source after the end of the gzip data is undefined. A
// Reader must not be used by several goroutines at once. It needs 150 KiB for
// itself, 32 KiB more for Fill and 544 KiB more for Read and WriteTo; Reset
// makes it usable again with the memory it has.
type Reader struct {
	src    io.Reader
	srcErr error // why src ended; reported when its data is used up
	err    error // why decoding ended; reported when its data is handed out

	state   state
	last    bool // the current block is the last of its member
	begun   bool // a member header has been seen
	isFixed bool // the tables hold the fixed code
	stored  int  // bytes left of a stored block

	in     []byte
	ip, ie int    // unread input is in[ip:ie]
	bits   uint64 // bits read and not used, the next one lowest
	nbits  uint   // number of them; the other bits are zero

	own []byte // the window between calls; grows from nothing as needed
	win []byte // the current window: own or, during Fill, the caller's buffer
	rp  int    // win[rp:wp] is to be handed out
	wp  int    // where output goes
	cp  int    // win[cp:wp] is not yet part of crc and size

	base  int // matches cannot reach below: start of the member's data
	limit int // output stops here, leaving room for winMargin bytes

	crc  uint32
	size uint32

	lit  [litSize]entry
	dist [distSize]entry
	meta [1 << metaBits]entry
	lens [numLit + numDist]uint8 // code lengths of a block
}

// NewReader returns a Reader that decompresses src. A src of nil makes a
// Reader that needs a Reset first.
func NewReader(src io.Reader) *Reader {
	z := &Reader{in: make([]byte, inSize)}
	z.Reset(src)
	return z
}

// Reset makes z ready to decompress src, whatever state it is in, and keeps
// its buffers. Reset(nil) gives up the reference to the source.
func (z *Reader) Reset(src io.Reader) {
	z.src, z.srcErr, z.err = src, nil, nil
	z.state, z.begun, z.last = atMember, false, false
	z.ip, z.ie, z.bits, z.nbits = 0, 0, 0, 0
	z.rp, z.wp, z.cp, z.base = 0, 0, 0, 0
	z.setWindow(z.own)
}

// Read implements io.Reader. It hands out what is decoded before it asks a
// source for more that may be slow.
func (z *Reader) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	data, err := z.next()
	n := copy(p, data)
	z.rp += n
	return n, err
}

// WriteTo implements io.WriterTo. It is faster than Read because w is given
// the window itself, in slices of up to 544 KiB that are valid until Write
// returns.
func (z *Reader) WriteTo(w io.Writer) (total int64, err error) {
	for {
		data, err := z.next()
		if err == io.EOF {
			return total, nil
		}
		if err != nil {
			return total, err
		}
		n, err := w.Write(data)
		z.rp += n
		total += int64(n)
		if err != nil {
			return total, err
		}
		if n < len(data) {
			return total, io.ErrShortWrite
		}
	}
}

// Fill decodes into buf until buf is full or the stream ends, and returns the
// part of buf that holds the data: not its beginning, where decoding needs
// the history of the data, and not its very end. Data and error never come
// together. The Reader uses buf, all of it as scratch space, only until Fill
// returns; from then on data and buf are the caller's alone. A buf shorter
// than MinBufferSize is an io.ErrShortBuffer.
func (z *Reader) Fill(buf []byte) (data []byte, err error) {
	if len(buf) < MinBufferSize {
		return nil, io.ErrShortBuffer
	}
	if z.rp < z.wp { // left over by Read or WriteTo
		n := copy(buf, z.win[z.rp:z.wp])
		z.rp += n
		return buf[:n], nil
	}
	if z.err != nil {
		return nil, z.err
	}
	if z.own == nil {
		z.own = make([]byte, histSize)
	}
	z.slide(buf)
	z.decode(false)
	data = buf[z.rp:z.wp]
	z.slide(z.own)
	if len(data) == 0 {
		return nil, z.err
	}
	return data, nil
}

// next returns what is to be handed out from z's own window. There is always
// some unless there is an error.
func (z *Reader) next() ([]byte, error) {
	for z.rp == z.wp {
		if z.err != nil {
			return nil, z.err
		}
		if len(z.own) < winSize {
			z.own = make([]byte, winSize)
			z.slide(z.own)
		} else if z.wp > z.limit {
			z.slide(z.own)
		}
		z.decode(true)
	}
	return z.win[z.rp:z.wp], nil
}

// slide makes win the window, with as much history at its start as a match
// can reach; win may be the present window. All data must be handed out.
func (z *Reader) slide(win []byte) {
	n := copy(win, z.win[max(z.base, z.wp-histSize):z.wp])
	z.rp, z.wp, z.cp, z.base = n, n, n, 0
	z.setWindow(win)
}

func (z *Reader) setWindow(win []byte) {
	z.win, z.limit = win, len(win)-winMargin
}

// decode adds to the window until it is full or the stream ends. When prompt
// it also stops when it has something to hand out and little input is left,
// before it asks a source for more that may be slow.
func (z *Reader) decode(prompt bool) {
	start := z.wp
	for z.err == nil && z.wp <= z.limit {
		if z.ie-z.ip < minInput && z.srcErr == nil {
			if prompt && z.wp > start {
				break
			}
			z.fetch()
		}
		z.step()
	}
	z.account()
}

// step decodes a part of the stream: a header, a trailer or some data.
func (z *Reader) step() {
	switch z.state {
	case atMember:
		z.header()
	case atBlock:
		z.block()
	case inStored:
		z.copyStored()
	case inHuffman:
		if z.ie-z.ip >= minInput {
			z.decodeFast()
		} else {
			z.decodeOne()
		}
	case atTrailer:
		z.trailer()
	}
}

// account brings crc and size up to date.
func (z *Reader) account() {
	z.crc = crc32.Update(z.crc, crc32.IEEETable, z.win[z.cp:z.wp])
	z.size += uint32(z.wp - z.cp)
	z.cp = z.wp
}

// fail ends decoding. The first failure counts.
func (z *Reader) fail(err error) {
	if z.err == nil {
		z.err = err
	}
}
