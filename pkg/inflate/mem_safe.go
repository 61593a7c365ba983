//go:build purego || !(amd64 || arm64)

package inflate

import "encoding/binary"

// A mem is a byte buffer; see mem_unsafe.go for the unchecked version.
type mem = []byte

func memOf(b []byte) mem { return b }

func load8(m mem, i int) byte        { return m[i] }
func load64(m mem, i int) uint64     { return binary.LittleEndian.Uint64(m[i:]) }
func store8(m mem, i int, v byte)    { m[i] = v }
func store64(m mem, i int, v uint64) { binary.LittleEndian.PutUint64(m[i:], v) }
