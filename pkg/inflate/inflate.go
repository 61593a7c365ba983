package inflate

import "errors"

// What can be wrong with a stream. A stream that ends too early is an
// io.ErrUnexpectedEOF; errors of the source are returned as they are.
var (
	// ErrHeader says that a gzip member does not start with a valid header.
	ErrHeader = errors.New("inflate: invalid gzip header")
	// ErrCorrupt says that the compressed data of a member is invalid.
	ErrCorrupt = errors.New("inflate: corrupt data")
	// ErrChecksum says that a member does not have the checksum or the size
	// that its trailer promises.
	ErrChecksum = errors.New("inflate: checksum or size mismatch")
)

const (
	// BufferSize is a good size in bytes for the buffers of Fill: small
	// enough to stay in a second-level cache until the next stage of a
	// pipeline reads it, large enough that carrying the history over from
	// one buffer to the next, 32 KiB each time, does not count.
	BufferSize = 512 << 10
	// MinBufferSize is the least size in bytes of a buffer for Fill.
	MinBufferSize = 64 << 10
)
