package registry_test

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/containerd/errdefs"
	"github.com/google/go-cmp/cmp"

	"github.com/containerd-pull/containerd-pull/pkg/failure"
	"github.com/containerd-pull/containerd-pull/pkg/registry"
	"github.com/containerd-pull/containerd-pull/pkg/registry/credential"
	"github.com/containerd-pull/containerd-pull/pkg/registry/hosts"
	"github.com/containerd-pull/containerd-pull/pkg/source"
)

// gateway redirects every request to the same path, below prefix, at target.
func gateway(target *fake, prefix string) http.HandlerFunc {
	return func(w http.ResponseWriter, req *http.Request) {
		http.Redirect(w, req, target.URL+prefix+req.URL.RequestURI(), http.StatusTemporaryRedirect)
	}
}

// targetRegistry serves a manifest to those with its token, for which challenge asks;
// HOST in it is its own host.
func targetRegistry(body []byte, challenge string) http.HandlerFunc {
	return func(w http.ResponseWriter, req *http.Request) {
		switch {
		case req.URL.Path == "/token":
			w.Write([]byte(`{"token":"target-token"}`))
		case req.Header.Get("Authorization") != "Bearer target-token":
			w.Header().Set("WWW-Authenticate", strings.ReplaceAll(challenge, "HOST", req.Host))
			w.WriteHeader(http.StatusUnauthorized)
		default:
			writeManifest(w, body)
		}
	}
}

// only gives the credential to the host of that name.
func only(host string, cred credential.Credential) credential.Finder {
	return func(_ context.Context, asked string, _ source.Ref) (credential.Credential, error) {
		if asked != host {
			return credential.Credential{}, nil
		}
		return cred, nil
	}
}

// authorizations lists what stood in the Authorization of requests.
func (f *fake) authorizations() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	var list []string
	for _, req := range f.requests {
		list = append(list, req.URL.Path+" "+req.Header.Get("Authorization"))
	}
	return list
}

// TestGateway: a gateway redirects to another registry, which wants a token. It gets
// one of its own, anonymous or for its own credential, and that of the gateway goes
// nowhere (go-containerregistry#2333, watchtower#359).
func TestGateway(t *testing.T) {
	body := manifestJSON(t)
	password := credential.Credential{Username: "u", Password: "canary"}
	const bearer, basic = `Bearer realm="http://HOST/token",service="s"`, `Basic realm="x"`
	for name, tc := range map[string]struct {
		challenge, prefix string
		cred              func(gateway, target string) credential.Finder
		auth              string // at the token server
		ok                bool
	}{
		"anonymous":                {bearer, "", nil, "", true},
		"below a prefix":           {bearer, "/mirror/", nil, "", true},
		"credential of the target": {bearer, "", func(_, target string) credential.Finder { return only(target, password) }, "Basic " + password.BasicAuth(), true},
		"that of the gateway":      {bearer, "", func(gateway, _ string) credential.Finder { return only(gateway, password) }, "", true},
		"token or password":        {basic + ", " + bearer, "", func(_, target string) credential.Finder { return only(target, password) }, "Basic " + password.BasicAuth(), true},
		"password":                 {basic, "", func(_, target string) credential.Finder { return only(target, password) }, "", false},
		"password, anonymous":      {basic, "", nil, "", false},
		"no challenge":             {"", "", nil, "", false},
	} {
		t.Run(name, func(t *testing.T) {
			target := serveAt(t, "127.0.0.2", targetRegistry(body, tc.challenge))
			srv := serve(t, gateway(target, tc.prefix))
			o := registry.Options{}
			if tc.cred != nil {
				o.Credentials = tc.cred(srv.host(), target.host())
			}
			r := open(t, o)
			for range 2 {
				_, err := r.Resolve(t.Context(), srv.ref(t, "team/app:1"))
				if (err == nil) != tc.ok || err != nil && (!errdefs.IsUnauthorized(err) || !strings.Contains(err.Error(), target.host())) {
					t.Fatalf("got %v, want success %v, or a refusal that names the target", err, tc.ok)
				}
			}
			srv.mustNotHold(t)
			path := strings.TrimSuffix(tc.prefix, "/") + "/v2/team/app/manifests/1 "
			if tc.prefix != "" {
				path = tc.prefix + "/v2/team/app/manifests/1 "
			}
			want := []string{path, "/token " + tc.auth, path + "Bearer target-token", path + "Bearer target-token"}
			if !tc.ok {
				want = []string{path, path}
			}
			if diff := cmp.Diff(want, target.authorizations()); diff != "" {
				t.Errorf("requests at the target (-want +got):\n%s", diff)
			}
		})
	}
}

// TestGatewayOnAnUnsafeWay: what is trusted for a gateway, its certificates or any at
// all, is no reason to send a credential to the host to which it redirects.
func TestGatewayOnAnUnsafeWay(t *testing.T) {
	target := serveTLS(t, "127.0.0.2", nil, targetRegistry(manifestJSON(t), `Bearer realm="https://HOST/token"`))
	srv := serveTLS(t, "127.0.0.1", nil, gateway(target.fake, ""))
	creds := only(target.host(), credential.Credential{Username: "u", Password: "canary"})
	for name, trust := range map[string]string{"any certificate": "skip_verify = true", "those of a CA": fmt.Sprintf("ca = [%q, %q]", srv.ca, target.ca)} {
		dirs := []string{hostsDir(t, srv.host(), fmt.Sprintf("server = %q\n%s\n", srv.URL, trust))}
		if _, err := open(t, registry.Options{Hosts: hosts.Options{Dirs: dirs}, Credentials: creds}).Resolve(t.Context(), srv.ref(t, "team/app:1")); err != nil {
			t.Errorf("%s: got %v, want an anonymous token to do", name, err)
		}
	}
	const path = "/v2/team/app/manifests/1 "
	once := []string{path, "/token ", path + "Bearer target-token"}
	if diff := cmp.Diff(append(once, once...), target.authorizations()); diff != "" {
		t.Errorf("requests at the target (-want +got):\n%s", diff)
	}
}

// TestForeignURLToARegistry: a url of a descriptor that redirects to a registry gets
// no token there, for its repository is chosen by who made the image.
func TestForeignURLToARegistry(t *testing.T) {
	blob := blobBytes(50)
	target := serveAt(t, "127.0.0.3", targetRegistry(blob, `Bearer realm="http://HOST/token"`))
	foreign := serveAt(t, "127.0.0.2", func(w http.ResponseWriter, req *http.Request) {
		http.Redirect(w, req, target.URL+"/v2/private/blobs/x", http.StatusFound)
	})
	own := serve(t, content(blob))
	desc := describe(layerType, blob)
	desc.URLs = []string{foreign.URL + "/layer"}
	r := open(t, registry.Options{Credentials: only(target.host(), credential.Credential{Username: "u", Password: "canary"}), AllowForeignURLs: true})
	b, err := r.Open(t.Context(), own.ref(t, "a"), desc, source.Range{})
	if err != nil || b.Host != own.host() {
		t.Fatalf("got %+v and %v, want the registry's blob", b, err)
	}
	b.Close()
	if diff := cmp.Diff([]string{"/v2/private/blobs/x "}, target.authorizations()); diff != "" {
		t.Errorf("requests at the target (-want +got):\n%s", diff)
	}
}

// TestRedirectIsSafeFor says to which targets of redirects a secret may go.
func TestRedirectIsSafeFor(t *testing.T) {
	for target, want := range map[string]bool{
		"https://registry.example.com/v2/": true, "http://registry.example.com/v2/": false, "http://10.0.0.1/v2/": false,
		"http://127.0.0.1:5000/v2/": true, "http://[::1]:5000/v2/": true, "http://localhost:5000/v2/": false,
	} {
		if got := registry.IsSafeFor(t, "registry.example.net", target); got != want {
			t.Errorf("%s: got %v, want %v", target, got, want)
		}
	}
}

// TestGatewayToRepository: the token is for the repository that the target has, and so
// is the credential that is looked up.
func TestGatewayToRepository(t *testing.T) {
	body := manifestJSON(t)
	target := serveAt(t, "127.0.0.2", targetRegistry(body, `Bearer realm="http://HOST/token"`))
	srv := serve(t, func(w http.ResponseWriter, req *http.Request) {
		http.Redirect(w, req, target.URL+"/v2/real/repo/manifests/1", http.StatusFound)
	})
	var asked []string
	o := registry.Options{Credentials: func(_ context.Context, host string, ref source.Ref) (credential.Credential, error) {
		asked = append(asked, host+" "+ref.Domain+" "+ref.Path)
		return credential.Credential{}, nil
	}}
	if _, err := open(t, o).Resolve(t.Context(), srv.ref(t, "team/app:1")); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{target.host() + " " + srv.host() + " real/repo"}, asked); diff != "" {
		t.Errorf("credentials (-want +got):\n%s", diff)
	}
	target.mu.Lock()
	defer target.mu.Unlock()
	for _, req := range target.requests {
		if got := req.URL.Query().Get("scope"); req.URL.Path == "/token" && got != "repository:real/repo:pull" {
			t.Errorf("got scope %q, want that of the target's repository", got)
		}
	}
}

// TestGatewayWithForeignTokenServer: a credential of the target goes to its own token
// server alone, by the rules for any registry.
func TestGatewayWithForeignTokenServer(t *testing.T) {
	thief := serveAt(t, "127.0.0.3", func(http.ResponseWriter, *http.Request) {})
	target := serveAt(t, "127.0.0.2", targetRegistry(manifestJSON(t), `Bearer realm="`+thief.URL+`/token"`))
	srv := serve(t, gateway(target, ""))
	r := open(t, registry.Options{Credentials: only(target.host(), credential.Credential{Username: "u", Password: "canary"})})
	if _, err := r.Resolve(t.Context(), srv.ref(t, "team/app:1")); !errdefs.IsUnauthorized(err) {
		t.Errorf("got %v, want a refusal", err)
	}
	thief.mustNotHold(t, "canary")
}

// TestPrivateRedirects: storage inside of the network is reached if it is named, by its
// name, address or network; no entry opens a link-local address (harbor#23050,
// distribution#3284).
func TestPrivateRedirects(t *testing.T) {
	for _, tt := range []struct {
		target, addr string
		allowed      []string
		ok           bool
	}{
		{"s3.example.com:443", "10.1.2.3:443", nil, false},
		{"s3.example.com:443", "10.1.2.3:443", []string{"s3.example.com"}, true},
		{"S3.Example.com.:443", "10.1.2.3:443", []string{"s3.example.com"}, true},
		{"s3.example.com:9000", "10.1.2.3:9000", []string{"s3.example.com:9000"}, true},
		{"s3.example.com:8443", "10.1.2.3:8443", []string{"s3.example.com:9000"}, false},
		{"s3.example.com:443", "10.1.2.3:443", []string{"example.com"}, false},
		{"s3.example.com:443", "10.1.2.3:443", []string{"10.0.0.0/8"}, true},
		{"s3.example.com:443", "10.1.2.3:443", []string{"10.1.2.3"}, false}, // another name could lead there as well
		{"10.1.2.3:443", "10.1.2.3:443", []string{"10.1.2.3"}, true},
		{"s3.example.com:443", "[fd00::1]:443", []string{"fd00::/8"}, true},
		{"s3.example.com:443", "[fd00::1]:443", []string{"10.0.0.0/8"}, false},
		{"s3.example.com:443", "[::ffff:10.1.2.3]:443", []string{"10.0.0.0/8"}, true},
		{"localhost:9000", "127.0.0.1:9000", []string{"localhost"}, true},
		{"s3.example.com:80", "169.254.169.254:80", []string{"169.254.0.0/16", "s3.example.com"}, false},
	} {
		err := registry.JudgeRedirect("registry.example.com", tt.target, tt.addr, tt.allowed...)
		if (err == nil) != tt.ok {
			t.Errorf("%s at %s with %q: got %v, want allowed: %v", tt.target, tt.addr, tt.allowed, err, tt.ok)
		}
		if err == nil {
			continue
		}
		hinted := strings.Contains(failure.HintOf(err), `private_redirects = ["`+source.Hostname(tt.target)+`"]`)
		if !strings.Contains(err.Error(), tt.target) || hinted != !strings.HasPrefix(tt.addr, "169.") {
			t.Errorf("%s: got %v and hint %q, want the target and, unless it is link-local, the setting", tt.target, err, failure.HintOf(err))
		}
	}
	for _, wrong := range []string{"", "https://s3.example.com", "*.example.com", "10.0.0.0/40"} {
		if _, err := registry.New(registry.Options{PrivateRedirects: []string{wrong}}); !errdefs.IsInvalidArgument(err) {
			t.Errorf("%q: got %v, want an invalid argument", wrong, err)
		}
	}
}
