package registry_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/containerd/errdefs"

	"github.com/containerd-pull/containerd-pull/pkg/failure"
	"github.com/containerd-pull/containerd-pull/pkg/registry"
	"github.com/containerd-pull/containerd-pull/pkg/registry/credential"
	"github.com/containerd-pull/containerd-pull/pkg/registry/hosts"
	"github.com/containerd-pull/containerd-pull/pkg/source"
)

func says(code int, contentType, body string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", contentType)
		w.WriteHeader(code)
		fmt.Fprint(w, body)
	}
}

// registries.md 3: what a registry says is repeated, whatever its form.
func TestRegistrysWords(t *testing.T) {
	long := strings.Repeat("word ", 100)
	for _, tc := range []struct {
		name    string
		handler http.HandlerFunc
		want    string
		class   func(error) bool
	}{
		{"text", says(403, "text/plain", "Your account\n is   suspended"), "403 Forbidden: Your account is suspended", errdefs.IsPermissionDenied},
		{"message", says(403, "application/json", `{"message":"pull is not allowed"}`), "403 Forbidden: pull is not allowed", errdefs.IsPermissionDenied},
		// amazon-ecr-credential-helper#7
		{"numeric code", says(403, "application/json", `{"errors":[{"code":40301,"message":"token expired"}]}`), "403 Forbidden: 40301: token expired", errdefs.IsPermissionDenied},
		{"code that is the status", says(403, "application/json", `{"code":403,"message":"Forbidden"}`), "403 Forbidden", errdefs.IsPermissionDenied},
		{"error", says(403, "application/json", `{"error":"quota"}`), "403 Forbidden: quota", errdefs.IsPermissionDenied},
		{"error within", says(403, "application/json", `{"error":{"code":7,"message":"denied","status":"PERMISSION_DENIED"}}`), "403 Forbidden: 7: denied", errdefs.IsPermissionDenied},
		{"list of texts", says(400, "application/json", `["no such project"]`), "400 Bad Request: no such project", errdefs.IsInvalidArgument},
		{"detail", says(403, "application/json", `{"errors":[{"code":"DENIED","detail":"ask the owner"}]}`), "403 Forbidden: DENIED: ask the owner", errdefs.IsPermissionDenied},
		{"page", says(403, "text/html", "<html><head><title>Access denied</title></head><body>x<br>y</body></html>"), "403 Forbidden: Access denied", errdefs.IsPermissionDenied},
		{"broken JSON", says(403, "application/json", `{"message":`), "403 Forbidden", errdefs.IsPermissionDenied},
		{"deep JSON", says(403, "application/json", strings.Repeat(`{"error":`, 50)+"1"+strings.Repeat("}", 50)), "403 Forbidden", errdefs.IsPermissionDenied},
		{"control characters", says(403, "text/plain", "a\x1b[2Jb"), `403 Forbidden: a\x1b[2Jb`, errdefs.IsPermissionDenied},
		{"long", says(403, "text/plain", long), "403 Forbidden: " + long[:299] + "…", errdefs.IsPermissionDenied},
		{"empty", says(403, "text/plain", ""), "403 Forbidden", errdefs.IsPermissionDenied},
		// harbor#13825
		{"policy", says(412, "application/json", `{"errors":[{"code":"PROJECTPOLICYVIOLATION","message":"current image with 3 vulnerabilities cannot be pulled"}]}`), "412 Precondition Failed: PROJECTPOLICYVIOLATION: current image with 3 vulnerabilities cannot be pulled", isPolicy},
		{"payment", says(402, "text/plain", "plan limit reached"), "402 Payment Required: plan limit reached", isPolicy},
		{"law", says(451, "", ""), "451 Unavailable For Legal Reasons", isPolicy},
	} {
		t.Run(tc.name, func(t *testing.T) {
			srv := serve(t, tc.handler)
			_, err := open(t, registry.Options{}).Resolve(t.Context(), srv.ref(t, "a:1"))
			if err == nil || !strings.HasSuffix(err.Error(), srv.host()+": "+tc.want) && !strings.HasSuffix(err.Error(), "unexpected answer "+tc.want) || !tc.class(err) {
				t.Errorf("got %v, want %q and its class", err, tc.want)
			}
		})
	}
}

func isPolicy(err error) bool { return errors.Is(err, source.ErrPolicy) && failure.HintOf(err) != "" }

// podman#1296, docker/hub-feedback#286: a credential that is stale is named, with
// what removes it.
func TestRefusalNamesCredential(t *testing.T) {
	stale := credential.Credential{Username: "u", Password: "canary-secret", Source: "docker config /home/u/.docker/config.json", Remedy: "docker logout REG drops it"}
	finder := func(cred credential.Credential) credential.Finder {
		return func(context.Context, string, source.Ref) (credential.Credential, error) { return cred, nil }
	}
	basic := func(code int) http.HandlerFunc {
		return func(w http.ResponseWriter, req *http.Request) {
			if req.Header.Get("Authorization") == "" {
				w.Header().Set("WWW-Authenticate", `Basic realm="x"`)
				w.WriteHeader(http.StatusUnauthorized)
				return
			}
			w.WriteHeader(code)
		}
	}
	for _, tc := range []struct {
		name       string
		handler    http.HandlerFunc
		cred       credential.Credential
		says, hint string
		missing    bool
	}{
		{"stale", basic(403), stale, "403 Forbidden: the credential from docker config /home/u/.docker/config.json was sent", "the credential may be stale, or lack the right to pull this: docker logout REG drops it", false},
		{"refused", basic(401), stale, "the credential from docker config /home/u/.docker/config.json was refused", "docker logout REG drops it", false},
		{"none", basic(401), credential.Credential{}, "there is none for this host", "", true},
		{"none, 403", status(403), credential.Credential{}, "403 Forbidden", "", true},
		{"anonymous by configuration", basic(401), credential.Credential{Source: "configured as anonymous"}, "there is none for this host", "", true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			srv := serve(t, tc.handler)
			_, err := open(t, registry.Options{Credentials: finder(tc.cred)}).Resolve(t.Context(), srv.ref(t, "a:1"))
			if err == nil || !strings.Contains(err.Error(), tc.says) || failure.HintOf(err) != tc.hint || errors.Is(err, source.ErrNoCredential) != tc.missing {
				t.Errorf("got %v, hint %q, want %q and hint %q", err, failure.HintOf(err), tc.says, tc.hint)
			}
			if err != nil && strings.Contains(err.Error()+failure.HintOf(err), "canary") {
				t.Errorf("got the secret in %v", err)
			}
		})
	}
}

// moby#34185: the store behind a redirect refuses, not the registry.
func TestRefusalOfRedirectTarget(t *testing.T) {
	cdn := serveAt(t, "127.0.0.2", says(403, "application/xml", `<?xml version="1.0" encoding="UTF-8"?><Error><Code>AccessDenied</Code><Message>Request has expired</Message></Error>`))
	srv := serve(t, func(w http.ResponseWriter, req *http.Request) {
		http.Redirect(w, req, cdn.URL+"/bucket/key?signature=canary", http.StatusTemporaryRedirect)
	})
	_, err := open(t, registry.Options{}).Open(t.Context(), srv.ref(t, "a"), describe(layerType, []byte("x")), source.Range{})
	want := "redirect target " + cdn.host() + ": 403 Forbidden: AccessDenied: Request has expired"
	if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "canary") {
		t.Errorf("got %v, want %q", err, want)
	}
	e, _ := errors.AsType[*source.Error](err)
	if e == nil || e.Code != "AccessDenied" || !strings.Contains(failure.HintOf(err), cdn.host()) {
		t.Errorf("got %+v, hint %q, want the code of the store, and the store", e, failure.HintOf(err))
	}
}

func TestRedirectTargetThatIsNotThere(t *testing.T) {
	gone := vacant(t)
	srv := serve(t, func(w http.ResponseWriter, req *http.Request) {
		http.Redirect(w, req, "http://"+gone+"/x", http.StatusTemporaryRedirect)
	})
	_, err := open(t, registry.Options{}).Open(t.Context(), srv.ref(t, "a"), describe(layerType, []byte("x")), source.Range{})
	if err == nil || !strings.Contains(err.Error(), "redirect target "+gone+": ") || registry.Reason(err) != "refused" {
		t.Errorf("got %v, want the target to be named", err)
	}
}

// Distribution answers MANIFEST_UNKNOWN for a repository that does
// not exist as well.
func TestN6WhatIsMissingIsAskedOnce(t *testing.T) {
	const unknown = `{"errors":[{"code":"MANIFEST_UNKNOWN","message":"manifest unknown"}]}`
	lists := func(list http.HandlerFunc) http.HandlerFunc {
		return func(w http.ResponseWriter, req *http.Request) {
			if strings.HasSuffix(req.URL.Path, "/tags/list") {
				list(w, req)
				return
			}
			says(404, "application/json", unknown)(w, req)
		}
	}
	for _, tc := range []struct {
		name, ref, want string
		list            http.HandlerFunc
	}{
		{"tag", "a:bas", source.MissingTag, says(200, "application/json", `{"name":"a","tags":["base","web"]}`)},
		{"tag of an empty repository", "a:bas", source.MissingTag, says(200, "application/json", `{"name":"a","tags":null}`)},
		{"tag that the list has", "a:base", "", says(200, "application/json", `{"name":"a","tags":["base"]}`)},
		{"digest", "a@sha256:" + strings.Repeat("0", 64), source.MissingDigest, says(200, "application/json", `{"name":"a","tags":["base"]}`)},
		{"repository", "a:1", source.MissingRepository, says(404, "application/json", `{"errors":[{"code":"NAME_UNKNOWN"}]}`)},
		{"no list", "a:1", "", status(404)},
		{"list that is refused", "a:1", "", status(403)},
		{"list that fails", "a:1", "", status(503)},
	} {
		t.Run(tc.name, func(t *testing.T) {
			srv := serve(t, lists(tc.list))
			_, err := open(t, registry.Options{}).Resolve(t.Context(), srv.ref(t, tc.ref))
			e, _ := errors.AsType[*source.Error](err)
			if e == nil || !errdefs.IsNotFound(err) || e.Missing != tc.want {
				t.Fatalf("got %v, missing %+v, want %q", err, e, tc.want)
			}
			if strings.Contains(err.Error(), "no such repository, or no permission") != (tc.want == source.MissingRepository) {
				t.Errorf("got %v, want it to name the repository only if that is missing", err)
			}
			if n := srv.count(); n != 2 {
				t.Errorf("got %d requests, want the manifest and one list", n)
			}
		})
	}
}

// A server of HTTPS that is asked without TLS says so in a body that
// is no registry's.
func TestN15PlainHTTPToHTTPS(t *testing.T) {
	srv := serveTLS(t, "127.0.0.1", nil, manifest(manifestJSON(t)))
	_, err := open(t, registry.Options{Hosts: hosts.Options{PlainHTTP: true}}).Resolve(t.Context(), srv.ref(t, "a:1"))
	if !errdefs.IsInvalidArgument(err) || !strings.Contains(failure.HintOf(err), "leave out --plain-http") || !strings.Contains(err.Error(), "HTTPS") {
		t.Errorf("got %v, hint %q, want the server's words and the flag to leave out", err, failure.HintOf(err))
	}
}
