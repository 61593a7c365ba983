package registry_test

import (
	"encoding/json"
	"errors"
	"io"
	"path/filepath"
	"testing"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/containerd-pull/containerd-pull/pkg/internal/pulltest"
	"github.com/containerd-pull/containerd-pull/pkg/internal/pulltest/testregistry"
	"github.com/containerd-pull/containerd-pull/pkg/registry"
	"github.com/containerd-pull/containerd-pull/pkg/registry/credential"
	"github.com/containerd-pull/containerd-pull/pkg/registry/hosts"
	"github.com/containerd-pull/containerd-pull/pkg/source"
)

// A whole image from a registry with everything in its way: TLS with a client
// certificate, a token server with a password, tokens that die (A2), and
// bodies that break off.
func TestWholeImage(t *testing.T) {
	srv := testregistry.Start(t, testregistry.Options{
		TLS: true, ClientCert: true,
		Token: &testregistry.TokenOptions{Credentials: &testregistry.Credentials{User: "me", Password: "secret"}, NoPost: true},
	})
	image := pulltest.SmallImage(pulltest.Gzip)
	ref := parse(t, testregistry.Push(t, srv, "team/app:v1", image))
	dir := t.TempDir()
	cert, key, err := srv.ClientPair()
	if err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string][]byte{"ca": srv.CA(), "cert": cert, "key": key} {
		writeFile(t, filepath.Join(dir, name), string(text))
	}
	r := open(t, registry.Options{
		Hosts:       hosts.Options{CA: filepath.Join(dir, "ca"), Cert: filepath.Join(dir, "cert"), Key: filepath.Join(dir, "key")},
		Credentials: onlyAt(srv.Host(), credential.Credential{Username: "me", Password: "secret"}),
	})
	target, err := r.Resolve(t.Context(), ref)
	if err != nil {
		t.Fatal(err)
	}
	var doc ocispec.Manifest
	if err := json.Unmarshal(target.Body, &doc); err != nil {
		t.Fatal(err)
	}
	for _, desc := range append(doc.Layers, doc.Config) {
		srv.ExpireTokens()
		if got := desc.Digest.Algorithm().FromBytes(fetchInPieces(t, r, ref, desc)); got != desc.Digest {
			t.Errorf("got %s, want %s", got, desc.Digest)
		}
	}
	if got, want := len(srv.TokenRequests()), len(doc.Layers)+2; got != want {
		t.Errorf("got %d token requests, want %d: one for the manifest and one for each blob", got, want)
	}
}

// fetchInPieces reads half of a blob, drops the connection and resumes.
func fetchInPieces(t *testing.T, r *registry.Registry, ref source.Ref, desc ocispec.Descriptor) []byte {
	t.Helper()
	var all []byte
	for _, rng := range []source.Range{{}, {Offset: desc.Size / 2}} {
		b, err := r.Open(t.Context(), ref, desc, rng)
		if err != nil {
			t.Fatal(err)
		}
		part, err := io.ReadAll(io.LimitReader(b, desc.Size-desc.Size/2))
		if rng.Offset == 0 {
			part = part[:desc.Size/2]
		}
		all = append(all, part...)
		if err := errors.Join(err, b.Close()); err != nil {
			t.Fatal(err)
		}
	}
	return all
}
