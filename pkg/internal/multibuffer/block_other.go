//go:build !amd64

package multibuffer

func block2(_, _ *[8]uint32, _, _ *byte, _ int) { panic("not capable") }

func capable() bool { return false }
