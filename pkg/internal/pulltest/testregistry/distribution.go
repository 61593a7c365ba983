package testregistry

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/crypto/bcrypt"

	"github.com/containerd-pull/containerd-pull/pkg/internal/pulltest"
	"github.com/containerd-pull/containerd-pull/pkg/internal/pulltest/process"
	"github.com/containerd-pull/containerd-pull/pkg/internal/pulltest/testca"
)

// DistributionOptions say how a registry of distribution is guarded. The zero
// value speaks plain HTTP and answers every client.
type DistributionOptions struct {
	// TLS serves https with a certificate of a CA of its own; see CA.
	TLS bool
	// ClientCert refuses clients without a certificate of that CA; see
	// ClientPair. It implies TLS.
	ClientCert bool
	// Basic asks for this user by basic authentication, out of an htpasswd file.
	Basic *Credentials
	// Token asks for a token, signed by a token server in this process.
	Token *TokenOptions
	// Page is the most that the catalog gives at once, 1000 if it is 0.
	Page int
}

// Distribution is distribution's registry in a process of its own, with its
// storage in a temporary folder, on loopback.
type Distribution struct {
	opts    DistributionOptions
	addr    string
	dir     string
	ca      *testca.Authority // also of tokens; nil if neither these nor TLS need one
	tokens  *tokenServer
	process *process.Process
}

// NewDistribution starts the registry and waits until it answers. The caller
// closes it.
func newDistribution(ctx context.Context, o DistributionOptions) (*Distribution, error) {
	program, err := pulltest.Tool("registry")
	if err != nil {
		return nil, err
	}
	addr, err := freeAddr()
	if err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp("", "distribution")
	if err != nil {
		return nil, fmt.Errorf("starting registry: %w", err)
	}
	d := &Distribution{opts: o, addr: addr, dir: dir}
	if err := d.start(ctx, program); err != nil {
		return nil, errors.Join(err, d.Close())
	}
	return d, nil
}

// freeAddr is an address that was free a moment ago: the registry cannot say
// which port it chose.
func freeAddr() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", fmt.Errorf("finding a free port: %w", err)
	}
	return l.Addr().String(), l.Close()
}

func (d *Distribution) start(ctx context.Context, program string) error {
	config, err := d.configure()
	if err != nil {
		return fmt.Errorf("configuring registry: %w", err)
	}
	env := []string{"OTEL_TRACES_EXPORTER=none"}
	p, err := process.Start(filepath.Join(d.dir, "log"), env, program, "serve", config)
	if err != nil {
		return err
	}
	d.process = p
	return d.wait(ctx)
}

// configure writes the registry's configuration, in that part of YAML which is
// JSON, and starts the token server that it names.
func (d *Distribution) configure() (path string, err error) {
	server := map[string]any{"addr": d.addr}
	config := map[string]any{
		"version": "0.1",
		"log":     map[string]any{"level": "error", "accesslog": map[string]any{"disabled": true}},
		"storage": map[string]any{
			"filesystem": map[string]any{"rootdirectory": filepath.Join(d.dir, "storage")},
			"delete":     map[string]any{"enabled": true},
		},
		"http": server,
	}
	if d.opts.Page > 0 {
		config["catalog"] = map[string]any{"maxentries": d.opts.Page}
	}
	if d.secure() {
		if server["tls"], err = d.configureTLS(); err != nil {
			return "", err
		}
	}
	switch {
	case d.opts.Token != nil:
		config["auth"], err = d.configureToken()
	case d.opts.Basic != nil:
		config["auth"], err = d.configureBasic()
	}
	if err != nil {
		return "", err
	}
	text, err := json.Marshal(config)
	if err != nil {
		return "", err
	}
	return d.write("config.yml", text)
}

// secure reports whether the registry speaks https.
func (d *Distribution) secure() bool { return d.opts.TLS || d.opts.ClientCert }

func (d *Distribution) write(name string, text []byte) (path string, err error) {
	path = filepath.Join(d.dir, name)
	return path, os.WriteFile(path, text, 0o600)
}

func (d *Distribution) configureTLS() (map[string]any, error) {
	var err error
	if d.ca, err = testca.New(); err != nil {
		return nil, err
	}
	cert, key, err := d.ca.ServerPair()
	if err != nil {
		return nil, err
	}
	files := map[string][]byte{"certificate": cert, "key": key, "ca": d.ca.PEM()}
	config := map[string]any{}
	for name, text := range files {
		if config[name], err = d.write(name+".pem", text); err != nil {
			return nil, err
		}
	}
	if d.opts.ClientCert {
		config["clientcas"] = []any{config["ca"]}
	}
	delete(config, "ca")
	return config, nil
}

func (d *Distribution) configureBasic() (map[string]any, error) {
	hash, err := bcrypt.GenerateFromPassword([]byte(d.opts.Basic.Password), bcrypt.MinCost)
	if err != nil {
		return nil, err
	}
	path, err := d.write("htpasswd", fmt.Appendf(nil, "%s:%s\n", d.opts.Basic.User, hash))
	if err != nil {
		return nil, err
	}
	return map[string]any{"htpasswd": map[string]any{"realm": "pulltest", "path": path}}, nil
}

func (d *Distribution) configureToken() (map[string]any, error) {
	servers := d.ca // nil lets the token server speak what the registry speaks
	var err error
	if d.ca == nil {
		if d.ca, err = testca.New(); err != nil {
			return nil, err
		}
	}
	signer, err := newTokenSigner(d.ca)
	if err != nil {
		return nil, err
	}
	if d.tokens, err = newTokenServer(*d.opts.Token, servers, signer); err != nil {
		return nil, err
	}
	bundle, err := d.write("signers.pem", d.ca.PEM())
	if err != nil {
		return nil, err
	}
	return map[string]any{"token": map[string]any{
		"realm": d.tokens.realm, "service": tokenService, "issuer": tokenIssuer, "rootcertbundle": bundle,
	}}, nil
}

func (d *Distribution) wait(ctx context.Context) error {
	client := &http.Client{Transport: d.ca.Transport()}
	return d.process.Await(ctx, func(ctx context.Context) error {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, d.URL()+"/v2/", nil)
		if err != nil {
			return err
		}
		resp, err := client.Do(req)
		if err != nil {
			return err
		}
		return resp.Body.Close()
	})
}

// Host is what stands before the first slash of a reference.
func (d *Distribution) Host() string { return d.addr }

// URL is the registry's address with its scheme.
func (d *Distribution) URL() string {
	if d.secure() {
		return "https://" + d.addr
	}
	return "http://" + d.addr
}

// CA is the PEM certificate that a client must trust; nil without TLS.
func (d *Distribution) CA() []byte {
	if !d.secure() {
		return nil
	}
	return d.ca.PEM()
}

// ClientPair is a client certificate and its key in PEM that a registry with
// ClientCert accepts.
func (d *Distribution) ClientPair() (cert, key []byte, err error) { return d.ca.ClientPair() }

// TokenRequests lists what the token server was asked, none if there is none.
func (d *Distribution) TokenRequests() []Request {
	if d.tokens == nil {
		return nil
	}
	return d.tokens.log.snapshot()
}

// Ref completes "repository:tag" to a reference.
func (d *Distribution) Ref(name string) string { return d.addr + "/" + name }

// Push uploads the image under "repository:tag", with whatever the registry
// asks for.
func (d *Distribution) Push(ctx context.Context, name string, img *pulltest.Image) error {
	client, err := d.pushClient(name)
	if err != nil {
		return err
	}
	return PushHTTP(ctx, client, d.URL(), name, img)
}

func (d *Distribution) pushClient(name string) (*http.Client, error) {
	t := authorizedTransport{next: d.ca.Transport()}
	switch {
	case d.tokens != nil:
		repo, _, err := splitTag(name)
		if err != nil {
			return nil, err
		}
		token, err := d.tokens.issue(grant{scopes: []string{"repository:" + repo + ":pull,push"}, expires: time.Now().Add(time.Hour)})
		if err != nil {
			return nil, err
		}
		t.authorize = func(req *http.Request) { req.Header.Set("Authorization", "Bearer "+token) }
	case d.opts.Basic != nil:
		t.authorize = func(req *http.Request) { req.SetBasicAuth(d.opts.Basic.User, d.opts.Basic.Password) }
	}
	return &http.Client{Transport: t}, nil
}

// authorizedTransport sends a credential with every request.
type authorizedTransport struct {
	next      http.RoundTripper
	authorize func(*http.Request) // nil sends none
}

func (t authorizedTransport) RoundTrip(req *http.Request) (*http.Response, error) {
	if t.authorize != nil {
		req = req.Clone(req.Context())
		t.authorize(req)
	}
	return t.next.RoundTrip(req)
}

// Close stops the registry and its token server, and removes its storage.
func (d *Distribution) Close() error {
	var err error
	if d.process != nil {
		err = d.process.Stop()
	}
	if d.tokens != nil {
		err = errors.Join(err, d.tokens.close())
	}
	return errors.Join(err, os.RemoveAll(d.dir))
}

// StartDistribution starts a registry that ends with the test.
func StartDistribution(t testing.TB, o DistributionOptions) *Distribution {
	t.Helper()
	pulltest.Need(t, pulltest.Tools("registry"))
	d, err := newDistribution(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("registry wrote:\n%s", process.Tail(filepath.Join(d.dir, "log"), 60))
		}
		if err := d.Close(); err != nil {
			t.Errorf("closing registry: %v", err)
		}
	})
	return d
}
