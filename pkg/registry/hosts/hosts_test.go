package hosts_test

import (
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"maps"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/containerd/errdefs"
	"github.com/google/go-cmp/cmp"

	"github.com/containerd-pull/containerd-pull/pkg/failure"
	"github.com/containerd-pull/containerd-pull/pkg/registry/hosts"
	"github.com/containerd-pull/containerd-pull/pkg/source"
)

// shown is what can be compared of a Host.
type shown struct {
	Name, URL, Fallback        string
	Pull, Resolve, Mirror      bool
	SkipVerify, CA, ClientCert bool
	Headers                    []string
}

func show(h hosts.Host) shown {
	s := shown{
		Name: h.Name, URL: h.URL(), Pull: h.Pull, Resolve: h.Resolve, Mirror: h.Mirror,
		SkipVerify: h.TLS.InsecureSkipVerify, CA: h.TLS.RootCAs != nil, ClientCert: len(h.TLS.Certificates) > 0,
		Headers: slices.Sorted(maps.Keys(h.Header)),
	}
	if len(h.Schemes) > 1 {
		s.Fallback = h.Schemes[1]
	}
	return s
}

// list finds the hosts of ref's registry.
func list(t *testing.T, o hosts.Options, ref string) ([]hosts.Host, error) {
	t.Helper()
	finder, err := hosts.New(o)
	if err != nil {
		return nil, err
	}
	parsed, err := source.ParseRef(ref)
	if err != nil {
		t.Fatal(err)
	}
	return finder.Find(t.Context(), source.CanonicalHost(parsed.Domain))
}

func find(t *testing.T, o hosts.Options, ref string) ([]shown, error) {
	t.Helper()
	found, err := list(t, o, ref)
	var all []shown
	for _, h := range found {
		all = append(all, show(h))
	}
	return all, err
}

func writeFile(t *testing.T, path, text string) {
	t.Helper()
	if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, []byte(text), 0o600)); err != nil {
		t.Fatal(err)
	}
}

// hostsDir is a hosts directory with one hosts.toml.
func hostsDir(t *testing.T, name, toml string) string {
	t.Helper()
	dir := t.TempDir()
	writeFile(t, filepath.Join(dir, name, "hosts.toml"), toml)
	return dir
}

// certificates returns one certificate as CA, and as a pair.
func certificates(t *testing.T) (ca, cert, key string) {
	t.Helper()
	srv := httptest.NewTLSServer(nil)
	defer srv.Close()
	pkcs8, err := x509.MarshalPKCS8PrivateKey(srv.TLS.Certificates[0].PrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	cert = string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: srv.Certificate().Raw}))
	return cert, cert, string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: pkcs8}))
}

func TestOrder(t *testing.T) {
	dir := hostsDir(t, "docker.io", `server = "https://registry-1.docker.io"
[host."https://z.example.com"]
  capabilities = ["pull"]
[host."http://a.example.com:5000/hub"]
  capabilities = ["pull", "resolve"]
  skip_verify = false
  [host."http://a.example.com:5000/hub".header]
    x-b = "1"
    x-a = "2"
[host."https://m.example.com/api"]
  override_path = true
`)
	got, err := find(t, hosts.Options{Dirs: []string{dir}}, "alpine")
	if err != nil {
		t.Fatal(err)
	}
	want := []shown{
		{Name: "z.example.com", URL: "https://z.example.com/v2", Pull: true, Mirror: true},
		{Name: "a.example.com:5000", URL: "https://a.example.com:5000/hub/v2", Fallback: "http", Pull: true, Resolve: true, Mirror: true, Headers: []string{"x-a", "x-b"}},
		{Name: "m.example.com", URL: "https://m.example.com/api", Pull: true, Resolve: true, Mirror: true},
		{Name: "registry-1.docker.io", URL: "https://registry-1.docker.io/v2", Pull: true, Resolve: true},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("hosts (-want +got):\n%s", diff)
	}
}

func TestWithoutConfiguration(t *testing.T) {
	for ref, want := range map[string]shown{
		"alpine":                 {Name: "registry-1.docker.io", URL: "https://registry-1.docker.io/v2", Pull: true, Resolve: true},
		"registry-1.docker.io/x": {Name: "registry-1.docker.io", URL: "https://registry-1.docker.io/v2", Pull: true, Resolve: true},
		"ghcr.io/x":              {Name: "ghcr.io", URL: "https://ghcr.io/v2", Pull: true, Resolve: true},
		"localhost:5000/x":       {Name: "localhost:5000", URL: "http://localhost:5000/v2", Fallback: "https", Pull: true, Resolve: true, SkipVerify: true},
		"127.0.0.9/x":            {Name: "127.0.0.9", URL: "http://127.0.0.9/v2", Fallback: "https", Pull: true, Resolve: true, SkipVerify: true},
	} {
		got, err := find(t, hosts.Options{Dirs: []string{filepath.Join(t.TempDir(), "absent")}}, ref)
		if diff := cmp.Diff([]shown{want}, got); err != nil || diff != "" {
			t.Errorf("%s: got %v, hosts (-want +got):\n%s", ref, err, diff)
		}
	}
}

func TestDirectory(t *testing.T) {
	entry := func(dir, name, server string) {
		writeFile(t, filepath.Join(dir, name, "hosts.toml"), fmt.Sprintf("server = %q\n", server))
	}
	first, second := t.TempDir(), t.TempDir()
	entry(first, "_default", "https://default.example.com")
	entry(second, "_default", "https://second-default.example.com")
	entry(second, "reg.example.com", "https://by-name.example.com")
	entry(second, "port.example.com_5000_", "https://underscores.example.com")
	entry(second, "port.example.com:5000", "https://colon.example.com")
	entry(second, "tls.example.com", "https://without-443.example.com")
	entry(second, "index.docker.io", "https://hub.example.com")
	entry(second, "plain.example.com:443", "https://with-443.example.com")
	for ref, want := range map[string]string{
		"reg.example.com/x":       "https://by-name.example.com/v2",
		"port.example.com:5000/x": "https://underscores.example.com/v2",
		"tls.example.com:443/x":   "https://without-443.example.com/v2",
		"plain.example.com/x":     "https://with-443.example.com/v2",
		"alpine":                  "https://hub.example.com/v2",
		"other.example.com/x":     "https://default.example.com/v2",
	} {
		got, err := find(t, hosts.Options{Dirs: []string{first, second}}, ref)
		if err != nil || len(got) != 1 || got[0].URL != want {
			t.Errorf("%s: got %+v and %v, want %s", ref, got, err, want)
		}
	}
}

func TestDirectoryThatCannotBeUsed(t *testing.T) {
	for name, toml := range map[string]string{
		"syntax":     `server = "https://x`,
		"capability": "[host.\"https://x.example.com\"]\ncapabilities = [\"fly\"]",
		"no such CA": "server = \"https://reg.example.com\"\nca = \"absent.pem\"",
	} {
		dir := hostsDir(t, "reg.example.com", toml)
		_, err := find(t, hosts.Options{Dirs: []string{dir}}, "reg.example.com/x")
		if !errdefs.IsFailedPrecondition(err) || !strings.Contains(err.Error(), "reg.example.com") {
			t.Errorf("%s: got %v, want a failed precondition that names the file", name, err)
		}
	}
	dir := t.TempDir()
	writeFile(t, filepath.Join(dir, "reg.example.com", "hosts.toml", "file"), "a folder where a file should be")
	_, err := find(t, hosts.Options{Dirs: []string{dir}}, "reg.example.com/x")
	if !errdefs.IsFailedPrecondition(err) {
		t.Errorf("got %v, want a failed precondition", err)
	}
}

func TestDockerCertificates(t *testing.T) {
	dir := t.TempDir()
	ca, cert, key := certificates(t)
	writeFile(t, filepath.Join(dir, "reg.example.com", "ca.crt"), ca)
	writeFile(t, filepath.Join(dir, "reg.example.com", "client.cert"), cert)
	writeFile(t, filepath.Join(dir, "reg.example.com", "client.key"), key)
	got, err := find(t, hosts.Options{Dirs: []string{dir}}, "reg.example.com/x")
	want := []shown{{Name: "reg.example.com", URL: "https://reg.example.com/v2", Pull: true, Resolve: true, CA: true, ClientCert: true}}
	if diff := cmp.Diff(want, got); err != nil || diff != "" {
		t.Errorf("got %v, hosts (-want +got):\n%s", err, diff)
	}
}

func TestMirrors(t *testing.T) {
	ca, cert, key := certificates(t)
	dir := t.TempDir()
	for name, text := range map[string]string{"ca": ca, "cert": cert, "key": key} {
		writeFile(t, filepath.Join(dir, name), text)
	}
	o := hosts.Options{Mirrors: []hosts.Mirror{
		{Host: "index.docker.io", Endpoints: []string{"m.example.com", "http://n.example.com/hub/"}, Headers: map[string]string{"X-A": "1"}},
		{Host: "*", Endpoints: []string{"https://any.example.com/root"}, OverridePath: true, Resolve: true, SkipVerify: true,
			CA: filepath.Join(dir, "ca"), Cert: filepath.Join(dir, "cert"), Key: filepath.Join(dir, "key")},
		{Host: "ghcr.io", Endpoints: []string{"other.example.com"}},
	}}
	got, err := find(t, o, "alpine")
	want := []shown{
		{Name: "m.example.com", URL: "https://m.example.com/v2", Pull: true, Mirror: true, Headers: []string{"X-A"}},
		{Name: "n.example.com", URL: "http://n.example.com/hub/v2", Pull: true, Mirror: true, Headers: []string{"X-A"}},
		{Name: "any.example.com", URL: "https://any.example.com/root", Pull: true, Resolve: true, Mirror: true, SkipVerify: true, CA: true, ClientCert: true},
		{Name: "registry-1.docker.io", URL: "https://registry-1.docker.io/v2", Pull: true, Resolve: true},
	}
	if diff := cmp.Diff(want, got); err != nil || diff != "" {
		t.Errorf("got %v, hosts (-want +got):\n%s", err, diff)
	}
	for name, m := range map[string]hosts.Mirror{
		"scheme":   {Host: "*", Endpoints: []string{"ftp://x"}},
		"no host":  {Host: "*", Endpoints: []string{"https://"}},
		"user":     {Host: "*", Endpoints: []string{"https://me:canary@x"}},
		"query":    {Host: "*", Endpoints: []string{"https://x?token=canary"}},
		"fragment": {Host: "*", Endpoints: []string{"https://x#canary"}},
		"path":     {Host: "docker.io/library", Endpoints: []string{"x"}},
		"URL":      {Host: "https://docker.io", Endpoints: []string{"x"}},
		"pattern":  {Host: "*.example.com", Endpoints: []string{"x"}},
		"half":     {Host: "*", Endpoints: []string{"x"}, Cert: "cert"},
		"no CA":    {Host: "*", Endpoints: []string{"x"}, CA: filepath.Join(dir, "absent")},
		"wrong CA": {Host: "*", Endpoints: []string{"x"}, CA: filepath.Join(dir, "key")},
	} {
		_, err := find(t, hosts.Options{Mirrors: []hosts.Mirror{m}}, "alpine")
		if !errdefs.IsInvalidArgument(err) || strings.Contains(err.Error(), "canary") {
			t.Errorf("%s: got %v, want an invalid argument without a secret", name, err)
		}
	}
}

// TestLast marks the hosts that no other stands behind: for blobs, and for tags.
func TestLast(t *testing.T) {
	const mirror = "[host.\"https://m.example.com\"]\ncapabilities = [\"pull\"]\n"
	for own, want := range map[string][]bool{
		"":                               {false, true},
		"capabilities = [\"resolve\"]\n": {true, false},
		"capabilities = [\"resolve\", \"pull\"]\n": {false, true},
	} {
		dir := hostsDir(t, "reg.example.com", "server = \"https://reg.example.com\"\n"+own+mirror)
		found, err := list(t, hosts.Options{Dirs: []string{dir}}, "reg.example.com/x")
		if err != nil {
			t.Fatal(err)
		}
		var got []bool
		for _, h := range found {
			got = append(got, h.Last)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%q: last hosts (-want +got):\n%s", own, diff)
		}
	}
}

func TestNewRefuses(t *testing.T) {
	dir := t.TempDir()
	empty := filepath.Join(dir, "empty.pem")
	writeFile(t, empty, "nothing")
	for name, c := range map[string]struct {
		o    hosts.Options
		says string
	}{
		"certificate alone": {hosts.Options{Cert: "c.pem"}, "both or none"},
		"key alone":         {hosts.Options{Key: "k.pem"}, "both or none"},
		"plain with skip":   {hosts.Options{PlainHTTP: true, SkipVerify: true}, "plain HTTP"},
		"plain with CA":     {hosts.Options{PlainHTTP: true, CA: empty}, "plain HTTP"},
		"plain with a pair": {hosts.Options{PlainHTTP: true, Cert: "c", Key: "k"}, "plain HTTP"},
		"no CA":             {hosts.Options{CA: filepath.Join(dir, "absent.pem")}, "absent.pem"},
		"empty CA":          {hosts.Options{CA: empty}, "empty.pem"},
		"no pair":           {hosts.Options{Cert: filepath.Join(dir, "c"), Key: filepath.Join(dir, "k")}, "client certificate"},
		"mirror":            {hosts.Options{Mirrors: []hosts.Mirror{{Host: "*.example.com"}}}, "mirrors[0]"},
	} {
		if _, err := hosts.New(c.o); !errdefs.IsInvalidArgument(err) || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: got %v, want an invalid argument about %s", name, err, c.says)
		}
	}
	if _, err := hosts.New(hosts.Options{}); err != nil {
		t.Errorf("got %v, want the zero value to work", err)
	}
}

// TestM4MirrorsAndFoldersOfAllSpellings: mirrors and folders are found for a host
// however it, they and the reference are spelled.
func TestM4MirrorsAndFoldersOfAllSpellings(t *testing.T) {
	for canonical, spellings := range map[string][]string{
		"reg.example.com":      {"reg.example.com", "REG.Example.com:443", "reg.example.com:0443"},
		"reg.example.com:5000": {"reg.example.com:5000", "Reg.example.com:05000"},
		"[::1]:5000":           {"[::1]:5000", "[0:0::1]:5000"},
		"docker.io":            {"docker.io", "registry-1.docker.io", "DOCKER.IO:443"},
	} {
		for _, mirrored := range spellings {
			dir := t.TempDir()
			folder := filepath.Join(dir, mirrored)
			if err := os.MkdirAll(folder, 0o755); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(filepath.Join(folder, "hosts.toml"), []byte("[host.'https://folder.example']\ncapabilities = ['pull']\n"), 0o644); err != nil {
				t.Fatal(err)
			}
			o := hosts.Options{Dirs: []string{dir}, Mirrors: []hosts.Mirror{{Host: mirrored, Endpoints: []string{"https://mirror.example"}}}}
			for _, typed := range spellings {
				got, err := find(t, o, typed+"/team/app")
				if err != nil || len(got) != 3 || got[0].Name != "mirror.example" || got[1].Name != "folder.example" || got[2].Name != source.ContactedHost(canonical) || got[2].Mirror {
					t.Errorf("hosts of %s, mirrored as %s: got %+v, %v, want mirror, folder and %s", typed, mirrored, got, err, canonical)
				}
			}
			if other, err := find(t, o, "other.example.com/team/app"); err != nil || len(other) != 1 {
				t.Errorf("hosts of another registry: got %+v, %v, want itself", other, err)
			}
		}
	}
}

// TestServerIsOwnHost: however server spells the registry's own name, its settings
// count (containerd#8053, eks-anywhere#10765), and Docker Hub is where its API is
// (harbor#18530).
func TestServerIsOwnHost(t *testing.T) {
	for registry, servers := range map[string][]string{
		"reg.example.com":      {"https://reg.example.com", "https://reg.example.com:443", "https://REG.Example.com:0443", "reg.example.com", "https://reg.example.com./", "https://reg.example.com/v2"},
		"reg.example.com:5000": {"https://reg.example.com:5000", "https://Reg.Example.com:05000"},
		"docker.io":            {"https://docker.io", "https://index.docker.io", "https://registry-1.docker.io", "https://Docker.io:443", "docker.io"},
	} {
		for _, server := range servers {
			dir := t.TempDir()
			writeFile(t, filepath.Join(dir, registry, "hosts.toml"), "server = '"+server+"'\n[host.'https://docker.io']\ncapabilities = ['pull']\n")
			got, err := list(t, hosts.Options{Dirs: []string{dir}, SkipVerify: true, Login: true}, registry+"/team/app")
			if err != nil {
				t.Errorf("%s with server %q: got %v", registry, server, err)
				continue
			}
			own := got[len(got)-1]
			if own.Mirror || own.Namespace != "" || !own.TLS.InsecureSkipVerify || source.CanonicalHost(own.Name) != registry || got[0].Name != "registry-1.docker.io" {
				t.Errorf("%s with server %q: got %+v, want its own host with its settings, and Docker Hub by its API", registry, server, got)
			}
		}
	}
	got, err := list(t, hosts.Options{Mirrors: []hosts.Mirror{{Host: "reg.example.com", Endpoints: []string{"https://docker.io"}}}}, "reg.example.com/app")
	if err != nil || got[0].Name != "registry-1.docker.io" {
		t.Errorf("a mirror on Docker Hub: got %+v and %v", got, err)
	}
}

// TestServerIsAnotherHost: settings for the own host that would reach no host are an
// error that names them, and the way out; without any, the server is asked.
func TestServerIsAnotherHost(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "reg.example.com", "hosts.toml")
	writeFile(t, path, "server = 'https://other.example.com'\n")
	ca := filepath.Join(dir, "ca.pem")
	text, _, _ := certificates(t)
	writeFile(t, ca, text)
	for says, o := range map[string]hosts.Options{
		"plain_http":                         {PlainHTTP: true},
		"insecure_registry":                  {Insecure: true},
		"tls.skip_verify":                    {SkipVerify: true},
		"tls.ca":                             {CA: ca},
		"the credential of the command line": {Login: true},
	} {
		o.Dirs = []string{dir}
		_, err := list(t, o, "reg.example.com/app")
		if !errdefs.IsFailedPrecondition(err) || !strings.Contains(err.Error(), says) || !strings.Contains(err.Error(), path) || !strings.Contains(failure.HintOf(err), "other.example.com") {
			t.Errorf("%s: got %v, want an error that names it and %s", says, err, path)
		}
	}
	if got, err := list(t, hosts.Options{Dirs: []string{dir}}, "reg.example.com/app"); err != nil || got[0].Name != "other.example.com" || !got[0].Mirror {
		t.Errorf("got %+v and %v, want the server", got, err)
	}
	writeFile(t, path, "server = 'https://other.example.com'\n[host.'https://reg.example.com:443']\n")
	if got, err := list(t, hosts.Options{Dirs: []string{dir}, SkipVerify: true}, "reg.example.com/app"); err != nil || !got[0].TLS.InsecureSkipVerify || got[0].Mirror {
		t.Errorf("the own host beside another server: got %+v and %v, want its settings", got, err)
	}
}

// TestFoldersThatAreNotThere warns once of folders that were named, unless one is there.
func TestFoldersThatAreNotThere(t *testing.T) {
	there := t.TempDir()
	for _, tc := range []struct {
		dirs  []string
		found bool
		want  string
	}{
		{nil, false, ""},
		{[]string{there}, false, ""},
		{[]string{there + "/a", there}, false, ""},
		{[]string{there + "/a", there + "/b"}, true, ""},
		{[]string{there + "/a", there + "/b"}, false, "hosts_dir: there is no folder " + there + "/a, nor " + there + "/b"},
	} {
		var warned []string
		f, err := hosts.New(hosts.Options{Dirs: tc.dirs, DirsFound: tc.found, Warn: func(m string) { warned = append(warned, m) }})
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range []string{"a.example.com", "b.example.com"} {
			if _, err := f.Find(t.Context(), name); err != nil {
				t.Fatal(err)
			}
		}
		if got := strings.Join(warned, "; "); got != tc.want {
			t.Errorf("%q, by search %v: got %q, want %q", tc.dirs, tc.found, got, tc.want)
		}
	}
}
