package credential_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/containerd-pull/containerd-pull/pkg/registry/credential"
	"github.com/containerd-pull/containerd-pull/pkg/source"
)

var me = credential.Credential{Username: "u", Password: "canary"}

func (h *home) loginFile(o credential.Options) *credential.LoginFile {
	h.t.Helper()
	o.Home = h.dir
	o.Lookup = func(name string) (string, bool) { text, ok := h.env[name]; return text, ok }
	file, err := o.LoginFile()
	if err != nil {
		h.t.Fatal(err)
	}
	return file
}

// TestLogins keeps and removes a login in files in which the registry is spelled in
// every way. What is left of the keys are those of others and of parts.
func TestLogins(t *testing.T) {
	for _, tt := range []struct {
		name, registry string
		before         string
		keys, after    []string // of auths, while logged in and later
		left           []string
	}{
		{"no file", "r.example.com", "", []string{"r.example.com"}, nil, nil},
		{"null", "r.example.com", `{"auths":null}`, []string{"r.example.com"}, nil, nil},
		{"capitals", "r.example.com", `{"AUTHS":{"a.example.com":{}}}`, []string{"a.example.com", "r.example.com"}, []string{"a.example.com"}, nil},
		{"as a URL", "r.example.com", `{"auths":{"https://R.example.com/v1/":{"auth":"eDp5"}}}`, []string{"r.example.com"}, nil, nil},
		{"a part", "r.example.com", `{"auths":{"r.example.com/team":{"auth":"eDp5"}}}`, []string{"r.example.com", "r.example.com/team"}, []string{"r.example.com/team"}, []string{"r.example.com/team"}},
		{"another port", "r.example.com", `{"auths":{"r.example.com:5000":{"auth":"eDp5"}}}`, []string{"r.example.com", "r.example.com:5000"}, []string{"r.example.com:5000"}, nil},
		{"Docker Hub", "docker.io", `{"auths":{"registry-1.docker.io":{"auth":"eDp5"}}}`, []string{"https://index.docker.io/v1/"}, nil, nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			h := newHome(t)
			path := filepath.Join(h.dir, ".docker/config.json")
			if tt.before != "" {
				h.write(".docker/config.json", tt.before, 0o644)
			}
			file := h.loginFile(credential.Options{})
			if _, err := file.Store(t.Context(), tt.registry, me); err != nil {
				t.Fatal(err)
			}
			checkKeys(t, path, tt.keys)
			info, err := os.Stat(path)
			if err != nil || info.Mode().Perm() != 0o600 {
				t.Errorf("got mode %v, %v; want 0600", info.Mode(), err)
			}
			cred, err := h.find(credential.Options{}, source.ContactedHost(tt.registry), tt.registry+"/x/app")
			if err != nil || cred.Username != "u" || cred.Password != "canary" {
				t.Errorf("found %q from %q, %v; want what was kept", cred.Username, cred.Source, err)
			}
			done, err := file.Erase(t.Context(), tt.registry)
			if err != nil || !done.Removed {
				t.Errorf("removed: got %v, %v; want it removed", done.Removed, err)
			}
			if diff := cmp.Diff(tt.left, done.Left); diff != "" {
				t.Errorf("entries that stay (-want +got):\n%s", diff)
			}
			checkKeys(t, path, tt.after)
		})
	}
}

// checkKeys compares the keys of the credentials in a file, sorted.
func checkKeys(t *testing.T, path string, want []string) {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var c struct{ Auths map[string]json.RawMessage }
	if err := json.Unmarshal(data, &c); err != nil {
		t.Fatal(err)
	}
	got := map[string]bool{}
	for key := range c.Auths {
		got[key] = true
	}
	for _, key := range want {
		if !got[key] {
			t.Errorf("got %s, want %q in it", data, key)
		}
	}
	if len(got) != len(want) {
		t.Errorf("got %s, want %d entries", data, len(want))
	}
}

// TestLoginHelpers: the helper of the host is asked before the one for everything,
// under the name that the file has for it, and a failure changes nothing.
func TestLoginHelpers(t *testing.T) {
	h := newHome(t)
	h.script("docker-credential-all", `cat >>"$0.$1"`)
	h.script("docker-credential-one", `[ $1 = get ] && { cat "$0.kept"; exit; }; cat >"$0.$1"; mv "$0.store" "$0.kept"`)
	h.script("docker-credential-full", `[ $1 = get ] && { echo '{"Username":"u","Secret":"canary"}'; exit; }; echo "no more space"; exit 1`)
	text := `{"credHelpers":{"https://one.example.com":"one","full.example.com":"full","gone.example.com":"gone"},"credsStore":"all","auths":{"full.example.com":{}}}`
	path := h.write(".docker/config.json", text, 0o600)
	file := h.loginFile(credential.Options{})
	for registry, want := range map[string]string{"full.example.com": "no more space", "gone.example.com": "not found on PATH"} {
		_, err := file.Store(t.Context(), registry, me)
		if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "canary") {
			t.Errorf("keeping with a helper that fails: got %v, want %q", err, want)
		}
	}
	if _, err := file.Erase(t.Context(), "full.example.com"); err == nil || !strings.Contains(err.Error(), "no more space") {
		t.Errorf("removing with a helper that fails: got %v, want why", err)
	}
	if got, err := os.ReadFile(path); err != nil || string(got) != text {
		t.Errorf("after failures: got %s, %v; want the file as it was", got, err)
	}
	for registry, want := range map[string]string{"one.example.com": "one", "other.example.com": "all"} {
		helper, err := file.Store(t.Context(), registry, me)
		if err != nil || helper != want {
			t.Errorf("%s: got helper %q, %v; want %q", registry, helper, err, want)
		}
	}
	if got, err := os.ReadFile(path); err != nil || strings.Contains(string(got), "canary") {
		t.Errorf("got %s, %v; want a file without the password", got, err)
	}
	said, err := os.ReadFile(filepath.Join(h.dir, "bin/docker-credential-one.kept"))
	if err != nil || string(said) != `{"ServerURL":"https://one.example.com","Username":"u","Secret":"canary"}` {
		t.Errorf("the helper got %s, %v; want the protocol", said, err)
	}
}

func TestLoginWithoutHome(t *testing.T) {
	_, err := credential.Options{Lookup: func(string) (string, bool) { return "", false }}.LoginFile()
	if err == nil || !strings.Contains(err.Error(), "no HOME") {
		t.Errorf("got %v, want an error", err)
	}
}

// FuzzLogins keeps a login in any file: either nothing changes, or the login is
// found and all else means what it meant.
func FuzzLogins(f *testing.F) {
	for _, seed := range []string{"", "{}", `{"auths":{"a":{"auth":"eDp5","more":1e400}},"x":[1.50]}`, `{"auths":[]}`, "null", `{"auths":null,"Auths":{}}`, "[1]", "\uFEFF{}", `{"credsStore":7}`, `{"a":"<\u2028>"}`} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, before []byte) {
		if strings.Contains(strings.ToLower(string(before)), "cred") { // a helper would have to be there
			return
		}
		h := newHome(t)
		path := h.write(".docker/config.json", string(before), 0o600)
		_, err := h.loginFile(credential.Options{}).Store(t.Context(), "r.example.com", me)
		after, rerr := os.ReadFile(path)
		if rerr != nil {
			t.Fatal(rerr)
		}
		if err != nil {
			if string(after) != string(before) || strings.Contains(err.Error(), "canary") {
				t.Errorf("got %v and the file %q, want it as it was: %q", err, after, before)
			}
			return
		}
		cred, err := h.find(credential.Options{}, "r.example.com", "r.example.com/a")
		if err != nil || cred.Password != "canary" {
			t.Errorf("got %q from %s, %v; want what was kept", cred.Source, after, err)
		}
		if diff := cmp.Diff(others(t, before), others(t, after)); diff != "" {
			t.Errorf("what else is in the file (-before +after):\n%s", diff)
		}
	})
}

// others is what a file holds besides credentials, numbers to the digit.
func others(t *testing.T, text []byte) map[string]any {
	t.Helper()
	all := map[string]any{}
	text = []byte(strings.TrimSpace(strings.TrimPrefix(string(text), "\uFEFF")))
	if len(text) == 0 {
		return all
	}
	dec := json.NewDecoder(strings.NewReader(string(text)))
	dec.UseNumber()
	if err := dec.Decode(&all); err != nil {
		t.Fatal(err)
	}
	if all == nil { // null
		return map[string]any{}
	}
	for key := range all {
		if strings.EqualFold(key, "auths") {
			delete(all, key)
		}
	}
	return all
}
