package registry_test

import (
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/containerd/errdefs"
	"github.com/google/go-cmp/cmp"

	"github.com/containerd-pull/containerd-pull/pkg/internal/pulltest/testregistry"
	"github.com/containerd-pull/containerd-pull/pkg/registry"
	"github.com/containerd-pull/containerd-pull/pkg/registry/credential"
)

func TestLogin(t *testing.T) {
	right := &testregistry.Credentials{User: "me", Password: "canary"}
	for name, o := range map[string]testregistry.Options{
		"basic": {Basic: right},
		"token": {Token: &testregistry.TokenOptions{Credentials: right}},
		"open":  {},
	} {
		t.Run(name, func(t *testing.T) {
			server := testregistry.Start(t, o)
			login := func(password string) error {
				r, err := registry.New(registry.Options{Credentials: credential.OwnHost(credential.Credential{Username: "me", Password: password})})
				if err != nil {
					t.Fatal(err)
				}
				return r.Login(t.Context(), server.Host())
			}
			if err := login("canary"); err != nil {
				t.Errorf("with the right password: %v", err)
			}
			if err := login("wrong"); name != "open" && !errdefs.IsUnauthorized(err) {
				t.Errorf("with a wrong password: got %v, want an error of class unauthenticated", err)
			}
			for _, r := range server.TokenRequests() {
				if strings.Contains(r.Query, "scope") {
					t.Errorf("query to the token server: got %q, want no scope, because a login is at no repository", r.Query)
				}
			}
		})
	}
}

// TestLoginByIdentityToken asks the token server by its other protocol, where
// the scope stands in a form.
func TestLoginByIdentityToken(t *testing.T) {
	forms := make(chan url.Values, 10)
	tokens := serve(t, func(w http.ResponseWriter, req *http.Request) {
		if err := req.ParseForm(); err != nil {
			t.Error(err)
		}
		forms <- req.PostForm
		fmt.Fprint(w, `{"access_token":"short-lived"}`)
	})
	server := serve(t, func(w http.ResponseWriter, req *http.Request) {
		if req.Header.Get("Authorization") != "Bearer short-lived" {
			w.Header().Set("WWW-Authenticate", `Bearer realm="`+tokens.URL+`",service="s"`)
			w.WriteHeader(http.StatusUnauthorized)
		}
	})
	r := open(t, registry.Options{Credentials: credential.OwnHost(credential.Credential{IdentityToken: "canary"})})
	if err := r.Login(t.Context(), server.host()); err != nil {
		t.Fatal(err)
	}
	got := <-forms
	want := url.Values{"grant_type": {"refresh_token"}, "refresh_token": {"canary"}, "client_id": {"containerd-pull"}, "service": {"s"}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("form (-want +got):\n%s", diff)
	}
}

// TestLoginByARepositorysCredential: a login is at no repository, so that a
// credential for some of the host's serves.
func TestLoginByARepositorysCredential(t *testing.T) {
	server := testregistry.Start(t, testregistry.Options{Basic: &testregistry.Credentials{User: "me", Password: "canary"}})
	for pattern, want := range map[string]bool{server.Host() + "/team/*": true, "*/team/app": true, "r.example.com/team/*": false} {
		find, err := credential.New(credential.Options{
			Entries: []credential.Entry{{Match: []string{pattern}, Source: "password", Username: "me", Password: "canary"}},
			Lookup:  func(string) (string, bool) { return "", false },
		})
		if err != nil {
			t.Fatal(err)
		}
		err = open(t, registry.Options{Credentials: find}).Login(t.Context(), server.Host())
		if got := err == nil; got != want {
			t.Errorf("login by the credential of %s: got %v, want success: %v", pattern, err, want)
		}
	}
}
