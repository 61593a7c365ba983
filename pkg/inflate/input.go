package inflate

import "io"

// maxEmptyReads is how often in a row a source may return nothing at all.
const maxEmptyReads = 100

// fetch adds input after what is unread and reports whether there was any.
func (z *Reader) fetch() bool {
	z.ie = copy(z.in, z.in[z.ip:z.ie])
	z.ip = 0
	for tries := 1; z.srcErr == nil; tries++ {
		free := z.in[z.ie:]
		n, err := z.src.Read(free)
		z.ie += len(free[:n]) // panics on a count that cannot be
		z.srcErr = err
		if n > 0 {
			return true
		}
		if tries == maxEmptyReads && err == nil {
			z.srcErr = io.ErrNoProgress
		}
	}
	return false
}

// want fills the bit buffer until it has n bits, up to 56. It returns false
// when the input ends before; the buffer then has what was left.
func (z *Reader) want(n uint) bool {
	for z.nbits < n {
		if z.ip == z.ie && !z.fetch() {
			return false
		}
		z.bits |= uint64(z.in[z.ip]) << z.nbits
		z.nbits += 8
		z.ip++
	}
	return true
}

// drop removes n bits, up to 63, from the bit buffer; it fails if there are
// fewer.
func (z *Reader) drop(n uint) {
	if z.nbits < n {
		z.truncated()
		n = z.nbits
	}
	z.bits >>= n
	z.nbits -= n
}

// take returns the next n bits, up to 32. It returns 0 after a failure.
func (z *Reader) take(n uint) uint32 {
	if !z.want(n) {
		z.truncated()
		return 0
	}
	v := z.bits & (1<<n - 1)
	z.drop(n)
	return uint32(v)
}

// truncated fails because the input has ended too early.
func (z *Reader) truncated() {
	if z.srcErr == io.EOF {
		z.fail(io.ErrUnexpectedEOF)
	} else {
		z.fail(z.srcErr)
	}
}
