package inflate

import "math/bits"

// An entry is one slot of a decode table. A table is indexed with the next
// bits of the stream, so one load gives everything there is to know about the
// next symbol:
//
//	bits 0-5    bits to drop from the stream: the code and its extra bits
//	bits 8-11   bits of the code alone, which is where the extra bits start
//	bits 13-15  flags: entryEnd, entryLink, entryOther
//	bits 16-30  payload: literal byte, base length or base distance
//	bit  31     entryLiteral
//
// Value of a length or distance = payload + extra bits. Because the count in
// bits 0-5 covers code and extra bits at once, the bit buffer is shifted a
// single time per symbol and the next lookup does not wait for the extra bits
// to be cut out.
//
// Codes longer than the index are rare. The slot of their common prefix is an
// entryLink: bits 0-5 hold the width of the index, bits 8-11 the width of a
// second index and the payload the place of the sub-table it goes to. Entries
// of a sub-table count only the bits that are left after the prefix.
type entry uint32

const (
	entryLiteral entry = 1 << 31
	entryOther   entry = 1 << 15 // neither literal, length nor distance
	entryLink    entry = 1 << 14 // with entryOther: look into a sub-table
	entryEnd     entry = 1 << 13 // with entryOther: end of block

	entryInvalid = entryOther // no code has these bits
)

func (e entry) drop() uint    { return uint(e & 0x3f) }
func (e entry) codeLen() uint { return uint(e >> 8 & 0xf) }
func (e entry) payload() int  { return int(e >> 16 & 0x7fff) }

const (
	maxCodeLen = 15
	numLit     = 288 // literal/length codes, of which a block may define
	maxLit     = 286 // so many: the others are part of the fixed code only
	numDist    = 32  // distance codes, of which a block may define
	maxDist    = 30  // so many
	numMeta    = 19  // codes for code lengths

	// Index widths. 2^11 four-byte entries keep the hot part of the
	// literal/length table within 8 KiB of first-level cache while codes
	// that need a sub-table stay rare.
	litBits  = 11
	distBits = 9
	metaBits = 7 // the longest code of the code that codes code lengths

	// A sub-table of 2^d entries has room for codes of d more bits; to be
	// complete it takes d+1 symbols at least. With 288 symbols and d up to
	// 15-11 all sub-tables together have at most 288/5*16 < 922 entries, with
	// 32 symbols and d up to 15-9 at most 32/7*64 < 293. The sizes are rounded
	// up to powers of two so that a masked index needs no bounds check.
	litSize  = 4096
	distSize = 1024
)

// The entries of all symbols, without the lengths of their codes.
var (
	litSyms  = litEntries()
	distSyms = distEntries()
	metaSyms = metaEntries()
)

// litEntries: 256 literals, the end of the block, and lengths 3 to 258 (RFC
// 1951, 3.2.5): eight codes without extra bits, then four for every number of
// extra bits; the last code stands for 258 alone. The two codes after it are
// part of the fixed code but invalid.
func litEntries() (syms [numLit]entry) {
	for i := range 256 {
		syms[i] = entryLiteral | entry(i)<<16
	}
	syms[256] = entryOther | entryEnd
	base := 3
	for i := range 28 {
		extra := max(i/4-1, 0)
		syms[257+i] = entry(base<<16 | extra)
		base += 1 << extra
	}
	syms[285] = 258 << 16
	syms[286], syms[287] = entryInvalid, entryInvalid
	return syms
}

// distEntries: distances 1 to 32768, four codes without extra bits, then two
// for every number of extra bits. Again two codes are invalid.
func distEntries() (syms [numDist]entry) {
	base := 1
	for i := range 30 {
		extra := max(i/2-1, 0)
		syms[i] = entry(base<<16 | extra)
		base += 1 << extra
	}
	syms[30], syms[31] = entryInvalid, entryInvalid
	return syms
}

// metaEntries: code lengths and the three ways to repeat them.
func metaEntries() (syms [numMeta]entry) {
	for i := range syms {
		syms[i] = entry(i) << 16
	}
	return syms
}

// reverse returns the low n bits of code in reverse order. Huffman codes are
// defined from their most significant bit on, the stream is read from the
// least significant one.
func reverse(code uint32, n int) uint32 {
	return uint32(bits.Reverse16(uint16(code)) >> (16 - n))
}

// build fills table with the canonical Huffman code given by lens, the code
// lengths of the symbols syms; the first-level index is root bits wide. It
// reports whether the lengths make a valid code.
func build(table []entry, root int, lens []uint8, syms []entry) bool {
	var c code
	if !c.sort(lens) {
		return false
	}
	c.fillRoot(table, root, syms)
	c.fillSubs(table, root, syms)
	return true
}

// A code is a canonical Huffman code in the order of its codes: by length,
// then by symbol.
type code struct {
	sorted  [numLit]uint16      // symbols
	end     [maxCodeLen + 1]int // end[n] is where the codes of n bits end
	longest int                 // in bits
}

// sort sets c to the code given by the code lengths lens and reports whether
// it is valid. Like the standard library it accepts, apart from complete codes,
// no code at all and a single code of one bit.
func (c *code) sort(lens []uint8) bool {
	var count [maxCodeLen + 1]int
	for _, n := range lens {
		count[n]++
	}
	used := 0 // share of all codes, in units of the longest possible code
	for n := 1; n <= maxCodeLen; n++ {
		c.end[n] = c.end[n-1] + count[n]
		used += count[n] << (maxCodeLen - n)
		if count[n] != 0 {
			c.longest = n
		}
	}
	if used != 1<<maxCodeLen && !(c.longest == 0 || c.longest == 1 && count[1] == 1) {
		return false
	}
	at := c.end
	for s, n := range lens {
		if n != 0 {
			c.sorted[at[n-1]] = uint16(s)
			at[n-1]++
		}
	}
	return true
}

// fillRoot enters the codes that fit the index, shortest first. The filled
// part of the table doubles with every bit: the new bit makes no difference to
// codes that are decided already, and the slots that are not decided yet are
// overwritten later. What is left over is invalid.
func (c *code) fillRoot(table []entry, root int, syms []entry) {
	table[0] = entryInvalid
	var code uint32
	i := 0
	for n := 1; n <= root; n++ {
		copy(table[1<<(n-1):1<<n], table[:1<<(n-1)])
		code <<= 1
		for ; i < c.end[n]; i++ {
			table[reverse(code, n)] = syms[c.sorted[i]] + entry(n<<8|n)
			code++
		}
	}
}

// fillSubs enters the codes that are longer than the index, longest first. The
// codes that share a prefix are neighbours and the first one met is the
// longest, so it sets the size of their sub-table.
func (c *code) fillSubs(table []entry, root int, syms []entry) {
	next := 1 << root // where the next sub-table goes
	place, width, last := 0, 0, uint32(1)<<root
	n := c.longest
	code := uint32(1)<<n - 1
	for i := c.end[n] - 1; i >= c.end[min(root, n)]; i-- {
		for i < c.end[n-1] {
			n--
			code >>= 1
		}
		if prefix := code >> (n - root); prefix != last {
			last = prefix
			place, width = next, n-root
			next += 1 << width
			table[reverse(prefix, root)] = entryOther | entryLink | entry(place<<16|width<<8|root)
		}
		e := syms[c.sorted[i]] + entry((n-root)<<8|(n-root))
		for j := int(reverse(code, n) >> root); j < 1<<width; j += 1 << (n - root) {
			table[place+j] = e
		}
		code--
	}
}
