package token_test

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/containerd-pull/containerd-pull/pkg/registry/token"
)

// TestParseChallenges reads headers as servers write them: jib#4187,
// prowler#12691.
func TestParseChallenges(t *testing.T) {
	type params = map[string]string
	for header, want := range map[string][]token.Challenge{
		`Negotiate, Basic realm="x"`:                       {{Scheme: "negotiate", Parameters: params{}}, {Scheme: "basic", Parameters: params{"realm": "x"}}},
		`NTLM, Negotiate, Basic realm="x, y"`:              {{Scheme: "ntlm", Parameters: params{}}, {Scheme: "negotiate", Parameters: params{}}, {Scheme: "basic", Parameters: params{"realm": "x, y"}}},
		`Basic realm="x", Bearer realm="y",service=s`:      {{Scheme: "basic", Parameters: params{"realm": "x"}}, {Scheme: "bearer", Parameters: params{"realm": "y", "service": "s"}}},
		`bearer  Realm = "y" , Service	=	s`:                {{Scheme: "bearer", Parameters: params{"realm": "y", "service": "s"}}},
		`Negotiate YII+/a==, Basic realm=x`:                {{Scheme: "negotiate", Parameters: params{}}, {Scheme: "basic", Parameters: params{"realm": "x"}}},
		`NTLM TlRMTVNTUAAC`:                                {{Scheme: "ntlm", Parameters: params{}}},
		`,, Basic realm="a\"b\\c" ,,`:                      {{Scheme: "basic", Parameters: params{"realm": `a"b\c`}}},
		`Basic`:                                            {{Scheme: "basic", Parameters: params{}}},
		`Bearer realm=https://a.example/t?x=1,service=s`:   {{Scheme: "bearer", Parameters: params{"realm": "https://a.example/t?x=1", "service": "s"}}},
		`Bearer realm="x", scope="repository:a:pull,push"`: {{Scheme: "bearer", Parameters: params{"realm": "x", "scope": "repository:a:pull,push"}}},
		`Basic realm="x" Bearer realm="y"`:                 {{Scheme: "basic", Parameters: params{"realm": "x"}}, {Scheme: "bearer", Parameters: params{"realm": "y"}}},
		`Basic realm="x", Bearer realm="y`:                 {{Scheme: "basic", Parameters: params{"realm": "x"}}, {Scheme: "bearer", Parameters: params{}}},
		`"x"`:                                              nil,
		``:                                                 nil,
	} {
		if diff := cmp.Diff(want, token.ParseChallenges([]string{header})); diff != "" {
			t.Errorf("%s (-want +got):\n%s", header, diff)
		}
	}
}

// TestChooseAmongMany: the order of challenges, how they are spread over headers
// and what stands between them do not matter.
func TestChooseAmongMany(t *testing.T) {
	const bearer = `Bearer realm="https://auth.example.com/token",service="s"`
	others := []string{"Negotiate", "NTLM TlRMTVNT", `Digest realm="x", nonce="a,b", qop="auth,auth-int"`, `Basic realm="x"`, "Bearer"}
	for at := range len(others) + 1 {
		all := slices.Insert(slices.Clone(others), at, bearer)
		for _, headers := range [][]string{all, {strings.Join(all, ", ")}, {strings.Join(all[:3], " , "), strings.Join(all[3:], ",")}} {
			got, ok := token.Choose(http.Header{"Www-Authenticate": headers})
			if !ok || got.Scheme != token.Bearer || got.Parameters["service"] != "s" {
				t.Errorf("%q: got %+v, want the token", headers, got)
			}
		}
	}
	// A token that cannot be had is no reason not to give a password.
	if got, ok := token.Choose(http.Header{"Www-Authenticate": {`Bearer, Basic realm="x"`}}); !ok || got.Scheme != token.Basic {
		t.Errorf("got %+v, want the password", got)
	}
	if got, ok := token.Choose(http.Header{"Www-Authenticate": {"Bearer"}}); !ok || got.Scheme != token.Bearer {
		t.Errorf("got %+v, want the token", got)
	}
}

// FuzzParseChallenges writes what was read and reads it again.
func FuzzParseChallenges(f *testing.F) {
	for _, s := range []string{`Basic realm="a\"b"`, "Negotiate YII==, Bearer realm=x", `,=,"`, "Basic Bearer=, a=b c=d"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, header string) {
		read := token.ParseChallenges([]string{header})
		var b strings.Builder
		for _, c := range read {
			b.WriteString("," + c.Scheme + " ,")
			for name, value := range c.Parameters {
				fmt.Fprintf(&b, `%s="%s",`, name, strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(value))
			}
		}
		if diff := cmp.Diff(read, token.ParseChallenges([]string{b.String()})); diff != "" && len(read) > 0 {
			t.Errorf("%q written as %q (-first +second):\n%s", header, b.String(), diff)
		}
	})
}

// TestIsServerOf: pairs of registry and token server that need no setting.
func TestIsServerOf(t *testing.T) {
	for _, c := range []struct {
		server, registry string
		want             bool
	}{
		{"api.scaleway.com", "rg.fr-par.scw.cloud", true},
		{"API.scaleway.com:443", "RG.nl-ams.scw.cloud:443", true},
		{"api.scaleway.com:8443", "rg.fr-par.scw.cloud", false},
		{"api.scaleway.com.evil.example", "rg.fr-par.scw.cloud", false},
		{"evil.example", "rg.fr-par.scw.cloud", false},
		{"api.scaleway.com", "rg.evil.example", false},
		{"api.scaleway.com", "x.functions.fnc.fr-par.scw.cloud", false},
		{"api.scaleway.com", "rg.a.functions.fnc.fr-par.scw.cloud", false},
		{"api.scaleway.com", "rg.fr-par.scw.cloud:5000", false},
	} {
		if got := token.IsServerOf(c.server, c.registry); got != c.want {
			t.Errorf("IsServerOf(%s, %s): got %v, want %v", c.server, c.registry, got, c.want)
		}
	}
}
