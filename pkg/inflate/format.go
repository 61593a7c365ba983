package inflate

import "bytes"

// A Format is a way in which the bytes of a layer are compressed.
type Format uint8

// The formats that layers come in.
const (
	Plain Format = iota // not compressed
	Gzip                // RFC 1952, what a Reader decodes
	Zstd                // RFC 8878, which needs another decoder
)

// MagicSize is how many bytes Sniff looks at.
const MagicSize = 4

// Sniff returns the format of a stream that begins with magic, of which it
// looks at MagicSize bytes; a shorter stream has fewer. The media type of a
// layer is no substitute: registries serve layers under the wrong one.
func Sniff(magic []byte) Format {
	switch {
	case bytes.HasPrefix(magic, []byte{0x1f, 0x8b}):
		return Gzip
	case bytes.HasPrefix(magic, []byte{0x28, 0xb5, 0x2f, 0xfd}), isSkippable(magic):
		return Zstd
	}
	return Plain
}

// isSkippable reports whether magic begins a skippable frame of zstd (RFC 8878,
// 3.1.2), which may come before the first frame with data.
func isSkippable(magic []byte) bool {
	return len(magic) >= MagicSize && magic[0]&0xf0 == 0x50 && bytes.Equal(magic[1:MagicSize], []byte{0x2a, 0x4d, 0x18})
}
