package multibuffer

// block2 continues the states a and b over n bytes from p and from q. n is a
// positive multiple of blockSize.
//
//go:noescape
func block2(a, b *[8]uint32, p, q *byte, n int)

// cpuid executes the instruction of that name, with sub-leaf 0.
func cpuid(leaf uint32) (eax, ebx, ecx uint32)

// capable reports whether block2 can run on this processor.
func capable() bool {
	const (
		basic, extended = 1, 7 // leaves
		ssse3, sse41    = 1 << 9, 1 << 19
		sha             = 1 << 29
	)
	if last, _, _ := cpuid(0); last < extended {
		return false
	}
	_, _, ecx := cpuid(basic)
	_, ebx, _ := cpuid(extended)
	return ecx&ssse3 != 0 && ecx&sse41 != 0 && ebx&sha != 0
}
