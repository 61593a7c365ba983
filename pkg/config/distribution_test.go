package config_test

import (
	"fmt"
	"net/url"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/containerd/errdefs"

	"github.com/containerd-pull/containerd-pull/pkg/internal/pulltest"
	"github.com/containerd-pull/containerd-pull/pkg/internal/pulltest/testregistry"
	"github.com/containerd-pull/containerd-pull/pkg/registry"
	"github.com/containerd-pull/containerd-pull/pkg/registry/credential"
	"github.com/containerd-pull/containerd-pull/pkg/source"
)

// guard is one way to guard a registry.
type guard struct {
	name    string
	o       testregistry.DistributionOptions
	secured bool // by TLS
}

func guards() []guard {
	robot := &testregistry.Credentials{User: "robot", Password: "canary"}
	token := &testregistry.TokenOptions{Credentials: robot}
	return []guard{
		{"htpasswd", testregistry.DistributionOptions{Basic: robot}, false},
		{"token", testregistry.DistributionOptions{Token: token}, false},
		{"htpasswd, private CA", testregistry.DistributionOptions{Basic: robot, TLS: true}, true},
		{"token, private CA", testregistry.DistributionOptions{Token: token, TLS: true}, true},
		{"htpasswd, client certificate", testregistry.DistributionOptions{Basic: robot, ClientCert: true}, true},
		{"token, client certificate", testregistry.DistributionOptions{Token: token, ClientCert: true}, true},
	}
}

// guarded is a world with distribution's registry and a profile for it.
type guarded struct {
	*world
	d      *testregistry.Distribution
	tokens bool // it asks for tokens
	env    map[string]string
}

func newGuarded(t *testing.T, o testregistry.DistributionOptions) *guarded {
	g := &guarded{world: &world{t: t, root: t.TempDir()}, d: testregistry.StartDistribution(t, o), tokens: o.Token != nil}
	img := pulltest.SmallImage(pulltest.Gzip)
	if err := g.d.Push(t.Context(), "team/app:1", img); err != nil {
		t.Fatal(err)
	}
	g.profile("tls", "")
	g.profile("credentials", "")
	g.write("/right.pass", "canary\n", 0o600)
	g.write("/wrong.pass", "wrong\n", 0o600)
	if o.TLS || o.ClientCert {
		cert, key, err := g.d.ClientPair()
		if err != nil {
			t.Fatal(err)
		}
		g.write("/ca.pem", string(g.d.CA()), 0o644)
		g.write("/client.pem", string(cert), 0o644)
		g.write("/client.key", string(key), 0o600)
	}
	return g
}

// profile writes one table of the profile, as a drop-in of its own.
func (g *guarded) profile(table, text string) {
	g.t.Helper()
	text = strings.ReplaceAll(text, "$ROOT", g.root)
	g.write("/etc/containerd-pull/config.d/"+table+".toml", text, 0o600)
}

func (g *guarded) password(file string) {
	g.t.Helper()
	g.profile("credentials", `
[[profiles.company.credentials]]
source = "password"
username = "robot"
password_file = "$ROOT/`+file+`"
`)
}

// pull pulls into a fresh root, so that every blob is fetched.
func (g *guarded) pull() error {
	g.t.Helper()
	g.write(system, fmt.Sprintf("[profiles.company]\nmatch = [%q]\n[profiles.company.retry]\ncount = 1\n", g.d.Host()), 0o600)
	caller, settings := g.load(call{args: []string{"--root", filepath.Join(g.t.TempDir(), "store")}, env: g.env})
	_, err := tryPull(g.t, caller, settings, g.d.Ref("team/app:1"), nil)
	return err
}

func (g *guarded) login() error {
	g.t.Helper()
	caller, settings := g.load(call{env: g.env})
	ref, err := source.ParseRef(g.d.Ref("team/app:1"))
	if err != nil {
		g.t.Fatal(err)
	}
	cfg, err := settings.Resolve(ref)
	if err != nil {
		g.t.Fatal(err)
	}
	if cfg.Registry.Credentials, err = credential.New(cfg.CredentialOptions(caller, nil)); err != nil {
		g.t.Fatal(err)
	}
	r, err := registry.New(cfg.Registry)
	if err != nil {
		g.t.Fatal(err)
	}
	return r.Login(g.t.Context(), g.d.Host())
}

const ownPair = "ca = \"$ROOT/ca.pem\"\ncert = \"$ROOT/client.pem\"\nkey = \"$ROOT/client.key\"\n"

// TestGuardedDistribution pulls from distribution's registry by a profile, with
// the right proof and with every wrong one.
func TestGuardedDistribution(t *testing.T) {
	pulltest.Long(t)
	for _, tc := range guards() {
		t.Run(tc.name, func(t *testing.T) {
			g := newGuarded(t, tc.o)
			if tc.secured {
				g.profile("tls", "[profiles.company.tls]\n"+ownPair)
			}
			if err := g.pull(); !errdefs.IsUnauthorized(err) {
				t.Errorf("without a credential: got %v, want an error of class unauthenticated", err)
			}
			g.password("wrong.pass")
			if err := g.pull(); !errdefs.IsUnauthorized(err) {
				t.Errorf("with a wrong password: got %v, want an error of class unauthenticated", err)
			}
			if err := g.login(); !errdefs.IsUnauthorized(err) {
				t.Errorf("login with a wrong password: got %v, want an error of class unauthenticated", err)
			}
			g.password("right.pass")
			g.checkScopes(func() {
				if err := g.login(); err != nil {
					t.Errorf("login with the right password: %v", err)
				}
			})
			g.checkScopes(func() {
				if err := g.pull(); err != nil {
					t.Errorf("with the right password: %v", err)
				}
			}, "repository:team/app:pull")
			g.checkTLS(tc)
		})
	}
}

// checkScopes wants the token server, if there is one, to be asked for exactly
// these scopes each time that it is asked during do.
func (g *guarded) checkScopes(do func(), want ...string) {
	g.t.Helper()
	before := len(g.d.TokenRequests())
	do()
	requests := g.d.TokenRequests()[before:]
	if g.tokens && len(requests) == 0 {
		g.t.Error("the token server was not asked")
	}
	for _, r := range requests {
		query, err := url.ParseQuery(r.Query)
		if err != nil {
			g.t.Fatal(err)
		}
		if got := query["scope"]; !slices.Equal(got, want) {
			g.t.Errorf("scopes: got %q, want %q", got, want)
		}
	}
}

// checkTLS pulls with the right password and without the right proofs of TLS.
func (g *guarded) checkTLS(tc guard) {
	if !tc.secured {
		return
	}
	for name, tls := range map[string]string{
		"another CA":            "ca = \"$ROOT/other.pem\"\ncert = \"$ROOT/client.pem\"\nkey = \"$ROOT/client.key\"\n",
		"no client certificate": "ca = \"$ROOT/ca.pem\"\n",
	} {
		if name == "another CA" {
			other := testregistry.Start(g.t, testregistry.Options{TLS: true})
			g.write("/other.pem", string(other.CA()), 0o644)
		}
		g.profile("tls", "[profiles.company.tls]\n"+tls)
		err := g.pull()
		if name == "no client certificate" && !tc.o.ClientCert {
			if err != nil {
				g.t.Errorf("%s where none is asked for: %v", name, err)
			}
			continue
		}
		if !errdefs.IsUnavailable(err) || registry.Reason(err) != "tls" || registry.Retryable(err) {
			g.t.Errorf("%s: got %v, reason %q, want a final error of TLS", name, err, registry.Reason(err))
		}
	}
}
