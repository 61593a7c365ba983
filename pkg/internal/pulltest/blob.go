package pulltest

import (
	"bytes"
	"fmt"
	"io"
	"os"

	"github.com/opencontainers/go-digest"
)

// Blob is bytes under a digest: in memory, or in a file that is opened anew
// for every reader. Digest and Size are claims: a test that wants a lie
// changes them after NewBlob.
type Blob struct {
	Digest digest.Digest
	Size   int64
	data   []byte
	path   string // of the file that holds the bytes, if they are not in data
}

// NewBlob names data by its sha256 digest.
func NewBlob(data []byte) Blob {
	return Blob{Digest: digest.FromBytes(data), Size: int64(len(data)), data: data}
}

// fileBlob names a file by its sha256 digest.
func fileBlob(path string) (Blob, error) {
	f, err := os.Open(path)
	if err != nil {
		return Blob{}, fmt.Errorf("opening blob: %w", err)
	}
	defer f.Close()
	counter := &countingReader{r: f}
	dgst, err := digest.FromReader(counter)
	if err != nil {
		return Blob{}, fmt.Errorf("reading blob %s: %w", path, err)
	}
	return Blob{Digest: dgst, Size: counter.n, path: path}, nil
}

type countingReader struct {
	r io.Reader
	n int64
}

func (c *countingReader) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	c.n += int64(n)
	return n, err
}

// BlobReader is what both kinds of blob are served from.
type BlobReader interface {
	io.ReadSeeker
	io.ReaderAt
	io.Closer
}

type nopCloser struct{ *bytes.Reader }

func (nopCloser) Close() error { return nil }

// Open returns a reader of the blob. The caller closes it.
func (b Blob) Open() (BlobReader, error) {
	if b.path == "" {
		return nopCloser{bytes.NewReader(b.data)}, nil
	}
	f, err := os.Open(b.path)
	if err != nil {
		return nil, fmt.Errorf("opening blob %s: %w", b.Digest, err)
	}
	return f, nil
}

// Bytes returns the whole blob. Meant for configs and small layers.
func (b Blob) Bytes() ([]byte, error) {
	r, err := b.Open()
	if err != nil {
		return nil, err
	}
	defer r.Close()
	return io.ReadAll(r)
}
