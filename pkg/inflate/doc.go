// Package inflate decompresses gzip streams (RFC 1951, RFC 1952) in pure Go,
// at two to two and a half times the speed of compress/gzip and of
// github.com/klauspost/compress. Inflating is the largest cost of pulling an
// image; this package exists to make it smaller. It reads what layers are made
// of, gzip streams of one or more members, and nothing else: no raw deflate, no
// zlib, no preset dictionaries, no header fields. [Sniff] recognises them.
//
// # Use
//
// A [Reader] is an [io.Reader] and an [io.WriterTo]. [Reader.Fill] is for
// pipelines: it decodes straight into a buffer of the caller, who may pass it
// on to another goroutine and go on with the next one. The Reader keeps no
// reference to it, so that a fixed set of buffers can go round and memory
// stays bounded:
//
//	inflate:  buf := <-free;  data, err := z.Fill(buf);  full <- data
//	consume:  data := <-full;  hash and unpack it;  free <- its buffer
//
// # What is accepted
//
// The package takes and refuses what containerd's decompressor does:
//
//   - Members follow each other; what follows the last member and is no
//     member is an error, zero bytes included.
//   - Checksum and size of every member are checked, and the checksum of a
//     header that has one. Reserved header flags must be zero.
//   - The codes of a block must be complete; as everywhere else a single code
//     of one bit and an absent code count as such.
//   - A stream that ends early, and an empty one, is an
//     [io.ErrUnexpectedEOF]. Here the package is stricter than containerd,
//     for which a stream that breaks off in the file name of a header ends
//     well.
//
// Data is handed out before the checksum of its member is known: it is
// tentative until [io.EOF].
//
// # Builds
//
// The unchecked inner loop is compiled for amd64 and arm64. Other
// architectures, and all with the build tag purego, get the same loop with
// bounds checks; it works on every processor and costs 10 to 15 percent.
//
// reader.go is where to enter: decode drives the states of a stream, of which
// member.go and block.go hold one step each, fast.go the inner loop, with what
// makes it fast, and table.go the decode tables.
package inflate
