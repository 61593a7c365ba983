package inflate_test

import (
	"encoding/binary"
	"hash/crc32"
	"math/rand/v2"
	"slices"
)

// What deflate defines (RFC 1951, 3.2.5 to 3.2.7), written down a second time:
// nothing here comes from the code under test.
const (
	numLit, usableLit   = 288, 286
	numDist, usableDist = 32, 30
	numMeta             = 19
	endOfBlock          = 256
	longestCode         = 15
	longestMeta         = 7
)

var (
	lengthBase  = [29]int{3, 4, 5, 6, 7, 8, 9, 10, 11, 13, 15, 17, 19, 23, 27, 31, 35, 43, 51, 59, 67, 83, 99, 115, 131, 163, 195, 227, 258}
	lengthExtra = [29]uint{0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2, 3, 3, 3, 3, 4, 4, 4, 4, 5, 5, 5, 5, 0}
	distBase    = [30]int{1, 2, 3, 4, 5, 7, 9, 13, 17, 25, 33, 49, 65, 97, 129, 193, 257, 385, 513, 769, 1025, 1537, 2049, 3073, 4097, 6145, 8193, 12289, 16385, 24577}
	distExtra   = [30]uint{0, 0, 0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5, 6, 6, 7, 7, 8, 8, 9, 9, 10, 10, 11, 11, 12, 12, 13, 13}
	metaOrder   = [numMeta]int{16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1, 15}
)

// gzipOf wraps deflate data that decodes to plain into a gzip member.
func gzipOf(deflate, plain []byte) []byte {
	b := []byte{0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 255}
	b = append(b, deflate...)
	b = binary.LittleEndian.AppendUint32(b, crc32.ChecksumIEEE(plain))
	return binary.LittleEndian.AppendUint32(b, uint32(len(plain)))
}

// A streamWriter writes deflate streams that are valid but unlike those of any
// compressor: codes of up to 15 bits, codes of one symbol, all lengths and
// distances, block types mixed.
type streamWriter struct {
	rng   *rand.Rand
	buf   []byte
	acc   uint64
	n     uint
	plain []byte
}

// randomStream returns a stream of some blocks and what it decodes to.
func randomStream(seed uint64) (deflate, plain []byte) {
	w := &streamWriter{rng: rand.New(rand.NewPCG(seed, 0))}
	for last := uint64(0); last == 0; {
		if w.rng.IntN(4) == 0 {
			last = 1
		}
		w.bits(last, 1)
		switch w.rng.IntN(6) {
		case 0:
			w.storedBlock()
		case 1:
			w.fixedBlock()
		default:
			w.dynamicBlock()
		}
	}
	w.align()
	return w.buf, w.plain
}

func (w *streamWriter) bits(v uint64, n uint) {
	w.acc |= v << w.n
	w.n += n
	for ; w.n >= 8; w.n -= 8 {
		w.buf = append(w.buf, byte(w.acc))
		w.acc >>= 8
	}
}

func (w *streamWriter) align() { w.bits(0, -w.n&7) }

func (w *streamWriter) storedBlock() {
	w.bits(0, 2)
	w.align()
	n := w.rng.IntN(2000)
	if w.rng.IntN(8) == 0 {
		n = w.rng.IntN(1 << 16)
	}
	w.bits(uint64(n), 16)
	w.bits(uint64(uint16(^n)), 16)
	for range n {
		b := byte(w.rng.Uint32())
		w.plain = append(w.plain, b)
		w.buf = append(w.buf, b)
	}
}

func (w *streamWriter) fixedBlock() {
	w.bits(1, 2)
	lit := slices.Concat(
		slices.Repeat([]uint8{8}, 144), slices.Repeat([]uint8{9}, 112),
		slices.Repeat([]uint8{7}, 24), slices.Repeat([]uint8{8}, 8))
	w.symbols(lit, slices.Repeat([]uint8{5}, numDist))
}

func (w *streamWriter) dynamicBlock() {
	w.bits(2, 2)
	lit := w.randomCode(usableLit, endOfBlock, longestCode)
	dist := w.randomCode(usableDist, w.rng.IntN(usableDist), longestCode)
	if w.rng.IntN(10) == 0 {
		clear(dist) // no distance code at all
	}
	nlit, ndist := usableLit, usableDist
	for nlit > endOfBlock+1 && lit[nlit-1] == 0 {
		nlit--
	}
	for ndist > 1 && dist[ndist-1] == 0 {
		ndist--
	}
	w.bits(uint64(nlit-257), 5)
	w.bits(uint64(ndist-1), 5)
	w.codeLengths(slices.Concat(lit[:nlit], dist[:ndist]))
	w.symbols(lit, dist)
}

// codeLengths writes the description of a block's code, with and without the
// short forms for repetitions.
func (w *streamWriter) codeLengths(lens []uint8) {
	meta := make([]uint8, numMeta)
	for slices.Contains(meta, 0) { // all symbols are needed below
		meta = w.randomCode(numMeta, 0, longestMeta)
	}
	w.bits(numMeta-4, 4)
	for _, s := range metaOrder {
		w.bits(uint64(meta[s]), 3)
	}
	codes := codesOf(meta)
	symbol := func(s int) { w.bits(uint64(codes[s]), uint(meta[s])) }
	for i := 0; i < len(lens); {
		run := 1
		for i+run < len(lens) && lens[i+run] == lens[i] && run < 138 {
			run++
		}
		switch {
		case lens[i] == 0 && run >= 11 && w.rng.IntN(4) > 0:
			symbol(18)
			w.bits(uint64(run-11), 7)
		case lens[i] == 0 && run >= 3 && w.rng.IntN(4) > 0:
			run = min(run, 10)
			symbol(17)
			w.bits(uint64(run-3), 3)
		case i > 0 && lens[i-1] == lens[i] && run >= 3 && w.rng.IntN(4) > 0:
			run = min(run, 6)
			symbol(16)
			w.bits(uint64(run-3), 2)
		default:
			run = 1
			symbol(int(lens[i]))
		}
		i += run
	}
}

// randomCode returns the lengths of a complete code, or of a code of a single
// one-bit symbol, over some of n symbols, always including must.
func (w *streamWriter) randomCode(n, must, longest int) []uint8 {
	count := 1 + w.rng.IntN(n)
	if w.rng.IntN(4) == 0 {
		count = 1 + w.rng.IntN(min(n, 4))
	}
	leaves := w.randomTree(count, longest)
	lens := make([]uint8, n)
	for i, s := range w.rng.Perm(n)[:count] {
		lens[s] = leaves[i]
	}
	if lens[must] == 0 {
		s := slices.IndexFunc(lens, func(n uint8) bool { return n != 0 })
		lens[must], lens[s] = lens[s], 0
	}
	return lens
}

// randomTree returns the depths of the leaves of a binary tree, shuffled.
func (w *streamWriter) randomTree(count, longest int) []uint8 {
	leaves := []uint8{0}
	deep := w.rng.IntN(2) == 0
	for len(leaves) < count {
		// Split a leaf; when deep, rather one of the longest.
		i := w.rng.IntN(len(leaves))
		if deep && w.rng.IntN(3) > 0 {
			i = len(leaves) - 1
		}
		if int(leaves[i]) < longest {
			leaves[i]++
			leaves = append(leaves, leaves[i])
		}
		if deep && int(leaves[len(leaves)-1]) == longest {
			deep = false
		}
	}
	if count == 1 {
		leaves[0] = 1
	}
	w.rng.Shuffle(count, func(i, j int) { leaves[i], leaves[j] = leaves[j], leaves[i] })
	return leaves
}

// codesOf returns the codes of a canonical code as they are written, lowest
// bit first, by the algorithm of RFC 1951, 3.2.2.
func codesOf(lens []uint8) []uint32 {
	var count, next [longestCode + 1]uint32
	for _, n := range lens {
		count[n]++
	}
	count[0] = 0
	for n := 1; n <= longestCode; n++ {
		next[n] = (next[n-1] + count[n-1]) << 1
	}
	codes := make([]uint32, len(lens))
	for s, n := range lens {
		for i := range n {
			codes[s] |= next[n] >> i & 1 << (n - 1 - i)
		}
		next[n]++
	}
	return codes
}

// symbols writes random symbols of a code and the end of the block.
func (w *streamWriter) symbols(lit, dist []uint8) {
	litCodes, distCodes := codesOf(lit), codesOf(dist)
	literals, lengths, dists := used(lit[:256]), used(lit[257:usableLit]), used(dist[:usableDist])
	matches := w.rng.IntN(100) // percentage
	for range w.rng.IntN(3000) {
		if len(literals) > 0 && w.rng.IntN(100) >= matches {
			s := literals[w.rng.IntN(len(literals))]
			w.bits(uint64(litCodes[s]), uint(lit[s]))
			w.plain = append(w.plain, byte(s))
			continue
		}
		if len(lengths) == 0 || len(dists) == 0 {
			continue
		}
		l, d := lengths[w.rng.IntN(len(lengths))], dists[w.rng.IntN(len(dists))]
		x := w.rng.Uint64() & (1<<distExtra[d] - 1)
		distance := distBase[d] + int(x)
		if distance > len(w.plain) {
			continue
		}
		w.bits(uint64(litCodes[257+l]), uint(lit[257+l]))
		lx := w.rng.Uint64() & (1<<lengthExtra[l] - 1)
		w.bits(lx, lengthExtra[l])
		w.bits(uint64(distCodes[d]), uint(dist[d]))
		w.bits(x, distExtra[d])
		for range lengthBase[l] + int(lx) {
			w.plain = append(w.plain, w.plain[len(w.plain)-distance])
		}
	}
	w.bits(uint64(litCodes[endOfBlock]), uint(lit[endOfBlock]))
}

// used returns the symbols that have a code.
func used(lens []uint8) (symbols []int) {
	for s, n := range lens {
		if n != 0 {
			symbols = append(symbols, s)
		}
	}
	return symbols
}
