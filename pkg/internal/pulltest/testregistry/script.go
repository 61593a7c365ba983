package testregistry

import (
	"bytes"
	"compress/gzip"
	"net/http"
	"strings"
	"sync/atomic"

	"github.com/opencontainers/go-digest"
)

// Match says which requests a Behave is about.
type Match func(*http.Request) bool

// Everything matches each request.
func Everything(*http.Request) bool { return true }

// Manifests matches what asks for a manifest or an index.
func Manifests(r *http.Request) bool { kind, _ := target(r.URL.Path); return kind == "manifests" }

// Blobs matches what asks for a blob.
func Blobs(r *http.Request) bool { kind, _ := target(r.URL.Path); return kind == "blobs" }

// Object matches what asks for this digest, of a blob or a document.
func Object(dgst digest.Digest) Match {
	return func(r *http.Request) bool { return strings.HasSuffix(r.URL.Path, "/"+dgst.String()) }
}

// Method matches what another Match does, with this method alone.
func Method(method string, m Match) Match {
	return func(r *http.Request) bool { return r.Method == method && m(r) }
}

// Always answers each request that matches in one way, and others honestly.
func Always(m Match, b Behaviour) Behave {
	return func(r *http.Request) Behaviour {
		if m(r) {
			return b
		}
		return Behaviour{}
	}
}

// Sequence answers the requests that match as the list says, one after the
// other, and honestly behind its end.
func Sequence(m Match, list ...Behaviour) Behave {
	var n atomic.Int64
	return func(r *http.Request) Behaviour {
		if !m(r) {
			return Behaviour{}
		}
		if i := n.Add(1); i <= int64(len(list)) {
			return list[i-1]
		}
		return Behaviour{}
	}
}

// Times answers the first n requests that match in one way.
func Times(n int, m Match, b Behaviour) Behave {
	list := make([]Behaviour, n)
	for i := range list {
		list[i] = b
	}
	return Sequence(m, list...)
}

// Bomb is a body with Content-Encoding: gzip that inflates to zeros without
// end, a thousand for each byte that is sent.
func Bomb() http.Handler {
	var member bytes.Buffer // of any number, which are one stream
	z := gzip.NewWriter(&member)
	z.Write(make([]byte, 4<<20)) // a buffer takes everything
	z.Close()
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Encoding", "gzip")
		for r.Context().Err() == nil {
			if _, err := w.Write(member.Bytes()); err != nil {
				return // the client has had enough
			}
		}
	})
}

// Flood is a manifest of this type that goes on for n bytes, or until the
// client has had enough, and announces no length.
func Flood(mediaType string, n int64) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", mediaType)
		text := []byte(`{"schemaVersion":2,"config":{},"layers":[],"annotations":{"a":"`)
		for sent := int64(0); sent < n; {
			if _, err := w.Write(text); err != nil {
				return
			}
			sent += int64(len(text))
			text = []byte(strings.Repeat("x", 32<<10))
		}
	})
}
