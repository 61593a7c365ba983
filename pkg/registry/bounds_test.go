package registry_test

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net/http"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/klauspost/compress/zstd"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/containerd-pull/containerd-pull/pkg/registry"
	"github.com/containerd-pull/containerd-pull/pkg/source"
)

// foreignReaders are all ways in which this package reads the answer of a
// server. Those that a status leads to are in asked.
func foreignReaders() map[string]func(context.Context, *testing.T, *fake, *registry.Registry) error {
	return map[string]func(context.Context, *testing.T, *fake, *registry.Registry) error{
		"manifest by tag": func(ctx context.Context, t *testing.T, f *fake, r *registry.Registry) error {
			_, err := r.Resolve(ctx, f.ref(t, "app:1"))
			return err
		},
		"manifest by digest": func(ctx context.Context, t *testing.T, f *fake, r *registry.Registry) error {
			_, err := r.Manifest(ctx, f.ref(t, "app"), describe(ocispec.MediaTypeImageManifest, []byte("{}")))
			return err
		},
		"tags": func(ctx context.Context, t *testing.T, f *fake, r *registry.Registry) error {
			_, err := r.Tags(ctx, f.ref(t, "app"))
			return err
		},
		"repositories": func(ctx context.Context, _ *testing.T, f *fake, r *registry.Registry) error {
			_, err := r.Repositories(ctx, f.host())
			return err
		},
		"blob": func(ctx context.Context, t *testing.T, f *fake, r *registry.Registry) error {
			b, err := r.Open(ctx, f.ref(t, "app"), describe(layerType, make([]byte, 1<<20)), source.Range{})
			if err != nil {
				return err
			}
			_, err = io.Copy(io.Discard, b)
			return errors.Join(err, b.Close())
		},
		"rest of a blob": func(ctx context.Context, t *testing.T, f *fake, r *registry.Registry) error {
			b, err := r.Open(ctx, f.ref(t, "app"), describe(layerType, make([]byte, 1<<20)), source.Range{Offset: 1 << 10})
			if err != nil {
				return err
			}
			_, err = io.Copy(io.Discard, b)
			return errors.Join(err, b.Close())
		},
	}
}

// asked answers with a status that leads to another reader: that of errors, of
// redirects, or of tokens.
func asked(how string, body http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, req *http.Request) {
		switch {
		case how == "answer" || req.URL.Path == "/token" || req.URL.Path == "/elsewhere":
			body(w, req)
		case how == "error":
			w.WriteHeader(http.StatusNotFound)
			body(w, req)
		case how == "redirect":
			w.Header().Set("Location", "/elsewhere")
			w.WriteHeader(http.StatusFound)
			body(w, req)
		case how == "unauthorized":
			w.Header().Set("WWW-Authenticate", `Bearer realm="http://`+req.Host+`/token"`)
			w.WriteHeader(http.StatusUnauthorized)
			body(w, req)
		case how == "token":
			w.Header().Set("WWW-Authenticate", `Bearer realm="http://`+req.Host+`/token"`)
			w.WriteHeader(http.StatusUnauthorized)
		}
	}
}

// endless are bodies that never end, by what they do in between.
func endless() map[string]http.HandlerFunc {
	coded := func(coding, chunk string) http.HandlerFunc {
		many := strings.Repeat(chunk, 1+(64<<10)/len(chunk))
		return func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Encoding", coding)
			forever(w, many)
		}
	}
	skippable := binary.LittleEndian.AppendUint32([]byte{0x50, 0x2a, 0x4d, 0x18}, 0)
	return map[string]http.HandlerFunc{
		"zeros":            func(w http.ResponseWriter, _ *http.Request) { forever(w, string(make([]byte, 64<<10))) },
		"objects":          func(w http.ResponseWriter, _ *http.Request) { forever(w, strings.Repeat("{},", 1<<14)) },
		"deep arrays":      func(w http.ResponseWriter, _ *http.Request) { forever(w, strings.Repeat("[", 1<<16)) },
		"empty members":    coded("gzip", zipped(nil)),
		"empty blocks":     func(w http.ResponseWriter, _ *http.Request) { emptyBlocks(w) },
		"members of zeros": coded("gzip", zipped(make([]byte, 1<<20))),
		"empty frames":     coded("zstd", string(zframe(nil))),
		"skippable frames": coded("zstd", string(skippable)),
		"frames of zeros":  coded("zstd", string(zframe(make([]byte, 1<<20)))),
		"all, then members": func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Encoding", "gzip")
			io.WriteString(w, zipped(make([]byte, 1<<20)))
			forever(w, strings.Repeat(zipped(nil), 1<<10))
		},
		"a byte now and then": func(w http.ResponseWriter, req *http.Request) { drip(w, req, " ") },
		"members now and then": func(w http.ResponseWriter, req *http.Request) {
			w.Header().Set("Content-Encoding", "gzip")
			drip(w, req, zipped(nil))
		},
		"nothing": func(w http.ResponseWriter, req *http.Request) {
			http.NewResponseController(w).Flush()
			<-req.Context().Done()
		},
	}
}

func zipped(b []byte) string {
	var out bytes.Buffer
	z := gzip.NewWriter(&out)
	z.Write(b)
	z.Close()
	return out.String()
}

func zframe(b []byte) []byte {
	z, err := zstd.NewWriter(nil, zstd.WithEncoderConcurrency(1), zstd.WithZeroFrames(true))
	if err != nil {
		panic(err) // the options are constants
	}
	return z.EncodeAll(b, nil)
}

func forever(w io.Writer, chunk string) {
	for {
		if _, err := io.WriteString(w, chunk); err != nil {
			return
		}
	}
}

// emptyBlocks is one member that never ends.
func emptyBlocks(w http.ResponseWriter) {
	w.Header().Set("Content-Encoding", "gzip")
	var head bytes.Buffer
	z := gzip.NewWriter(&head)
	z.Flush()
	w.Write(head.Bytes())
	forever(w, strings.Repeat("\x00\x00\x00\xff\xff", 1<<12)) // stored, of no byte
}

func drip(w http.ResponseWriter, req *http.Request, chunk string) {
	for req.Context().Err() == nil {
		io.WriteString(w, chunk)
		http.NewResponseController(w).Flush()
		time.Sleep(20 * time.Millisecond)
	}
}

// TestRule7EveryReaderIsBounded runs each reader against each endless source, and
// wants an end within a few stall time-outs and little memory. It covers the
// findings M3 (a content coding that yields nothing) and L12 (a byte now and
// then).
func TestRule7EveryReaderIsBounded(t *testing.T) {
	const stall = 150 * time.Millisecond
	for read, ask := range foreignReaders() {
		for name, body := range endless() {
			if strings.HasSuffix(read, "blob") && name == "a byte now and then" {
				continue // which is what a blob may be
			}
			for _, how := range []string{"answer", "error", "redirect", "unauthorized", "token"} {
				if how != "answer" && read != "manifest by tag" {
					continue // they are read in one place
				}
				t.Run(fmt.Sprintf("%s/%s/%s", read, how, name), func(t *testing.T) {
					t.Parallel()
					srv := serve(t, asked(how, body))
					r := open(t, registry.Options{StallTimeout: stall, ManifestBytes: 1 << 20, Retry: registry.Retry{Count: -1}})
					start := time.Now()
					ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
					defer cancel()
					err := ask(ctx, t, srv, r)
					if ctx.Err() != nil || err == nil && !mayBring(read, name) {
						t.Errorf("got %v after %s, want an error before", err, time.Since(start))
					}
				})
			}
		}
	}
}

// mayBring reports whether the source brings all bytes of a blob before it goes
// on for ever. Behind the last byte there is one more look and no error.
func mayBring(read, name string) bool {
	return strings.HasSuffix(read, "blob") && name == "all, then members"
}

// TestRule7ReadersTakeLittleMemory runs one reader after the other, and looks at
// what the heap has got of the system meanwhile, which it does not give back.
func TestRule7ReadersTakeLittleMemory(t *testing.T) {
	const most = 64 << 20
	for name, body := range endless() {
		if strings.Contains(name, "now and then") || name == "nothing" {
			continue
		}
		srv := serve(t, body)
		r := open(t, registry.Options{ManifestBytes: 1 << 20, Retry: registry.Retry{Count: -1}})
		for read, ask := range foreignReaders() {
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			_ = ask(t.Context(), t, srv, r)
			runtime.ReadMemStats(&after)
			if took := int64(after.HeapSys) - int64(before.HeapSys); took > most {
				t.Errorf("%s of %s took %d bytes of memory, want at most %d", read, name, took, most)
			}
		}
	}
}
