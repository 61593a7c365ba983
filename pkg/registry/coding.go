package registry

import (
	"compress/gzip"
	"errors"
	"io"
	"net/http"
	"strings"

	"github.com/klauspost/compress/zstd"
)

// encoded reports an answer whose bytes are not the blob itself.
func encoded(resp *http.Response) bool {
	coding := strings.TrimSpace(resp.Header.Get("Content-Encoding"))
	return coding != "" && !strings.EqualFold(coding, "identity")
}

// zstdWindow is the largest window that RFC 9659 allows for a content coding.
const zstdWindow = 8 << 20

// decode undoes a content coding that we did not ask for. What comes out is
// bounded by the reader of the result.
func decode(resp *http.Response) (io.ReadCloser, error) {
	if !encoded(resp) {
		return resp.Body, nil
	}
	coding := strings.ToLower(strings.TrimSpace(resp.Header.Get("Content-Encoding")))
	switch coding {
	case "gzip", "x-gzip":
		z, err := gzip.NewReader(resp.Body)
		if err != nil {
			return nil, decodeFault(err)
		}
		return &decoded{src: z, release: func() {}, body: resp.Body}, nil
	case "zstd":
		z, err := zstd.NewReader(resp.Body, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxWindow(zstdWindow))
		if err != nil {
			return nil, decodeFault(err)
		}
		return &decoded{src: z, release: z.Close, body: resp.Body}, nil
	}
	return nil, malformedf("answer with unknown content coding %q", coding)
}

// decoded reads through a decoder and closes what is below it.
type decoded struct {
	src     io.Reader
	release func()
	body    io.Closer
}

func (d *decoded) Read(p []byte) (int, error) {
	n, err := d.src.Read(p)
	if err != nil && !errors.Is(err, io.EOF) {
		err = decodeFault(err)
	}
	return n, err
}

func (d *decoded) Close() error {
	d.release()
	return d.body.Close()
}

// decodeFault tells a stream that is broken from a connection that is.
func decodeFault(err error) error {
	if errors.Is(err, gzip.ErrHeader) || errors.Is(err, gzip.ErrChecksum) || errors.Is(err, zstd.ErrMagicMismatch) {
		return corruptf("digest", "undoing the content coding: %w", err)
	}
	return err
}
