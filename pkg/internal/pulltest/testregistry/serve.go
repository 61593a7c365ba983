package testregistry

import (
	"context"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"

	"github.com/opencontainers/go-digest"
)

// serve is the way of every request: logged, then judged by Behave, then asked
// for credentials, then answered.
func (r *Registry) serve(w http.ResponseWriter, req *http.Request) {
	entry := r.log.begin(req)
	counted := &countingWriter{ResponseWriter: w, log: &r.log, entry: entry}
	behaviour := (*r.behave.Load())(req)
	behaviour.answer(counted, req, http.HandlerFunc(r.honest))
}

func (r *Registry) honest(w http.ResponseWriter, req *http.Request) {
	if !r.auth.allow(w, req) {
		return
	}
	if dgst, ok := blobOf(req); ok {
		r.content.serveBlob(w, req, dgst)
		return
	}
	r.content.serveDocument(w, req)
}

// serveDocument passes manifests, tags and uploads on. The answer is recorded
// first, because the store behind it holds a lock while it writes: a stalled
// client would stop every other.
func (c *content) serveDocument(w http.ResponseWriter, req *http.Request) {
	answer := httptest.NewRecorder()
	c.handler.ServeHTTP(answer, req)
	maps.Copy(w.Header(), answer.Header())
	if t, ok := c.mediaType(digest.Digest(answer.Header().Get("Docker-Content-Digest"))); ok {
		w.Header().Set("Content-Type", t)
	}
	w.WriteHeader(answer.Code)
	if req.Method != http.MethodHead {
		io.Copy(w, answer.Body) // an error is the client's, who has gone
	}
}

// blobOf says which blob a GET or HEAD asks for.
func blobOf(req *http.Request) (digest.Digest, bool) {
	if req.Method != http.MethodGet && req.Method != http.MethodHead {
		return "", false
	}
	kind, target := target(req.URL.Path)
	return digest.Digest(target), kind == "blobs"
}

// target splits /v2/REPOSITORY/KIND/TARGET from its end, as repositories have
// slashes: KIND is blobs, manifests, tags or referrers.
func target(path string) (kind, target string) {
	_, kind, target = splitPath(path)
	return kind, target
}

// repository of a path, uploads included; empty for the base path.
func repository(path string) string {
	repo, kind, _ := splitPath(path)
	if kind == "uploads" {
		repo = strings.TrimSuffix(repo, "/blobs")
	}
	return repo
}

func splitPath(path string) (repo, kind, target string) {
	elems := strings.Split(path, "/")
	n := len(elems)
	if n < 5 || elems[1] != "v2" {
		return "", "", ""
	}
	return strings.Join(elems[2:n-2], "/"), elems[n-2], elems[n-1]
}

func splitTag(name string) (repo, tag string, err error) {
	i := strings.LastIndexByte(name, ':')
	if i < 1 || strings.ContainsAny(name[i:], "/@") {
		return "", "", fmt.Errorf("name %q is not repository:tag", name)
	}
	return name[:i], name[i+1:], nil
}

// writeError answers with the error document of the distribution spec.
func writeError(w http.ResponseWriter, status int, code, message string) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	fmt.Fprintf(w, `{"errors":[{"code":%q,"message":%q}]}`, code, message)
}

type connKey struct{}

// withConn lets a fault reach the connection of its request.
func withConn(ctx context.Context, c net.Conn) context.Context {
	return context.WithValue(ctx, connKey{}, c)
}

func connOf(ctx context.Context) net.Conn {
	c, _ := ctx.Value(connKey{}).(net.Conn)
	return c
}
