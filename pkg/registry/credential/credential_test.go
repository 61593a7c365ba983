package credential_test

import (
	"context"
	"encoding/base64"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/containerd/errdefs"
	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/containerd-pull/containerd-pull/pkg/failure"
	"github.com/containerd-pull/containerd-pull/pkg/internal/pulltest"
	"github.com/containerd-pull/containerd-pull/pkg/registry/credential"
	"github.com/containerd-pull/containerd-pull/pkg/source"
)

// home is a folder with the files of a user and programs on PATH.
type home struct {
	t   *testing.T
	dir string
	env map[string]string
}

func newHome(t *testing.T) *home {
	t.Helper()
	h := &home{t: t, dir: t.TempDir()}
	h.env = map[string]string{"HOME": h.dir}
	t.Setenv("PATH", filepath.Join(h.dir, "bin")+":"+os.Getenv("PATH"))
	return h
}

func (h *home) write(name, text string, mode os.FileMode) string {
	h.t.Helper()
	path := filepath.Join(h.dir, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		h.t.Fatal(err)
	}
	if err := pulltest.WriteProgram(path, text, mode); err != nil {
		h.t.Fatal(err)
	}
	return path
}

func (h *home) script(name, text string) string {
	return h.write("bin/"+name, "#!/bin/sh\n"+text+"\n", 0o755)
}

func (h *home) find(o credential.Options, host, ref string) (credential.Credential, error) {
	h.t.Helper()
	return h.findContext(h.t.Context(), o, host, ref)
}

func (h *home) findContext(ctx context.Context, o credential.Options, host, ref string) (credential.Credential, error) {
	h.t.Helper()
	o.Home = h.env["HOME"]
	o.Lookup = func(name string) (string, bool) { text, ok := h.env[name]; return text, ok }
	find, err := credential.New(o)
	if err != nil {
		return credential.Credential{}, err
	}
	r, err := source.ParseRef(ref)
	if err != nil {
		h.t.Fatal(err)
	}
	return find(ctx, host, r)
}

// user is a name for the user of an entry; a colon would end it.
func user(entry string) string { return strings.ReplaceAll(entry, ":", "+") }

// auths is a file with one entry for each name, whose user is called like it.
func auths(names ...string) string {
	var entries []string
	for _, name := range names {
		entries = append(entries, `"`+name+`":{"auth":"`+base64.StdEncoding.EncodeToString([]byte(user(name)+":canary"))+`"}`)
	}
	return `{"auths":{` + strings.Join(entries, ",") + `}}`
}

// TestIdentifiers asks for a credential that is filed under several names.
func TestIdentifiers(t *testing.T) {
	for _, tc := range []struct {
		name      string
		host, ref string
		filed     []string
		want      string // user
	}{
		{"host", "r.example.com", "r.example.com/a/b", []string{"r.example.com"}, "r.example.com"},
		{"another host", "r.example.com", "r.example.com/a/b", []string{"example.com", "r.example.com.evil.org"}, ""},
		{"longest path", "r.example.com", "r.example.com/a/b/c", []string{"r.example.com", "r.example.com/a", "r.example.com/a/b"}, "r.example.com/a/b"},
		{"another path", "r.example.com", "r.example.com/a", []string{"r.example.com/ab", "r.example.com/b"}, ""},
		{"port", "r.example.com:5000", "r.example.com:5000/a", []string{"r.example.com", "r.example.com:5000"}, "r.example.com:5000"},
		{"not without its port", "r.example.com:5000", "r.example.com:5000/a", []string{"r.example.com"}, ""},
		{"https", "r.example.com", "r.example.com/a", []string{"https://r.example.com"}, "https://r.example.com"},
		{"port of https", "r.example.com", "r.example.com/a", []string{"r.example.com:443"}, "r.example.com:443"},
		{"Docker Hub as Docker files it", "registry-1.docker.io", "alpine", []string{"https://index.docker.io/v1/"}, "https://index.docker.io/v1/"},
		{"Docker Hub as Podman files it", "registry-1.docker.io", "alpine", []string{"docker.io"}, "docker.io"},
		{"a repository of Docker Hub", "registry-1.docker.io", "team/app", []string{"docker.io/team", "docker.io"}, "docker.io/team"},
		{"a mirror of Docker Hub", "mirror.example.com", "alpine", []string{"docker.io", "https://index.docker.io/v1/"}, ""},
		{"a mirror by its name", "mirror.example.com", "alpine", []string{"docker.io", "mirror.example.com"}, "mirror.example.com"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			h := newHome(t)
			h.write(".docker/config.json", auths(tc.filed...), 0o600)
			cred, err := h.find(credential.Options{}, tc.host, tc.ref)
			if err != nil {
				t.Fatal(err)
			}
			if cred.Username != user(tc.want) {
				t.Errorf("user: got %q, want %q", cred.Username, user(tc.want))
			}
		})
	}
}

// TestOrder takes one source after the other away and sees the next one win.
func TestOrder(t *testing.T) {
	h := newHome(t)
	const host, ref = "r.example.com", "r.example.com/a"
	file := func(user string) string {
		return `{"auths":{"r.example.com":{"username":"` + user + `","password":"canary"}}}`
	}
	h.write("docker/config.json", file("docker"), 0o600)
	h.write("run/containers/auth.json", file("podman-run"), 0o600)
	h.write(".config/containers/auth.json", file("podman-config"), 0o600)
	h.env["DOCKER_AUTH_CONFIG"] = file("variable")
	h.env["REGISTRY_AUTH_FILE"] = h.write("registry.json", file("registry-auth-file"), 0o600)
	h.env["DOCKER_CONFIG"] = filepath.Join(h.dir, "docker")
	h.env["XDG_RUNTIME_DIR"] = filepath.Join(h.dir, "run")
	o := credential.Options{
		Own:         &credential.Credential{Username: "own", Password: "canary"},
		AuthFile:    h.write("stated.json", file("stated"), 0o600),
		Entries:     []credential.Entry{{Source: "password", Username: "entry", Password: "canary"}},
		EntriesFile: h.write("entries.json", file("entries-file"), 0o600),
	}
	for _, step := range []struct {
		want string
		drop func()
	}{
		{"own", func() { o.Own = nil }},
		{"stated", func() { o.AuthFile = "" }},
		{"entry", func() { o.Entries = nil }},
		{"entries-file", func() { o.EntriesFile = "" }},
		{"variable", func() { delete(h.env, "DOCKER_AUTH_CONFIG") }},
		{"registry-auth-file", func() { delete(h.env, "REGISTRY_AUTH_FILE") }},
		{"docker", func() { delete(h.env, "DOCKER_CONFIG") }},
		{"podman-run", func() { delete(h.env, "XDG_RUNTIME_DIR") }},
		{"podman-config", func() { delete(h.env, "HOME") }},
		{"", func() {}},
	} {
		cred, err := h.find(o, host, ref)
		if err != nil {
			t.Fatal(err)
		}
		if cred.Username != step.want {
			t.Errorf("user: got %q from %q, want %q", cred.Username, cred.Source, step.want)
		}
		step.drop()
	}
}

func TestStatedFileReplacesTheUsersOwn(t *testing.T) {
	h := newHome(t)
	h.write(".docker/config.json", auths("r.example.com"), 0o600)
	o := credential.Options{AuthFile: h.write("empty.json", "{}", 0o600)}
	cred, err := h.find(o, "r.example.com", "r.example.com/a")
	if err != nil || cred != (credential.Credential{}) {
		t.Errorf("got %+v, %v; want nothing", cred, err)
	}
	o.AuthFile += ".none"
	if _, err := h.find(o, "r.example.com", "r.example.com/a"); err == nil {
		t.Error("a stated file that is not there: got no error")
	}
}

// TestOwnHostOnly holds credentials that are for one host against others.
func TestOwnHostOnly(t *testing.T) {
	h := newHome(t)
	for _, o := range []credential.Options{
		{Own: &credential.Credential{Username: "u", Password: "canary"}},
		{Entries: []credential.Entry{{Source: "password", Username: "u", Password: "canary"}}},
		{Entries: []credential.Entry{{Source: "registry-token", RegistryToken: "canary"}}},
	} {
		for host, own := range map[string]bool{
			"registry-1.docker.io": true, "docker.io": true, "registry-1.docker.io:443": true,
			"mirror.example.com": false, "docker.io.evil.org": false, "registry-1.docker.io:444": false,
		} {
			cred, err := h.find(o, host, "alpine")
			if err != nil {
				t.Fatal(err)
			}
			if got := cred.Password+cred.RegistryToken != ""; got != own {
				t.Errorf("%s gets the credential of the reference's own host: got %v, want %v", host, got, own)
			}
		}
	}
}

func TestEntries(t *testing.T) {
	h := newHome(t)
	h.env["SECRET"] = "canary"
	h.script("print-secret", `echo "$1"`)
	h.script("docker-credential-good", `read server; echo "{\"Username\":\"$server\",\"Secret\":\"canary\"}"`)
	h.script("docker-credential-token", `echo '{"Username":"<token>","Secret":"canary"}'`)
	secret := h.write("secret", "canary\n", 0o600)
	password := credential.Credential{Username: "u", Password: "canary"}
	for _, tc := range []struct {
		name  string
		entry credential.Entry
		want  credential.Credential
	}{
		{"literal", credential.Entry{Source: "password", Username: "u", Password: "canary"}, password},
		{"file", credential.Entry{Source: "password", Username: "u", PasswordFile: secret}, password},
		{"variable", credential.Entry{Source: "password", Username: "u", PasswordEnv: "SECRET"}, password},
		{"command", credential.Entry{Source: "password", Username: "u", PasswordCommand: []string{"print-secret", "canary"}}, password},
		{"identity token", credential.Entry{Source: "identity-token", TokenFile: secret}, credential.Credential{IdentityToken: "canary"}},
		{"registry token", credential.Entry{Source: "registry-token", TokenEnv: "SECRET"}, credential.Credential{RegistryToken: "canary"}},
		{"token by command", credential.Entry{Source: "registry-token", TokenCommand: []string{"print-secret", "canary"}}, credential.Credential{RegistryToken: "canary"}},
		{"helper", credential.Entry{Source: "helper", Helper: "good"}, credential.Credential{Username: "r.example.com", Password: "canary"}},
		{"helper with a token", credential.Entry{Source: "helper", Helper: "token"}, credential.Credential{IdentityToken: "canary"}},
		{"another folder of Docker's", credential.Entry{Source: "docker-config", Path: filepath.Dir(h.write("d/config.json", auths("r.example.com"), 0o600))}, credential.Credential{Username: "r.example.com", Password: "canary"}},
		{"anonymous", credential.Entry{Source: "anonymous"}, credential.Credential{}},
		{"match", credential.Entry{Match: []string{"*.example.com"}, Source: "password", Username: "u", Password: "canary"}, password},
		{"match of a repository", credential.Entry{Match: []string{"r.example.com/a/*"}, Source: "password", Username: "u", Password: "canary"}, password},
		{"no match", credential.Entry{Match: []string{"r.example.com/b/*"}, Source: "password", Username: "u", Password: "canary"}, credential.Credential{}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			got, err := h.find(credential.Options{Entries: []credential.Entry{tc.entry}}, "r.example.com", "r.example.com/a/b")
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tc.want, got, cmpopts.IgnoreFields(credential.Credential{}, "Source", "For", "Remedy")); diff != "" {
				t.Errorf("credential (-want +got):\n%s", diff)
			}
			if strings.Contains(got.Source, "canary") {
				t.Errorf("the source shows the secret: %q", got.Source)
			}
		})
	}
}

// TestAnonymousStopsTheSearch: what is configured as anonymous stays so,
// before what the user has filed.
func TestAnonymousStopsTheSearch(t *testing.T) {
	h := newHome(t)
	h.write(".docker/config.json", auths("r.example.com"), 0o600)
	cred, err := h.find(credential.Options{Entries: []credential.Entry{{Source: "anonymous"}}}, "r.example.com", "r.example.com/a")
	if err != nil || cred.Password != "" {
		t.Errorf("got %+v, %v; want nothing", cred, err)
	}
}

// TestFailures: what is configured and fails is an error that shows why and no
// secret, and never an anonymous request.
func TestFailures(t *testing.T) {
	h := newHome(t)
	h.script("docker-credential-angry", `echo canary; echo "the keychain is locked" >&2; exit 3`)
	h.script("docker-credential-dbus", `echo "Cannot autolaunch D-Bus without X11"; exit 1`) // docker-credential-helpers#309, #101
	h.script("docker-credential-leaky", `echo '{"ServerURL":"","Username":"u","Secret":"canary"}'; exit 1`)
	h.script("docker-credential-cut", `echo 'error: {"Username":"u", "Secret":"canary'; exit 1`)
	h.script("docker-credential-loud", `echo '{"Secret":"canary"}' >&2; exit 1`)
	h.script("docker-credential-garbage", `echo "canary, not JSON"`)
	h.script("docker-credential-unknowing", `echo "credentials not found in native keychain"; exit 1`)
	h.script("docker-credential-empty", `echo '{"Username":"","Secret":""}'`)
	h.script("fail", `echo "no such entry" >&2; exit 1`)
	h.script("silent", `true`)
	helper := func(name string) []credential.Entry {
		return []credential.Entry{{Source: "helper", Helper: name}}
	}
	for _, tc := range []struct {
		name    string
		entries []credential.Entry
		docker  string // the user's config.json
		want    string // in the error; empty for no error
	}{
		{"helper that is missing", helper("missing"), "", `program "docker-credential-missing": not found on PATH`},
		{"helper that fails", helper("angry"), "", "the keychain is locked"},
		{"helper that says why where the protocol has it", helper("dbus"), "", "exit status 1: Cannot autolaunch D-Bus without X11"},
		{"helper that fails with the secret", helper("leaky"), "", "exit status 1"},
		{"helper that fails with a part of the secret", helper("cut"), "", "exit status 1"},
		{"helper that complains with the secret", helper("loud"), "", "exit status 1"},
		{"credsStore that says why", nil, `{"credsStore":"dbus"}`, "Cannot autolaunch"},
		{"helper that prints garbage", helper("garbage"), "", "something else than JSON"},
		{"helper that knows nothing", helper("unknowing"), "", "knows nothing of r.example.com"},
		{"helper that says nothing", helper("empty"), "", "knows nothing of r.example.com"},
		{"helper out of a folder", helper("../bin/angry"), "", "want a name to be found on PATH"},
		{"command that fails", []credential.Entry{{Source: "password", Username: "u", PasswordCommand: []string{"fail"}}}, "", "no such entry"},
		{"command that says nothing", []credential.Entry{{Source: "password", Username: "u", PasswordCommand: []string{"silent"}}}, "", "it is empty"},
		{"command by path", []credential.Entry{{Source: "password", Username: "u", PasswordCommand: []string{"/bin/echo"}}}, "", "want a name to be found on PATH"},
		{"file that is missing", []credential.Entry{{Source: "password", Username: "u", PasswordFile: "/none"}}, "", "no such file"},
		{"variable that is not set", []credential.Entry{{Source: "registry-token", TokenEnv: "NONE"}}, "", "it is empty"},
		{"credsStore that fails", nil, `{"credsStore":"angry"}`, "the keychain is locked"},
		{"credsStore that is missing", nil, `{"credsStore":"missing"}`, "not found on PATH"},
		{"credsStore that knows nothing", nil, `{"credsStore":"unknowing"}`, ""},
		{"credHelpers of the host", nil, `{"credHelpers":{"r.example.com":"angry"}}`, "the keychain is locked"},
		{"credHelpers of another host", nil, `{"credHelpers":{"other.example.com":"angry"}}`, ""},
		{"config.json that is none", nil, `{"auths": canary`, "is not JSON"},
		{"bad auth", nil, `{"auths":{"r.example.com":{"auth":"canary"}}}`, "not USER:PASSWORD in base64"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			h.write(".docker/config.json", tc.docker+strings.Repeat("{}", btoi(tc.docker == "")), 0o600)
			cred, err := h.find(credential.Options{Entries: tc.entries}, "r.example.com", "r.example.com/a")
			if tc.want == "" {
				if err != nil || cred != (credential.Credential{}) {
					t.Errorf("got %+v, %v; want nothing", cred, err)
				}
				return
			}
			if err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Fatalf("got error %v, want one with %q", err, tc.want)
			}
			if strings.Contains(err.Error()+failure.HintOf(err), "canary") {
				t.Errorf("the error shows the secret: %v", err)
			}
			if errdefs.IsUnauthorized(err) && failure.HintOf(err) == "" {
				t.Errorf("got no hint for %v, want what to do", err)
			}
		})
	}
}

func btoi(b bool) int {
	if b {
		return 1
	}
	return 0
}

// TestHangingHelper: a program that hangs, with a child that holds its streams
// open, ends with the context.
func TestHangingHelper(t *testing.T) {
	h := newHome(t)
	pid := filepath.Join(h.dir, "pid")
	if err := syscall.Mkfifo(pid, 0o600); err != nil {
		t.Fatal(err)
	}
	h.script("docker-credential-hang", `sleep 600 & echo $! >`+pid+`; sleep 600`)
	stop := errors.New("the user has seen enough")
	ctx, cancel := context.WithCancelCause(t.Context())
	child := make(chan string, 1)
	go func() {
		text, err := os.ReadFile(pid) // waits for the helper to write
		if err != nil {
			t.Error(err)
		}
		child <- strings.TrimSpace(string(text))
		cancel(stop)
	}()
	_, err := h.findContext(ctx, credential.Options{Entries: []credential.Entry{{Source: "helper", Helper: "hang"}}}, "r.example.com", "r.example.com/a")
	if !errors.Is(err, stop) {
		t.Errorf("got error %v, want that of the context", err)
	}
	var sleep string
	select {
	case sleep = <-child:
	case <-time.After(10 * time.Second):
		t.Fatal("the helper has not begun")
	}
	// The signal is on its way when the call returns.
	for deadline := time.Now().Add(5 * time.Second); ; time.Sleep(time.Millisecond) {
		state, err := os.ReadFile("/proc/" + sleep + "/stat")
		if err != nil || strings.Contains(string(state), ") Z ") {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("the helper's child still runs: %s", state)
		}
	}
}

// TestDetached has programs say whether they lead a session of their own and
// which variables they got.
func TestDetached(t *testing.T) {
	h := newHome(t)
	t.Setenv("GPG_TTY", "/dev/pts/0")
	const look = `read -r _ _ _ _ _ session _ </proc/self/stat
[ "$session" = $$ ] && session=own
`
	h.script("docker-credential-look", look+`echo "{\"Username\":\"$session$GPG_TTY\",\"Secret\":\"canary\"}"`)
	h.script("look", look+`echo "$session$GPG_TTY"`)
	bin := filepath.Dir(h.script("cloud", look+`
echo "{\"kind\":\"CredentialProviderResponse\",\"auth\":{\"a.cloud.example.com\":{\"username\":\"$session$GPG_TTY\",\"password\":\"canary\"}}}"`))
	for name, entry := range map[string]credential.Entry{
		"helper":              {Source: "helper", Helper: "look"},
		"command":             {Source: "password", Username: "me", PasswordCommand: []string{"look"}},
		"credential provider": {Source: "credential-provider", Config: h.write("config.yaml", providerConfig, 0o600), BinDir: bin},
	} {
		for _, detached := range []bool{false, true} {
			o := credential.Options{Entries: []credential.Entry{entry}, Detached: detached}
			cred, err := h.find(o, "a.cloud.example.com", "a.cloud.example.com/app")
			if err != nil {
				t.Fatal(err)
			}
			said := cred.Username
			if entry.PasswordCommand != nil {
				said = cred.Password
			}
			if alone := said == "own"; alone != detached || !detached && !strings.HasSuffix(said, "/dev/pts/0") {
				t.Errorf("%s, detached %v: got session and terminal %q", name, detached, said)
			}
		}
	}
}

func TestValidateEntries(t *testing.T) {
	for _, tc := range []struct {
		entry credential.Entry
		want  string
	}{
		{credential.Entry{}, `credential source ""`},
		{credential.Entry{Source: "helper"}, "needs helper"},
		{credential.Entry{Source: "password", Username: "u"}, "needs exactly one of password"},
		{credential.Entry{Source: "password", Password: "canary"}, "needs username"},
		{credential.Entry{Source: "password", Username: "u", Password: "canary", PasswordEnv: "X"}, "needs exactly one of password"},
		{credential.Entry{Source: "registry-token"}, "needs exactly one of token_file"},
		{credential.Entry{Source: "registry-token", IdentityToken: "canary"}, "identity_token does not belong"},
		{credential.Entry{Source: "anonymous", Username: "u"}, "username does not belong"},
		{credential.Entry{Source: "authfile"}, "needs path"},
		{credential.Entry{Source: "credential-provider", Config: "x"}, "needs bin_dir"},
		{credential.Entry{Source: "anonymous", Match: []string{"*", "https://r.example.com"}}, "fits nothing"},
	} {
		err := tc.entry.Validate()
		if err == nil || !strings.Contains(err.Error(), tc.want) || strings.Contains(err.Error(), "canary") {
			t.Errorf("%+v: got %v, want an error with %q", tc.entry, err, tc.want)
		}
	}
}

const providerConfig = `
apiVersion: kubelet.config.k8s.io/v1
kind: CredentialProviderConfig
providers:
- name: cloud
  apiVersion: credentialprovider.kubelet.k8s.io/v1
  matchImages: ["*.cloud.example.com", "*.*.cloud.example.com:5000/team"]
  defaultCacheDuration: "12h"
  args: [get]
  env: [{name: REGION, value: north}]
- name: broken
  apiVersion: credentialprovider.kubelet.k8s.io/v1
  matchImages: ["broken.example.com"]
`

func TestCredentialProvider(t *testing.T) {
	h := newHome(t)
	bin := filepath.Dir(h.script("cloud", `
cat >"$0.request"
echo '{"kind":"CredentialProviderResponse","apiVersion":"credentialprovider.kubelet.k8s.io/v1","cacheKeyType":"Image",
"auth":{"*.cloud.example.com":{"username":"'"$1-$REGION"'","password":"canary"},"*.cloud.example.com/team":{"username":"team","password":"canary"},"*.*.cloud.example.com:5000":{"username":"port","password":"canary"}}}'`))
	h.script("broken", `echo "no permission" >&2; exit 2`)
	o := credential.Options{Entries: []credential.Entry{{Source: "credential-provider", Config: h.write("config.yaml", providerConfig, 0o600), BinDir: bin}}}
	for _, tc := range []struct{ host, path, want string }{
		{"a.cloud.example.com", "app", "get-north"},
		{"a.cloud.example.com", "team/app", "team"},
		{"a.b.cloud.example.com:5000", "team/app", "port"},
		{"a.b.cloud.example.com:5000", "app", ""},
		{"a.b.cloud.example.com", "team/app", ""},
		{"cloud.example.com", "app", ""},
		{"other.example.com", "app", ""},
	} {
		cred, err := h.find(o, tc.host, tc.host+"/"+tc.path)
		if err != nil {
			t.Fatal(err)
		}
		if cred.Username != tc.want {
			t.Errorf("user at %s/%s: got %q, want %q", tc.host, tc.path, cred.Username, tc.want)
		}
	}
	request, err := os.ReadFile(filepath.Join(bin, "cloud.request"))
	if err != nil {
		t.Fatal(err)
	}
	const want = `{"kind":"CredentialProviderRequest","apiVersion":"credentialprovider.kubelet.k8s.io/v1","image":"a.b.cloud.example.com:5000/team/app"}`
	if got := string(request); got != want {
		t.Errorf("request: got %s, want %s", got, want)
	}
}
