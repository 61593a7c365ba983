package inflate

// What makes decoding fast:
//
//   - The bit buffer is 64 bits wide and refilled without a branch: one
//     unaligned 8-byte load is or-ed above the valid bits and the input
//     position moves by as many whole bytes as found room. That leaves at
//     least 56 valid bits, enough for three literals, or for a length and a
//     distance with all their extra bits.
//   - Everything about a symbol is in one 32-bit table entry: what kind it is,
//     its byte or base value, and how many bits of code and of extra bits to
//     drop. One load and one shift per symbol are on the critical path, and
//     the next entry is loaded before the current match is copied, so the two
//     overlap.
//   - Output goes straight into a large window that is also the buffer handed
//     to the caller. A match is copied from the window to the window, eight
//     bytes per store, running past its end where that is cheaper; there is
//     no ring of 32 KiB that is copied out a second time.
//   - The inner loop makes no bounds check. It runs only while both
//     buffers have room for whatever one round can do, and a plain loop takes
//     one symbol at a time near their ends. The only check per match is that
//     its distance stays within the data of the member.

// refill tops up the bit buffer b to at least 56 bits. Bits of b above the
// valid ones are those of the input at ip or zero, so that or-ing the same bits
// again changes nothing. The lowest six bits of n are the number of valid bits;
// those above are noise and stay noise.
func refill(in mem, ip int, b, n uint64) (int, uint64, uint64) {
	return ip + int(7-n>>3&7), b | load64(in, ip)<<(n&63), n | 56
}

// value returns the value of a length or distance symbol whose code, followed
// by its extra bits, is lowest in b.
func (e entry) value(b uint64) int {
	return int(e>>16) + int(b&(1<<(e&63)-1)>>(e>>8&15))
}

// sub returns where in its table the entry of a code is that is longer than
// the index; e is the link that was found instead and b starts behind the
// index.
func (e entry) sub(b uint64) uint64 {
	return uint64(e>>16) + b&(1<<(e>>8&15)-1)
}

// decodeFast decodes symbols until the end of the block or until a buffer
// comes near its end.
//
// At the top of the loop the bit buffer b has at least 56 valid bits and e is
// the literal/length entry of the bits on top. Shift counts are written with
// &63 where the compiler would add code for counts of 64 and more. From n whole
// entries are subtracted: their bits 6 and 7 are zero, so its lowest six bits
// stay right, and no others count.
//
// It is one long function because its variables live in registers: a call
// anywhere in the loop, even on a path rarely taken, costs 5 percent.
//
// The race detector leaves it alone, because it would make each byte a call and
// the tests of real images take minutes. The buffers are the Reader's while it
// runs, and the code that hands them over is instrumented.
//
//go:norace
func (z *Reader) decodeFast() {
	var (
		in, out = memOf(z.in), memOf(z.win)
		ip, op  = z.ip, z.wp
		ipLimit = z.ie - inMargin
		limit   = z.limit
		base    = z.base
		lit     = &z.lit
		dist    = &z.dist
		b       = z.bits
		n       = uint64(z.nbits)
		fail    bool
	)
	ip, b, n = refill(in, ip, b, n)
	e := lit[b%(1<<litBits)]
	for ip <= ipLimit && op <= limit {
		if e&entryLiteral != 0 {
			// Up to three literals (33 bits) per refill.
			b >>= e & 63
			n -= uint64(e)
			store8(out, op, byte(e>>16))
			op++
			e = lit[b%(1<<litBits)]
			if e&entryLiteral != 0 {
				b >>= e & 63
				n -= uint64(e)
				store8(out, op, byte(e>>16))
				op++
				e = lit[b%(1<<litBits)]
				if e&entryLiteral != 0 {
					b >>= e & 63
					n -= uint64(e)
					store8(out, op, byte(e>>16))
					op++
					ip, b, n = refill(in, ip, b, n)
					e = lit[b%(1<<litBits)]
					continue
				}
			}
			// No literal. A length and a distance take up to 48 bits.
			ip, b, n = refill(in, ip, b, n)
		}
		code := b
		b >>= e & 63
		n -= uint64(e)
		if e&entryOther != 0 {
			if e&entryLink == 0 {
				z.state = atBlock
				fail = e&entryEnd == 0
				break
			}
			e = lit[e.sub(b)%litSize]
			code = b
			b >>= e & 63
			n -= uint64(e)
			if e&entryLiteral != 0 {
				store8(out, op, byte(e>>16))
				op++
				ip, b, n = refill(in, ip, b, n)
				e = lit[b%(1<<litBits)]
				continue
			}
			if e&entryOther != 0 { // the end: no invalid code is that long
				z.state = atBlock
				break
			}
		}
		length := e.value(code)

		d := dist[b%(1<<distBits)]
		if d&entryOther != 0 {
			if d&entryLink == 0 {
				fail = true
				break
			}
			b >>= distBits
			n -= distBits
			d = dist[d.sub(b)%distSize] // a distance: no invalid code is that long
		}
		from := op - d.value(b)
		b >>= d & 63
		n -= uint64(d)
		if from < base {
			fail = true
			break
		}
		// The next entry, before the copy keeps the processor busy.
		ip, b, n = refill(in, ip, b, n)
		e = lit[b%(1<<litBits)]

		end := op + length
		switch gap := op - from; {
		case gap >= 8:
			// Each store is complete before the load that may need it.
			for {
				store64(out, op, load64(out, from))
				store64(out, op+8, load64(out, from+8))
				op += 16
				from += 16
				if op >= end {
					break
				}
			}
		case gap == 1:
			v := uint64(load8(out, from)) * 0x0101010101010101
			for ; op < end; op += 8 {
				store64(out, op, v)
			}
		default:
			for ; op < end; op++ {
				store8(out, op, load8(out, from))
				from++
			}
		}
		op = end
	}
	if fail {
		z.fail(ErrCorrupt)
	}
	// Give whole bytes back to the input, unless they came before the last
	// fill and are no longer there.
	n &= 63
	back := min(int(n>>3), ip)
	ip -= back
	n -= uint64(back) << 3
	z.ip, z.wp = ip, op
	z.bits, z.nbits = b&(1<<n-1), uint(n)
}
