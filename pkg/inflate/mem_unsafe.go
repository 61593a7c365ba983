//go:build !purego && (amd64 || arm64)

package inflate

import "unsafe"

// A mem is a byte buffer without bounds checks, for processors that load and
// store little-endian words at any address. Only decodeFast uses it, which stays
// inside the buffers by the margins it keeps. Building with the tag purego
// replaces it by checked slices; the tests and the fuzz test run with both.
type mem = unsafe.Pointer

func memOf(b []byte) mem { return unsafe.Pointer(unsafe.SliceData(b)) }

func load8(m mem, i int) byte        { return *(*byte)(unsafe.Add(m, i)) }
func load64(m mem, i int) uint64     { return *(*uint64)(unsafe.Add(m, i)) }
func store8(m mem, i int, v byte)    { *(*byte)(unsafe.Add(m, i)) = v }
func store64(m mem, i int, v uint64) { *(*uint64)(unsafe.Add(m, i)) = v }
