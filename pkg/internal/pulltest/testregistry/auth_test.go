package testregistry_test

import (
	"encoding/json"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/containerd-pull/containerd-pull/pkg/internal/pulltest/testregistry"
)

func alice() *testregistry.Credentials {
	return &testregistry.Credentials{User: "alice", Password: "secret"}
}

func TestBasicAuthentication(t *testing.T) {
	r, layer := small(t, testregistry.Options{Basic: alice()})
	got := get(t, r.Client(), blobURL(r, layer))
	if got.status != http.StatusUnauthorized || !strings.HasPrefix(got.header.Get("WWW-Authenticate"), "Basic ") {
		t.Errorf("got status %d and header %v, want 401 with a challenge", got.status, got.header)
	}
	withUser := strings.Replace(blobURL(r, layer), "://", "://alice:secret@", 1)
	if got := get(t, r.Client(), withUser); got.status != http.StatusOK {
		t.Errorf("got status %d with the password, want 200", got.status)
	}
}

// challenge reads the parameters of a registry's bearer challenge.
func challenge(t *testing.T, a answer) map[string]string {
	t.Helper()
	text, ok := strings.CutPrefix(a.header.Get("WWW-Authenticate"), "Bearer ")
	if a.status != http.StatusUnauthorized || !ok {
		t.Fatalf("got status %d and header %v, want 401 with a bearer challenge", a.status, a.header)
	}
	params := map[string]string{}
	for _, part := range strings.Split(text, `",`) {
		name, value, _ := strings.Cut(part, "=")
		params[name] = strings.Trim(value, `"`)
	}
	return params
}

func tokenOf(t *testing.T, resp *http.Response, err error) map[string]any {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != http.StatusOK {
		t.Fatalf("got status %d, %s and %v, want a token", resp.StatusCode, body, err)
	}
	var doc map[string]any
	if err := json.Unmarshal(body, &doc); err != nil {
		t.Fatal(err)
	}
	return doc
}

func TestTokenByGet(t *testing.T) {
	r, layer := small(t, testregistry.Options{TLS: true, Token: &testregistry.TokenOptions{Credentials: alice(), NoPost: true}})
	ch := challenge(t, get(t, r.Client(), blobURL(r, layer)))
	if got, want := ch["scope"], "repository:team/small:pull"; got != want {
		t.Errorf("got scope %s, want %s", got, want)
	}
	query := url.Values{"service": {ch["service"]}, "scope": {ch["scope"]}}.Encode()
	if got := get(t, r.Client(), ch["realm"]+"?"+query); got.status != http.StatusUnauthorized {
		t.Errorf("got status %d without a password, want 401", got.status)
	}
	withUser := strings.Replace(ch["realm"], "://", "://alice:secret@", 1)
	resp, err := r.Client().Get(withUser + "?" + query)
	token, _ := tokenOf(t, resp, err)["token"].(string)
	if got := get(t, r.Client(), blobURL(r, layer), "Authorization", "Bearer "+token); got.status != http.StatusOK {
		t.Errorf("got status %d with the token, want 200", got.status)
	}
	elsewhere := r.URL() + "/v2/team/other/blobs/" + layer.Digest.String()
	if got := get(t, r.Client(), elsewhere, "Authorization", "Bearer "+token); got.status != http.StatusUnauthorized {
		t.Errorf("got status %d with the token of another repository, want 401", got.status)
	}
	r.ExpireTokens()
	if got := get(t, r.Client(), blobURL(r, layer), "Authorization", "Bearer "+token); got.status != http.StatusUnauthorized {
		t.Errorf("got status %d with an expired token, want 401", got.status)
	}
	if got := len(r.TokenRequests()); got != 2 {
		t.Errorf("got %d requests at the token server, want 2", got)
	}
}

func TestTokenByPost(t *testing.T) {
	r, layer := small(t, testregistry.Options{Token: &testregistry.TokenOptions{Credentials: alice()}})
	ch := challenge(t, get(t, r.Client(), blobURL(r, layer)))
	form := url.Values{
		"grant_type": {"password"}, "username": {"alice"}, "password": {"secret"},
		"access_type": {"offline"}, "service": {ch["service"]}, "scope": {ch["scope"]},
	}
	resp, err := r.Client().PostForm(ch["realm"], form)
	refresh, _ := tokenOf(t, resp, err)["refresh_token"].(string)
	resp, err = r.Client().PostForm(ch["realm"], url.Values{
		"grant_type": {"refresh_token"}, "refresh_token": {refresh}, "scope": {ch["scope"]},
	})
	token, _ := tokenOf(t, resp, err)["access_token"].(string)
	for bearer, want := range map[string]int{token: http.StatusOK, refresh: http.StatusUnauthorized, "made-up": http.StatusUnauthorized} {
		if got := get(t, r.Client(), blobURL(r, layer), "Authorization", "Bearer "+bearer); got.status != want {
			t.Errorf("got status %d, want %d", got.status, want)
		}
	}
}
