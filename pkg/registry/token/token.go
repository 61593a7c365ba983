// Package token knows the protocol of token servers: what a host's challenge asks
// for, in which requests a client may put that to the server, and what token an
// answer holds.
//
// It sends nothing and judges no server: pkg/registry does, and decides which one
// may be asked and which one may see a credential.
//
// The protocol is "Docker Registry v2 authentication" of the distribution project
// (https://distribution.github.io/distribution/spec/auth/), by GET with basic
// authentication and by OAuth2. Start reading at Question; challenge.go reads the headers of a 401.
package token

import (
	"context"
	"encoding/json"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"golang.org/x/net/http/httpguts"

	"github.com/containerd-pull/containerd-pull/pkg/registry/credential"
	"github.com/containerd-pull/containerd-pull/pkg/source"
)

const (
	// clientID names the program to a token server that speaks OAuth2.
	clientID = "containerd-pull"
	// A token that comes without its life is good for a minute, says the
	// specification; a life beyond a day is not believed.
	shortLife = 60 * time.Second
	longLife  = 24 * time.Hour
)

// Token is what a token server gives out.
type Token struct {
	Value   string
	Expires time.Time // zero if it does not expire
}

// Valid reports whether the token can be sent in a header.
func (t Token) Valid() bool {
	return t.Value != "" && httpguts.ValidHeaderFieldValue(t.Value)
}

// Parse reads the token in an answer that came at now, under either of its
// names; without one it is not Valid. Its life is a hint: what is no number
// counts as absent.
func Parse(body []byte, now time.Time) Token {
	var doc struct {
		Token       string          `json:"token"`
		AccessToken string          `json:"access_token"`
		ExpiresIn   json.RawMessage `json:"expires_in"`
	}
	if err := json.Unmarshal(body, &doc); err != nil {
		return Token{}
	}
	life := shortLife
	if secs, err := strconv.ParseFloat(strings.Trim(string(doc.ExpiresIn), `"`), 64); err == nil && secs > 0 {
		life = time.Duration(min(secs, longLife.Seconds()) * float64(time.Second))
	}
	t := Token{Value: doc.AccessToken, Expires: now.Add(life)}
	if t.Value == "" {
		t.Value = doc.Token
	}
	return t
}

// Question is what a challenge has a client ask of a token server.
type Question struct {
	realm  *url.URL
	params url.Values // service and scope
	cred   credential.Credential
}

// NewQuestion asks for what the challenge names, or for the right to pull ref.
// ok is false if the challenge names no server that can be asked.
func NewQuestion(c Challenge, ref source.Ref, cred credential.Credential) (q Question, ok bool) {
	realm, err := url.Parse(c.Parameters["realm"])
	if err != nil || !c.namesServer() {
		return Question{}, false
	}
	realm.User, realm.Fragment = nil, ""
	q = Question{realm: realm, params: url.Values{}, cred: cred}
	if service := c.Parameters["service"]; service != "" {
		q.params.Set("service", service)
	}
	q.params["scope"] = scopes(c.Parameters["scope"], ref)
	return q, true
}

// scopes is what the challenge asks for, or the right to pull; none for a
// login, which is at no repository.
func scopes(asked string, ref source.Ref) []string {
	if fields := strings.Fields(asked); len(fields) > 0 {
		return fields
	}
	if ref.Path == "" {
		return nil
	}
	return []string{"repository:" + ref.Path + ":pull"}
}

// Request is one form of a Question.
type Request struct {
	URL *url.URL
	// Form is the body of a POST; a GET has none.
	Form string
	// Authorization is the header that proves who asks, empty for an anonymous
	// request and for one whose Form does.
	Authorization string
}

// Requests lists the forms in which the question may be put, in order: an
// identity token by OAuth2 and, to servers that answer it with a status that is
// Unimplemented, by the older GET; all else by GET.
func (q Question) Requests() []Request {
	if q.cred.IdentityToken != "" {
		return []Request{q.refresh(), q.get(q.cred.IdentityToken)}
	}
	return []Request{q.get(q.cred.Password)}
}

func (q Question) refresh() Request {
	form := url.Values{
		"grant_type":    {"refresh_token"},
		"refresh_token": {q.cred.IdentityToken},
		"client_id":     {clientID},
		"service":       q.params["service"],
	}
	if scopes := q.params["scope"]; len(scopes) > 0 {
		form.Set("scope", strings.Join(scopes, " "))
	}
	return Request{URL: q.realm, Form: form.Encode()}
}

func (q Question) get(secret string) Request {
	u := *q.realm
	query := u.Query()
	for name, values := range q.params {
		query[name] = values
	}
	u.RawQuery = query.Encode()
	r := Request{URL: &u}
	if secret != "" {
		r.Authorization = "Basic " + credential.Credential{Username: q.cred.Username, Password: secret}.BasicAuth()
	}
	return r
}

// Unimplemented reports whether registries answer a POST that they do not
// implement with this status.
func Unimplemented(status int) bool {
	switch status {
	case http.StatusBadRequest, http.StatusUnauthorized, http.StatusNotFound, http.StatusMethodNotAllowed:
		return true
	}
	return false
}

// Secret reports whether the request carries a credential.
func (r Request) Secret() bool { return r.Form != "" || r.Authorization != "" }

// HTTP makes the request to u: the URL of r, or where a server redirects it. The
// Authorization is left to the sender.
func (r Request) HTTP(ctx context.Context, u *url.URL) (*http.Request, error) {
	method := http.MethodGet
	if r.Form != "" {
		method = http.MethodPost
	}
	req, err := http.NewRequestWithContext(ctx, method, u.String(), strings.NewReader(r.Form))
	if err != nil {
		return nil, err
	}
	if r.Form == "" {
		req.Body, req.ContentLength = nil, 0
	} else {
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	req.Header.Set("Accept", "application/json")
	req.Header.Set("Accept-Encoding", "identity")
	return req, nil
}
