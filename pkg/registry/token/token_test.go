package token_test

import (
	"net/http"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/containerd-pull/containerd-pull/pkg/registry/credential"
	"github.com/containerd-pull/containerd-pull/pkg/registry/token"
	"github.com/containerd-pull/containerd-pull/pkg/source"
)

func TestChoose(t *testing.T) {
	const bearer, basic = `Bearer realm="https://auth.example.com/token",service="s"`, `Basic realm="here"`
	for _, c := range []struct {
		challenges []string
		realm      string
		ok         bool
	}{
		{[]string{bearer}, "https://auth.example.com/token", true},
		{[]string{basic}, "here", true},
		{[]string{basic, bearer}, "https://auth.example.com/token", true},
		{[]string{"Negotiate", basic}, "here", true},
		{[]string{"Negotiate", `Digest realm="x"`}, "", false},
		{nil, "", false},
	} {
		got, ok := token.Choose(http.Header{"Www-Authenticate": c.challenges})
		if got.Parameters["realm"] != c.realm || ok != c.ok {
			t.Errorf("Choose(%q): got realm %q, %v, want %q, %v", c.challenges, got.Parameters["realm"], ok, c.realm, c.ok)
		}
	}
}

// shown is a Request with its URL as text.
type shown struct{ URL, Form, Authorization string }

func TestRequests(t *testing.T) {
	const realm = "https://auth.example.com/token"
	challenge := func(service, scope string) token.Challenge {
		return token.Challenge{Scheme: token.Bearer, Parameters: map[string]string{"realm": realm, "service": service, "scope": scope}}
	}
	repository := source.Ref{Domain: "r.example.com", Path: "a/b"}
	for name, c := range map[string]struct {
		challenge token.Challenge
		ref       source.Ref
		cred      credential.Credential
		want      []shown
	}{
		"anonymous": {challenge("s", "repository:a/b:pull x"), repository, credential.Credential{}, []shown{
			{URL: realm + "?scope=repository%3Aa%2Fb%3Apull&scope=x&service=s"},
		}},
		"no scope": {challenge("", ""), repository, credential.Credential{}, []shown{{URL: realm + "?scope=repository%3Aa%2Fb%3Apull"}}},
		"login":    {challenge("s", ""), source.Ref{Domain: "r.example.com"}, credential.Credential{}, []shown{{URL: realm + "?service=s"}}},
		"password": {challenge("s", "x"), repository, credential.Credential{Username: "me", Password: "canary"}, []shown{
			{URL: realm + "?scope=x&service=s", Authorization: "Basic bWU6Y2FuYXJ5"},
		}},
		"identity token": {challenge("s", "x y"), repository, credential.Credential{Username: "me", IdentityToken: "canary"}, []shown{
			{URL: realm, Form: "client_id=containerd-pull&grant_type=refresh_token&refresh_token=canary&scope=x+y&service=s"},
			{URL: realm + "?scope=x&scope=y&service=s", Authorization: "Basic bWU6Y2FuYXJ5"},
		}},
	} {
		q, ok := token.NewQuestion(c.challenge, c.ref, c.cred)
		if !ok {
			t.Errorf("%s: got no question, want one", name)
			continue
		}
		var got []shown
		for _, r := range q.Requests() {
			got = append(got, shown{r.URL.String(), r.Form, r.Authorization})
			if want := c.cred != (credential.Credential{}); r.Secret() != want {
				t.Errorf("%s: got Secret %v, want %v", name, r.Secret(), want)
			}
		}
		if diff := cmp.Diff(c.want, got); diff != "" {
			t.Errorf("%s: requests (-want +got):\n%s", name, diff)
		}
	}
	for _, realm := range []string{"", "://", "/token", "auth.example.com"} {
		c := token.Challenge{Parameters: map[string]string{"realm": realm}}
		if _, ok := token.NewQuestion(c, repository, credential.Credential{}); ok {
			t.Errorf("realm %q: got a question, want none", realm)
		}
	}
}

func TestParse(t *testing.T) {
	now := time.Unix(1_700_000_000, 0)
	for body, want := range map[string]token.Token{
		`{"token":"a"}`:                    {Value: "a", Expires: now.Add(time.Minute)},
		`{"access_token":"b","token":"a"}`: {Value: "b", Expires: now.Add(time.Minute)},
		`{"expires_in":3}`:                 {Expires: now.Add(3 * time.Second)},
		"token":                            {},
	} {
		if got := token.Parse([]byte(body), now); got != want {
			t.Errorf("Parse(%s): got %+v, want %+v", body, got, want)
		}
	}
	for value, want := range map[string]bool{"a.b-c": true, "": false, "a\nX-Evil: b": false} {
		if got := (token.Token{Value: value}).Valid(); got != want {
			t.Errorf("%q: got valid %v, want %v", value, got, want)
		}
	}
}

func TestLife(t *testing.T) {
	now := time.Unix(1_700_000_000, 0)
	for in, want := range map[string]time.Duration{
		"300": 5 * time.Minute, `"120"`: 2 * time.Minute, "1.5": 1500 * time.Millisecond,
		"null": time.Minute, "-1": time.Minute, "0": time.Minute, `"soon"`: time.Minute, "{}": time.Minute,
		"1e300": 24 * time.Hour, "9223372036854775807": 24 * time.Hour, `"NaN"`: time.Minute,
	} {
		if got := token.Parse([]byte(`{"token":"x","expires_in":`+in+`}`), now).Expires.Sub(now); got != want {
			t.Errorf("expires_in %s: got %s, want %s", in, got, want)
		}
	}
}

// FuzzQuestion answers any challenge: what it makes a request of is a server
// with a name, and no user of the URL gets into it.
func FuzzQuestion(f *testing.F) {
	for _, s := range []string{
		`Bearer realm="https://auth.example.com/token",service="s",scope="repository:a:pull"`,
		`Basic realm=x`, `Bearer realm="\"`, `Digest x, Bearer realm=a`, "Bearer =,=", `Bearer realm="https://me:canary@x/#y"`,
	} {
		f.Add(s, "Basic")
	}
	f.Fuzz(func(t *testing.T, a, b string) {
		challenge, ok := token.Choose(http.Header{"Www-Authenticate": {a, b}})
		if !ok {
			return
		}
		q, ok := token.NewQuestion(challenge, source.Ref{Path: "a"}, credential.Credential{IdentityToken: "canary"})
		if !ok {
			return
		}
		for _, r := range q.Requests() {
			if r.URL.Host == "" || r.URL.User != nil || r.URL.Fragment != "" {
				t.Errorf("%q, %q: got a request to %s", a, b, r.URL)
			}
		}
	})
}
