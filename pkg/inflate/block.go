package inflate

// block reads a block header.
func (z *Reader) block() {
	if z.last {
		z.last = false
		z.state = atTrailer
		return
	}
	z.last = z.take(1) != 0
	switch z.take(2) {
	case 0:
		z.drop(z.nbits & 7)
		n := z.take(32)
		if uint16(n) != ^uint16(n>>16) {
			z.fail(ErrCorrupt)
		}
		z.stored = int(uint16(n))
		z.state = inStored
	case 1:
		z.fixedCode()
		z.state = inHuffman
	case 2:
		z.dynamicCode()
		z.state = inHuffman
	case 3:
		z.fail(ErrCorrupt)
	}
}

// copyStored copies what it can of a stored block. The bit buffer is empty:
// before a block header it never holds more than 35 bits, and the header of a
// stored block takes as many.
func (z *Reader) copyStored() {
	n := copy(z.win[z.wp:min(z.wp+z.stored, len(z.win))], z.in[z.ip:z.ie])
	z.ip += n
	z.wp += n
	z.stored -= n
	if z.stored == 0 {
		z.state = atBlock
	} else if z.ip == z.ie && z.srcErr != nil {
		z.truncated()
	}
}

// fixedCode builds the tables of the code that needs no description.
func (z *Reader) fixedCode() {
	if z.isFixed {
		return
	}
	lens := z.lens[:]
	for i := range lens {
		switch {
		case i < 144:
			lens[i] = 8
		case i < 256:
			lens[i] = 9
		case i < 280:
			lens[i] = 7
		case i < 288:
			lens[i] = 8
		default:
			lens[i] = 5
		}
	}
	build(z.lit[:], litBits, lens[:numLit], litSyms[:])
	build(z.dist[:], distBits, lens[numLit:], distSyms[:])
	z.isFixed = true
}

// The order in which the lengths of the code for code lengths are stored.
var metaOrder = [numMeta]uint8{16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1, 15}

// dynamicCode reads the description of a block's code and builds its tables.
func (z *Reader) dynamicCode() {
	nlit, ndist, nmeta := int(z.take(5))+257, int(z.take(5))+1, int(z.take(4))+4
	if nlit > maxLit || ndist > maxDist {
		z.fail(ErrCorrupt)
		return
	}
	var metaLens [numMeta]uint8
	for _, s := range metaOrder[:nmeta] {
		metaLens[s] = uint8(z.take(3))
	}
	if !build(z.meta[:], metaBits, metaLens[:], metaSyms[:]) {
		z.fail(ErrCorrupt)
		return
	}
	lens := z.lens[:nlit+ndist]
	for i := 0; i < len(lens) && z.err == nil; {
		i += z.codeLength(lens, i)
	}
	if z.err != nil {
		return
	}
	z.isFixed = false
	if !build(z.lit[:], litBits, lens[:nlit], litSyms[:]) ||
		!build(z.dist[:], distBits, lens[nlit:], distSyms[:]) {
		z.fail(ErrCorrupt)
	}
}

// codeLength reads one symbol of the code for code lengths, sets lens from i
// on as it says, and returns how many lengths that were.
func (z *Reader) codeLength(lens []uint8, i int) int {
	e, s := z.symbol(z.meta[:], metaBits)
	if e == entryInvalid {
		z.fail(ErrCorrupt)
		return 0
	}
	var n, repeat = uint8(0), 1
	switch {
	case s < 16:
		n = uint8(s)
	case s == 16 && i == 0:
		z.fail(ErrCorrupt)
	case s == 16:
		n, repeat = lens[i-1], 3+int(z.take(2))
	case s == 17:
		repeat = 3 + int(z.take(3))
	default:
		repeat = 11 + int(z.take(7))
	}
	if i+repeat > len(lens) {
		z.fail(ErrCorrupt)
		return 0
	}
	for j := range repeat {
		lens[i+j] = n
	}
	return repeat
}

// symbol reads one symbol; v is its payload with the extra bits added.
func (z *Reader) symbol(table []entry, root uint) (e entry, v int) {
	z.want(maxCodeLen + 13) // the longest distance; less at the end of input
	e = table[z.bits&(1<<root-1)]
	if e&entryLiteral == 0 && e&entryLink != 0 {
		z.drop(root)
		e = table[e.payload()+int(z.bits&(1<<e.codeLen()-1))]
	}
	extra := z.bits & (1<<e.drop() - 1) >> e.codeLen()
	z.drop(e.drop())
	return e, e.payload() + int(extra)
}

// decodeOne decodes one literal, one match or the end of the block. It reads
// input byte by byte and checks every index.
func (z *Reader) decodeOne() {
	e, v := z.symbol(z.lit[:], litBits)
	if z.err != nil {
		return
	}
	if e&entryLiteral != 0 {
		z.win[z.wp] = byte(v)
		z.wp++
		return
	}
	if e&entryOther != 0 {
		if e&entryEnd == 0 {
			z.fail(ErrCorrupt)
		}
		z.state = atBlock
		return
	}
	d, dist := z.symbol(z.dist[:], distBits)
	if z.err != nil {
		return
	}
	if d&entryOther != 0 || z.wp-dist < z.base {
		z.fail(ErrCorrupt)
		return
	}
	for range v {
		z.win[z.wp] = z.win[z.wp-dist]
		z.wp++
	}
}
