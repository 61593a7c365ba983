package inflate_test

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"io"
	"strings"

	"github.com/containerd-pull/containerd-pull/pkg/inflate"
)

func hello() io.Reader {
	var buf bytes.Buffer
	w := gzip.NewWriter(&buf)
	io.WriteString(w, strings.Repeat("hello, world\n", 3))
	w.Close()
	return &buf
}

func ExampleReader() {
	var out strings.Builder
	_, err := io.Copy(&out, inflate.NewReader(hello()))
	fmt.Print(out.String(), err)
	// Output:
	// hello, world
	// hello, world
	// hello, world
	// <nil>
}

// A fixed set of buffers goes round between two goroutines.
func ExampleReader_Fill() {
	type chunk struct{ buf, data []byte }
	free, full := make(chan []byte, 2), make(chan chunk, 2)
	free <- make([]byte, inflate.BufferSize)
	free <- make([]byte, inflate.BufferSize)

	var out strings.Builder
	done := make(chan struct{})
	go func() {
		defer close(done)
		for c := range full {
			out.Write(c.data)
			free <- c.buf
		}
	}()

	z := inflate.NewReader(hello())
	var err error
	for err == nil {
		var c chunk
		c.buf = <-free
		if c.data, err = z.Fill(c.buf); err == nil {
			full <- c
		}
	}
	close(full)
	<-done
	fmt.Print(out.String(), err)
	// Output:
	// hello, world
	// hello, world
	// hello, world
	// EOF
}
