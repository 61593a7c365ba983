package daemon_test

import (
	"bytes"
	"io"
	"testing"

	"github.com/containerd/containerd/v2/core/content"

	"github.com/containerd-pull/containerd-pull/pkg/internal/pulltest/testdaemon"
	"github.com/containerd-pull/containerd-pull/pkg/store"
	"github.com/containerd-pull/containerd-pull/pkg/store/daemon"
)

// TestIngestData finds the file that a daemon collects an ingest in, among those
// of other ingests and namespaces.
func TestIngestData(t *testing.T) {
	for _, version := range testdaemon.Versions() {
		t.Run(version, func(t *testing.T) {
			t.Parallel()
			d := testdaemon.Start(t, testdaemon.Options{Version: version})
			for _, ns := range []string{"one", "two"} {
				s, err := daemon.Dial(t.Context(), store.Options{Address: d.Address, Namespace: ns})
				if err != nil {
					t.Fatal(err)
				}
				defer s.Close()
				for _, key := range []string{"layer", "other-layer"} {
					body := bytes.Repeat([]byte(ns+" "+key), 2<<20)
					w, err := s.Content.Writer(s.Context(t.Context()), content.WithRef(key))
					if err != nil {
						t.Fatal(err)
					}
					defer w.Close()
					if _, err := w.Write(body); err != nil {
						t.Fatal(err)
					}
					if _, err := w.Status(); err != nil { // the daemon has everything
						t.Fatal(err)
					}
					file := daemon.IngestOf(w)
					if file == nil {
						t.Fatalf("%s of %s was not found", key, ns)
					}
					if got, err := io.ReadAll(file); err != nil || !bytes.Equal(got, body) {
						t.Errorf("%s of %s: got %d bytes that are not those written, %v", key, ns, len(got), err)
					}
				}
			}
		})
	}
}
