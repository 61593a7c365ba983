package config_test

import (
	"encoding/base64"
	"fmt"
	"net/http"
	"os"
	"strings"
	"testing"

	"github.com/containerd-pull/containerd-pull/pkg/internal/pulltest/testregistry"
	"github.com/containerd-pull/containerd-pull/pkg/registry/credential"
)

// TestNoHostSeesTheSecretOfAnother pulls through two mirrors that each lack a
// part of the image, and a registry that asks for a token, each with a
// credential of its own, and reads the requests that each of them received.
func TestNoHostSeesTheSecretOfAnother(t *testing.T) {
	w := &world{t: t, root: t.TempDir()}
	without := func(n int) func(*http.Request) testregistry.Behaviour {
		count := 0
		return func(r *http.Request) testregistry.Behaviour {
			if !strings.Contains(r.URL.Path, "/blobs/") || r.Header.Get("Authorization") == "" {
				return testregistry.Behaviour{}
			}
			if count++; count > n {
				return testregistry.Behaviour{Status: http.StatusNotFound}
			}
			return testregistry.Behaviour{}
		}
	}
	secret := func(user string) *testregistry.Credentials {
		return &testregistry.Credentials{User: user, Password: "canary-" + user}
	}
	own := w.registry(testregistry.Options{Token: &testregistry.TokenOptions{Credentials: secret("own")}}, "team/app:1")
	first := testregistry.StartMirror(t, own, testregistry.Options{Addr: "127.0.0.2:0", Basic: secret("first"), Behave: without(1)})
	second := testregistry.StartMirror(t, own, testregistry.Options{Addr: "127.0.0.3:0", Basic: secret("second"), Behave: without(1)})

	w.write(system, fmt.Sprintf(`
[limits]
downloads = 1
[[mirrors]]
host = %q
endpoints = [%q, %q]
[[credentials]]
match = [%q]
source = "password"
username = "first"
password = "canary-first"
[[credentials]]
match = [%q]
source = "password"
username = "second"
password = "canary-second"
`, own.Host(), first.URL(), second.URL(), first.Host(), second.Host()), 0o600)

	c := call{args: []string{"--root", w.root + "/store", "--user", "own:canary-own"}, uid: os.Getuid(), env: map[string]string{"NERDCTL_TOML": ""}}
	caller, settings := w.load(c)
	pullWithOwn(t, caller, settings, own.Ref("team/app:1"), &credential.Credential{Username: "own", Password: "canary-own"})

	logs := map[string][]testregistry.Request{
		"own":    append(own.Requests(), own.TokenRequests()...),
		"first":  first.Requests(),
		"second": second.Requests(),
	}
	for host, requests := range logs {
		saw := map[string]bool{}
		for _, r := range requests {
			for _, who := range []string{"own", "first", "second"} {
				saw[who] = saw[who] || sees(r, who)
			}
		}
		for who, seen := range saw {
			if seen != (who == host) {
				t.Errorf("%s sees the secret of %s: got %v, want %v (%d requests)", host, who, seen, who == host, len(requests))
			}
		}
	}
}

// sees reports whether a request holds the secret of a user, plain or encoded.
func sees(r testregistry.Request, who string) bool {
	text := fmt.Sprint(r.Path, r.Query, r.Header)
	encoded := base64.StdEncoding.EncodeToString([]byte(who + ":canary-" + who))
	return strings.Contains(text, "canary-"+who) || strings.Contains(text, encoded)
}

// TestRegistryTokenOfAProfile sends a bearer token from the configuration, with
// no token server involved.
func TestRegistryTokenOfAProfile(t *testing.T) {
	w := &world{t: t, root: t.TempDir()}
	asked := make(chan string, 100)
	reg := w.registry(testregistry.Options{Behave: func(r *http.Request) testregistry.Behaviour {
		asked <- r.Header.Get("Authorization")
		if r.Header.Get("Authorization") != "Bearer canary" {
			return testregistry.Behaviour{Status: http.StatusUnauthorized, Header: http.Header{"Www-Authenticate": {`Bearer realm="http://127.0.0.1:1/token"`}}}
		}
		return testregistry.Behaviour{}
	}}, "team/app:1")
	w.write(system, "[[credentials]]\nsource = 'registry-token'\ntoken_env = 'TOKEN'\n", 0o600)
	c := call{args: []string{"--root", w.root + "/store"}, env: map[string]string{"NERDCTL_TOML": "", "TOKEN": "canary"}}
	caller, settings := w.load(c)
	pullWith(t, caller, settings, reg.Ref("team/app:1"))
	if len(asked) < 3 {
		t.Errorf("requests: got %d, want one for each part of the image", len(asked))
	}
}
