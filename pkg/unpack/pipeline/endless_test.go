package pipeline_test

import (
	"bytes"
	"compress/gzip"
	"errors"
	"io"
	"testing"

	"github.com/klauspost/compress/zstd"

	"github.com/containerd-pull/containerd-pull/pkg/internal/pulltest"
	"github.com/containerd-pull/containerd-pull/pkg/unpack/pipeline"
)

// TestRule7EndlessStreams has layers that never end, in each compression. They are read
// no further than the consumer goes, and where they give it nothing no further than the
// source does, whose bytes the fetch counts.
func TestRule7EndlessStreams(t *testing.T) {
	const enough, most = 4 << 20, 32 << 20
	zipped := func(p []byte) []byte {
		var b bytes.Buffer
		z := gzip.NewWriter(&b)
		z.Write(p)
		z.Close()
		return b.Bytes()
	}
	frame := func(p []byte) []byte {
		z, err := zstd.NewWriter(nil, zstd.WithZeroFrames(true))
		if err != nil {
			t.Fatal(err)
		}
		return z.EncodeAll(p, nil)
	}
	full := errors.New("full")
	for name, tt := range map[string]struct {
		chunk  []byte
		yields bool
	}{
		"plain":            {make([]byte, 4<<10), true},
		"members of zeros": {zipped(make([]byte, 1<<20)), true},
		"empty members":    {zipped(nil), false},
		"frames of zeros":  {frame(make([]byte, 1<<20)), true},
		"empty frames":     {frame(nil), false},
		"skippable frames": {append(frame(nil), 0x50, 0x2a, 0x4d, 0x18, 0, 0, 0, 0), false},
	} {
		read := func(src io.Reader) error {
			_, err := io.CopyN(io.Discard, src, enough)
			if err == nil {
				return full
			}
			return err
		}
		for by, run := range map[string]func(src io.Reader) error{
			"pipeline": func(src io.Reader) error {
				_, err := newPipeline().Run(src, layer(), func(plain *pipeline.Plain) error { return read(plain) })
				return err
			},
			"alone": func(src io.Reader) error {
				plain, err := pipeline.Open(src)
				if err != nil {
					return err
				}
				return errors.Join(read(plain), plain.Close())
			},
		} {
			t.Run(name+"/"+by, func(t *testing.T) {
				endless := &pulltest.Endless{Chunk: tt.chunk}
				src := io.Reader(endless)
				if !tt.yields {
					src = io.LimitReader(src, enough)
				}
				err := run(src)
				if errors.Is(err, full) != tt.yields || err == nil {
					t.Errorf("got %v, want an end by the consumer: %v", err, tt.yields)
				}
				if endless.Count > most {
					t.Errorf("got %d bytes read, want at most %d", endless.Count, most)
				}
			})
		}
	}
}
