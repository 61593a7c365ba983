package credential_test

import (
	"strings"
	"testing"

	"github.com/containerd-pull/containerd-pull/pkg/registry/credential"
	"github.com/containerd-pull/containerd-pull/pkg/source"
)

// FuzzDockerConfig reads any text as Docker's configuration. Its credentials
// are for the host that they are filed under, and errors do not repeat it.
func FuzzDockerConfig(f *testing.F) {
	f.Add(`{"auths":{"r.example.com":{"auth":"dXNlcjpwYXNz"}}}`)
	f.Add(`{"auths":{"r.example.com":{"identitytoken":"x"},"https://r.example.com":{"username":"u","password":"p"}}}`)
	f.Add(`{"auths":{"r.example.com":{"auth":"!"}},"credsStore":"","credHelpers":{}}`)
	f.Add(`{"auths":[]}`)
	ref := source.Ref{Name: "r.example.com/a:1", Domain: "r.example.com", Path: "a", Tag: "1"}
	f.Fuzz(func(t *testing.T, text string) {
		if strings.Contains(strings.ToLower(text), "cred") {
			return // it may name a program
		}
		lookup := func(name string) (string, bool) {
			if name == "DOCKER_AUTH_CONFIG" {
				return text, true
			}
			return "", false
		}
		find, err := credential.New(credential.Options{Lookup: lookup})
		if err != nil {
			t.Fatal(err)
		}
		cred, err := find(t.Context(), "r.example.com", ref)
		if again, _ := find(t.Context(), "other.example.com", ref); again != (credential.Credential{}) && !strings.Contains(text, "other") {
			t.Errorf("another host gets %+v of %q, want nothing", again, text)
		}
		if cred.Password != "" && cred.RegistryToken != "" {
			t.Errorf("got both a password and a token of %q", text)
		}
		if err != nil && len(text) > 60 && strings.Contains(err.Error(), text) {
			t.Errorf("the error repeats the text: %v", err)
		}
	})
}

// FuzzHelperOutput reads anything as what a credential helper or a kubelet's
// provider wrote. There is one secret or none, and no error repeats any.
func FuzzHelperOutput(f *testing.F) {
	f.Add(`{"ServerURL":"r.example.com","Username":"me","Secret":"canary"}`)
	f.Add(`{"Username":"<token>","Secret":"canary"}`)
	f.Add(`{"Username":"me","Secret":""}`)
	f.Add(`{"Username":1,"Secret":"canary"}`)
	f.Add(`canary`)
	f.Add("credentials not found in native keychain\n")
	f.Add(`{"kind":"CredentialProviderResponse","auth":{"r.example.com":{"username":"u","password":"canary"},"*.example.com":{"password":"x"}}}`)
	f.Add(`{"kind":"CredentialProviderResponse","auth":{"other.example.com":{"username":"u","password":"canary"},"[":{}}}`)
	f.Fuzz(func(t *testing.T, out string) {
		helper, found, err := credential.ReadHelperAnswer([]byte(out))
		if found != (helper != credential.Credential{}) || found && (helper.Password == "") == (helper.IdentityToken == "") {
			t.Errorf("%q: got %+v, found %v, want one secret or nothing", out, helper, found)
		}
		_, provided, providerErr := credential.ReadProviderResponse([]byte(out), "r.example.com/a")
		if err != nil && found || providerErr != nil && provided {
			t.Errorf("%q: got a credential and an error, want one of them", out)
		}
		for _, err := range []error{err, providerErr} {
			if err != nil && len(out) > 5 && strings.Contains(err.Error(), out) {
				t.Errorf("the error repeats the output: %v", err)
			}
		}
	})
}
