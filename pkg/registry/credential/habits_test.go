package credential_test

import (
	"encoding/base64"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/containerd-pull/containerd-pull/pkg/registry/credential"
	"github.com/containerd-pull/containerd-pull/pkg/source"
)

// TestEmptyFiles: a file or variable that says nothing holds no credentials
// (docker/cli#2599, podman#1457).
func TestEmptyFiles(t *testing.T) {
	const found = "\xef\xbb\xbf" + `{"auths":{"r.example.com":{"username":"u","password":"canary"}}}`
	for text, want := range map[string]string{"": "", " \r\n\t": "", "\xef\xbb\xbf": "", "\xef\xbb\xbf\n": "", "null": "", "{}": "", found: "u"} {
		for name, place := range map[string]func(h *home) credential.Options{
			"config.json": func(h *home) credential.Options {
				h.write(".docker/config.json", text, 0o600)
				return credential.Options{}
			},
			"auth.json": func(h *home) credential.Options {
				h.write(".config/containers/auth.json", text, 0o600)
				return credential.Options{}
			},
			"DOCKER_AUTH_CONFIG": func(h *home) credential.Options { h.env["DOCKER_AUTH_CONFIG"] = text; return credential.Options{} },
			"REGISTRY_AUTH_FILE": func(h *home) credential.Options {
				h.env["REGISTRY_AUTH_FILE"] = h.write("a.json", text, 0o600)
				return credential.Options{}
			},
			"authfile": func(h *home) credential.Options {
				return credential.Options{AuthFile: h.write("a.json", text, 0o600)}
			},
			"entry": func(h *home) credential.Options {
				return credential.Options{Entries: []credential.Entry{{Source: "authfile", Path: h.write("a.json", text, 0o600)}}}
			},
		} {
			h := newHome(t)
			cred, err := h.find(place(h), "r.example.com", "r.example.com/a")
			if err != nil || cred.Username != want {
				t.Errorf("%q in %s: got user %q and %v, want %q", text, name, cred.Username, err, want)
			}
		}
	}
	h := newHome(t)
	if cred, err := h.find(credential.Options{AuthFile: os.DevNull}, "r.example.com", "r.example.com/a"); err != nil || !cred.IsZero() {
		t.Errorf("%s: got %+v and %v, want nothing", os.DevNull, cred, err)
	}
}

// TestFolderForFile: a file that only may be there and is a folder is passed over
// with a warning (ansible-container#717, docker-py#2764); one that was named is an
// error.
func TestFolderForFile(t *testing.T) {
	h := newHome(t)
	folder := filepath.Join(h.dir, ".docker", "config.json")
	if err := os.MkdirAll(folder, 0o755); err != nil {
		t.Fatal(err)
	}
	h.write(".config/containers/auth.json", auths("r.example.com"), 0o600)
	var said []string
	shared := &credential.Shared{Warn: func(ref source.Ref, message string) { said = append(said, ref.Name+": "+message) }}
	for range 2 {
		cred, err := h.find(credential.Options{Shared: shared}, "r.example.com", "r.example.com/a:1")
		if err != nil || cred.Username != "r.example.com" {
			t.Errorf("got %+v and %v, want what the next file has", cred, err)
		}
	}
	if len(said) != 1 || !strings.Contains(said[0], "r.example.com/a:1: docker config "+folder+" is a folder") {
		t.Errorf("got warnings %q, want one that names the folder", said)
	}
	for _, o := range []credential.Options{{AuthFile: folder}, {Entries: []credential.Entry{{Source: "authfile", Path: folder}}}} {
		if _, err := h.find(o, "r.example.com", "r.example.com/a"); err == nil || !strings.Contains(err.Error(), folder) {
			t.Errorf("a folder that was named: got %v, want an error that names it", err)
		}
	}
	h.env["HOME"] = os.DevNull
	if cred, err := h.find(credential.Options{}, "r.example.com", "r.example.com/a"); err != nil || !cred.IsZero() {
		t.Errorf("a home that is no folder: got %+v and %v, want nothing", cred, err)
	}
}

// TestFormsOfAuths: the keys and values that clients have written (kubernetes#29120,
// fleet#1094, aws-cli#2351, kubernetes#82147).
func TestFormsOfAuths(t *testing.T) {
	for host, keys := range map[string][]string{
		"r.example.com": {
			"r.example.com", "r.example.com/", "R.Example.COM", "r.example.com:443", "https://r.example.com", "https://r.example.com/", "http://r.example.com",
			"https://r.example.com/v1/", "https://r.example.com/v1", "https://r.example.com/v2/", "https://r.example.com:443/v2", "HTTPS://r.example.com/v2/",
		},
		"r.example.com:5000": {"r.example.com:5000", "https://r.example.com:5000/v1/", "http://r.example.com:5000/v2/", "r.example.com:5000/"},
		"registry-1.docker.io": {
			"docker.io", "index.docker.io", "registry-1.docker.io", "https://index.docker.io/v1/", "https://index.docker.io/v1", "index.docker.io/v1/",
			"https://index.docker.io/v2/", "https://registry-1.docker.io/v2/", "https://docker.io/", "docker.io/v1/",
		},
	} {
		for _, key := range keys {
			for _, value := range []string{
				base64.StdEncoding.EncodeToString([]byte("user:canary")), base64.RawStdEncoding.EncodeToString([]byte("user:canary")),
				base64.StdEncoding.EncodeToString([]byte("user:canary")) + `\n`,
			} {
				h := newHome(t)
				h.write(".docker/config.json", fmt.Sprintf(`{"auths":{%q:{"auth":"%s"}}}`, key, value), 0o600)
				cred, err := h.find(credential.Options{}, host, source.CanonicalHost(host)+"/team/app")
				if err != nil || cred.Username != "user" || cred.Password != "canary" {
					t.Errorf("%s under %s with %s: got user %q and %v", host, key, value, cred.Username, err)
				}
			}
		}
	}
}

// TestOneRun: six images of a registry, asked for at once and by several Finders,
// take one run of a program for each host, whatever it answers (docker/cli#1591).
func TestOneRun(t *testing.T) {
	const answer = `read server; echo "{\"Username\":\"$server\",\"Secret\":\"canary\"}"`
	command := credential.Entry{Source: "password", Username: "me", PasswordCommand: []string{"command"}}
	for name, tc := range map[string]struct {
		program, text string
		docker        string
		entries       []credential.Entry
		hosts, runs   int
	}{
		"credsStore":         {"docker-credential-slow", answer, `{"credsStore":"slow"}`, nil, 1, 1},
		"credsStore, filed":  {"docker-credential-slow", answer, `{"auths":{"https://r0.example.com/v1/":{}},"credsStore":"slow"}`, nil, 1, 1},
		"two hosts":          {"docker-credential-slow", answer, `{"credsStore":"slow"}`, nil, 2, 2},
		"credHelpers":        {"docker-credential-slow", answer, `{"credHelpers":{"r0.example.com":"slow"}}`, nil, 1, 1},
		"that knows nothing": {"docker-credential-slow", `echo "credentials not found in native keychain"; exit 1`, `{"credsStore":"slow"}`, nil, 1, 1},
		"that fails":         {"docker-credential-slow", "exit 3", `{"credsStore":"slow"}`, nil, 1, 1},
		"configured":         {"docker-credential-slow", answer, "", []credential.Entry{{Source: "helper", Helper: "slow"}}, 1, 1},
		"command":            {"command", "echo canary", "", []credential.Entry{command}, 1, 1},
		"command that fails": {"command", "exit 1", "", []credential.Entry{command}, 1, 1},
	} {
		t.Run(name, func(t *testing.T) {
			h := newHome(t)
			log := filepath.Join(h.dir, "log")
			h.script(tc.program, "echo run >>"+log+"\n"+tc.text)
			h.write(".docker/config.json", tc.docker, 0o600)
			shared := &credential.Shared{}
			var all sync.WaitGroup
			for i := range 6 * tc.hosts {
				all.Go(func() {
					host := fmt.Sprintf("r%d.example.com", i%tc.hosts)
					_, _ = h.find(credential.Options{Entries: tc.entries, Shared: shared}, host, fmt.Sprintf("%s/team/app%d", host, i)) // some are meant to fail
				})
			}
			all.Wait()
			runs, err := os.ReadFile(log)
			if err != nil || strings.Count(string(runs), "run") != tc.runs {
				t.Errorf("got %q and %v, want %d runs", runs, err, tc.runs)
			}
			leaks, _ := filepath.Glob(filepath.Join(h.dir, "*"))
			for _, path := range leaks {
				if text, err := os.ReadFile(path); err == nil && strings.Contains(string(text), "canary") {
					t.Errorf("%s holds the answer", path)
				}
			}
		})
	}
}

// TestInterruptedRunIsNoAnswer: the next image of a call asks again.
func TestInterruptedRunIsNoAnswer(t *testing.T) {
	h := newHome(t)
	gate := filepath.Join(h.dir, "gate")
	h.script("docker-credential-slow", `[ -e `+gate+` ] || { touch `+gate+`; sleep 600; }; echo '{"Username":"u","Secret":"canary"}'`)
	o := credential.Options{Entries: []credential.Entry{{Source: "helper", Helper: "slow"}}, Shared: &credential.Shared{}}
	ctx, cancel := contextUntil(t, gate)
	defer cancel()
	if _, err := h.findContext(ctx, o, "r.example.com", "r.example.com/a"); err == nil {
		t.Error("got no error, want the end of the context")
	}
	if cred, err := h.find(o, "r.example.com", "r.example.com/a"); err != nil || cred.Username != "u" {
		t.Errorf("got %+v and %v, want what the second run says", cred, err)
	}
}

// TestProviderThatFails: as with kubelet, an image is pulled without a credential,
// and the reason is known (amazon-eks-ami#1949, bottlerocket#4396).
func TestProviderThatFails(t *testing.T) {
	for name, tc := range map[string]struct{ text, says string }{
		"fails":         {`echo "no permission" >&2; exit 2`, "no permission"},
		"says nothing":  {"true", "something else than a CredentialProviderResponse"},
		"knows nothing": {`echo '{"kind":"CredentialProviderResponse","auth":{}}'`, "know nothing of a.cloud.example.com/app"},
	} {
		h := newHome(t)
		bin := filepath.Dir(h.script("cloud", tc.text))
		var said []string
		o := credential.Options{
			Entries: []credential.Entry{{Source: "credential-provider", Config: h.write("config.yaml", providerConfig, 0o600), BinDir: bin}},
			Shared:  &credential.Shared{Warn: func(_ source.Ref, message string) { said = append(said, message) }},
		}
		cred, err := h.find(o, "a.cloud.example.com", "a.cloud.example.com/app")
		if err != nil || !cred.IsZero() || len(said) != 1 || !strings.Contains(said[0], tc.says) {
			t.Errorf("%s: got %+v, %v and %q, want no credential and a warning with %q", name, cred, err, said, tc.says)
		}
		h.write(".docker/config.json", auths("a.cloud.example.com"), 0o600)
		if cred, err := h.find(o, "a.cloud.example.com", "a.cloud.example.com/app"); err != nil || cred.Username == "" {
			t.Errorf("%s: got %+v and %v, want what Docker has filed", name, cred, err)
		}
	}
}

// TestProviderIsRunAsItSays: an answer for a registry is good for all its images.
func TestProviderIsRunAsItSays(t *testing.T) {
	for kind, want := range map[string]int{"Image": 4, "Registry": 2, "Global": 1, "": 4} {
		h := newHome(t)
		log := filepath.Join(h.dir, "log")
		bin := filepath.Dir(h.script("cloud", `echo run >>`+log+`
echo '{"kind":"CredentialProviderResponse","cacheKeyType":"`+kind+`","auth":{"*.cloud.example.com":{"username":"u","password":"canary"}}}'`))
		o := credential.Options{
			Entries: []credential.Entry{{Source: "credential-provider", Config: h.write("config.yaml", providerConfig, 0o600), BinDir: bin}},
			Shared:  &credential.Shared{},
		}
		for range 2 {
			for _, image := range []string{"a.cloud.example.com/one", "a.cloud.example.com/two", "b.cloud.example.com/one", "b.cloud.example.com/two"} {
				host, _, _ := strings.Cut(image, "/")
				if cred, err := h.find(o, host, image); err != nil || cred.Username != "u" {
					t.Errorf("%s: got %+v and %v", image, cred, err)
				}
			}
		}
		if runs, err := os.ReadFile(log); err != nil || strings.Count(string(runs), "run") != want {
			t.Errorf("%q: got %q and %v, want %d runs", kind, runs, err, want)
		}
	}
}
