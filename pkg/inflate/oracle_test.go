package inflate_test

import (
	"bufio"
	"bytes"
	"compress/flate"
	"compress/gzip"
	"errors"
	"io"
	"testing"

	kflate "github.com/klauspost/compress/flate"
	kgzip "github.com/klauspost/compress/gzip"

	"github.com/containerd-pull/containerd-pull/pkg/inflate"
)

// A member decodes a single gzip member: the interface that both oracles have.
type member interface {
	io.Reader
	Reset(io.Reader) error
	Multistream(bool)
}

// oracle decodes data with z. The oracles are used one member at a time
// because of the two things in which this package differs from them: an end
// within a header is unexpected, and so is the end of an empty stream. For the
// standard library a third is added, reserved flags must be zero, as they must
// for klauspost and so for containerd.
func oracle(z member, data []byte) ([]byte, error) {
	var out bytes.Buffer
	src := bufio.NewReader(bytes.NewReader(data))
	for first := true; ; first = false {
		head, _ := src.Peek(4)
		if len(head) == 0 && !first {
			return out.Bytes(), nil
		}
		if len(head) == 4 && bytes.HasPrefix(head, []byte{0x1f, 0x8b, 8}) && head[3]&0xe0 != 0 {
			return out.Bytes(), inflate.ErrHeader
		}
		if err := z.Reset(src); err != nil {
			return out.Bytes(), class(err)
		}
		z.Multistream(false)
		if _, err := io.Copy(&out, struct{ io.Reader }{z}); err != nil {
			return out.Bytes(), class(err)
		}
	}
}

func std(data []byte) ([]byte, error)       { return oracle(new(gzip.Reader), data) }
func klauspost(data []byte) ([]byte, error) { return oracle(new(kgzip.Reader), data) }

// class translates the errors of the oracles.
func class(err error) error {
	var corrupt flate.CorruptInputError
	var kcorrupt kflate.CorruptInputError
	switch {
	case err == io.EOF:
		return io.ErrUnexpectedEOF
	case err == gzip.ErrHeader || err == kgzip.ErrHeader:
		return inflate.ErrHeader
	case err == gzip.ErrChecksum || err == kgzip.ErrChecksum:
		return inflate.ErrChecksum
	case errors.As(err, &corrupt) || errors.As(err, &kcorrupt):
		return inflate.ErrCorrupt
	}
	return err
}

// compare decodes data in several ways and checks the results against those
// of the standard library: the same bytes, or an error from both and no
// contradiction in the bytes before it. vary changes the sizes of reads and
// buffers.
func compare(t *testing.T, z *inflate.Reader, data []byte, vary uint32) {
	t.Helper()
	want, wantErr := std(data)
	check := func(how string, got []byte, err error) {
		t.Helper()
		if (err == nil) != (wantErr == nil) {
			t.Fatalf("%s: got error %v, want %v; input %x", how, err, wantErr, clip(data))
		}
		n := min(len(got), len(want))
		if err == nil && len(got) != len(want) || !bytes.Equal(got[:n], want[:n]) {
			t.Fatalf("%s: got %d bytes %x, want %d bytes %x; input %x", how,
				len(got), clip(got), len(want), clip(want), clip(data))
		}
	}

	var out bytes.Buffer
	z.Reset(bytes.NewReader(data))
	_, err := z.WriteTo(&out)
	check("WriteTo", out.Bytes(), err)

	z.Reset(&chunks{data: data, n: 1 + int(vary%100)})
	got, err := readAll(z, 1+int(vary/100%1000))
	check("Read", got, err)

	// Buffers hold as little as they may, so that the window slides often.
	z.Reset(&chunks{data: data, n: 1 + int(vary%10000)})
	got, err = fillAll(z, inflate.MinBufferSize+int(vary/1000%2000))
	check("Fill", got, err)

	z.Reset(bytes.NewReader(data))
	got, err = mixed(z, int(vary%3000))
	check("Read and Fill in turn", got, err)
}

func clip(b []byte) []byte { return b[:min(len(b), 2000)] }

// chunks is a reader that returns at most n bytes at a time, and the end of
// the data together with its last bytes.
type chunks struct {
	data []byte
	n    int
}

func (c *chunks) Read(p []byte) (int, error) {
	n := copy(p[:min(len(p), c.n)], c.data)
	c.data = c.data[n:]
	if len(c.data) == 0 {
		return n, io.EOF
	}
	return n, nil
}

// readAll reads everything from z with a buffer of size bytes.
func readAll(z *inflate.Reader, size int) ([]byte, error) {
	var out []byte
	buf := make([]byte, size)
	for {
		n, err := z.Read(buf)
		out = append(out, buf[:n]...)
		if err == io.EOF {
			return out, nil
		}
		if err != nil {
			return out, err
		}
	}
}

// fillAll decodes everything with Fill into buffers of size bytes, and
// overwrites a buffer as soon as it has its data: z must not need it any more.
func fillAll(z *inflate.Reader, size int) ([]byte, error) {
	var out []byte
	buf := make([]byte, size)
	for {
		data, err := z.Fill(buf)
		if err == io.EOF {
			return out, nil
		}
		if err != nil {
			return out, err
		}
		out = append(out, data...)
		poison(buf)
	}
}

func poison(b []byte) {
	b[0] = 0xdb
	for n := 1; n < len(b); n *= 2 { // much faster than a loop with -race
		copy(b[n:], b[:n])
	}
}

// mixed decodes everything with Read of size bytes and Fill in turn.
func mixed(z *inflate.Reader, size int) ([]byte, error) {
	var out []byte
	buf := make([]byte, inflate.MinBufferSize)
	for {
		n, err := z.Read(buf[:size])
		out = append(out, buf[:n]...)
		if err == nil {
			var data []byte
			data, err = z.Fill(buf)
			out = append(out, data...)
			poison(buf)
		}
		if err == io.EOF {
			return out, nil
		}
		if err != nil {
			return out, err
		}
	}
}
