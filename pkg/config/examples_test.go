package config_test

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/containerd-pull/containerd-pull/pkg/config"
	"github.com/containerd-pull/containerd-pull/pkg/internal/pulltest"
	"github.com/containerd-pull/containerd-pull/pkg/internal/pulltest/testregistry"
	"github.com/containerd-pull/containerd-pull/pkg/pull"
	"github.com/containerd-pull/containerd-pull/pkg/registry"
	"github.com/containerd-pull/containerd-pull/pkg/registry/credential"
	"github.com/containerd-pull/containerd-pull/pkg/source"
	"github.com/containerd-pull/containerd-pull/pkg/store/root"
	"github.com/containerd-pull/containerd-pull/pkg/trust"
)

// example is one of the examples of docs/profiles.md with a world in which it
// works: names of hosts that stand for those of the text.
type example struct {
	number  string
	refs    []string // as in the text; all of them are pulled
	profile string   // that they choose
	args    []string
	env     map[string]string
	stands  func(w *world) map[string]string // hosts of the text to hosts of the world
	want    map[string]string                // settings of the last reference
}

// world has the registries and folders of one example.
type world struct {
	t    *testing.T
	root string
}

func (w *world) registry(o testregistry.Options, names ...string) *testregistry.Registry {
	w.t.Helper()
	r := testregistry.Start(w.t, o)
	img := pulltest.SmallImage(pulltest.Gzip)
	for _, name := range names {
		testregistry.Push(w.t, r, name, img)
	}
	return r
}

func (w *world) write(name, text string, mode os.FileMode) {
	w.t.Helper()
	path := filepath.Join(w.root, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		w.t.Fatal(err)
	}
	if err := pulltest.WriteProgram(path, text, mode); err != nil {
		w.t.Fatal(err)
	}
}

// load reads the files of the world as the command would.
func (w *world) load(c call) (config.Caller, *config.Settings) {
	w.t.Helper()
	caller := c.caller(w.t)
	caller.Root = w.root
	flags, err := c.flags(w.t, caller)
	if err != nil {
		w.t.Fatal(err)
	}
	settings, err := config.Load(caller, flags)
	if err != nil {
		w.t.Fatal(err)
	}
	return caller, settings
}

// basic are the options of a registry that asks for a user and a password.
func basic(user string) testregistry.Options {
	return testregistry.Options{Basic: &testregistry.Credentials{User: user, Password: "canary"}}
}

func at(r *testregistry.Registry) map[string]string {
	return map[string]string{"registry.example.com": r.Host()}
}

func examples() []example {
	const app = "registry.example.com/team/app:1.2"
	return []example{
		{number: "1", refs: []string{app}, profile: "company", stands: func(w *world) map[string]string {
			o := basic("robot")
			o.TLS = true
			r := w.registry(o, "team/app:1.2")
			w.write("/etc/containerd-pull/company-ca.pem", string(r.CA()), 0o644)
			w.write("/etc/containerd-pull/company.pass", "canary\n", 0o600)
			return at(r)
		}},
		{number: "2", refs: []string{"library/app:1.2"}, profile: "hub", stands: func(w *world) map[string]string {
			w.write("/etc/containerd-pull/cache.pass", "canary\n", 0o600)
			r := w.registry(basic("robot"), "library/app:1.2")
			return map[string]string{"https://cache.example.com": r.URL(), "cache.example.com": r.Host()}
		}},
		{number: "3", refs: []string{"123456789012.dkr.ecr.eu-central-1.amazonaws.com/team/app:1.2"}, profile: "ecr", stands: func(w *world) map[string]string {
			w.write("/bin/docker-credential-ecr-login", "#!/bin/sh\necho '{\"Username\":\"AWS\",\"Secret\":\"canary\"}'\n", 0o755)
			r := w.registry(basic("AWS"), "team/app:1.2")
			return map[string]string{"*.dkr.ecr.*.amazonaws.com": r.Host(), "123456789012.dkr.ecr.eu-central-1.amazonaws.com": r.Host()}
		}},
		{number: "4", refs: []string{"quay.io/team/app:1.2"}, profile: "site", stands: func(w *world) map[string]string {
			r := w.registry(testregistry.Options{TLS: true}, "team/app:1.2")
			w.write("/etc/containerd-pull/site-ca.pem", string(r.CA()), 0o644)
			return map[string]string{"mirror.internal.example.com": r.Host()}
		}},
		{number: "5", refs: []string{"registry.example.com/prod/app:1.2"}, profile: "node",
			want: map[string]string{"namespace": "k8s.io", "labels": "io.cri-containerd.image=managed"},
			stands: func(w *world) map[string]string {
				r := w.registry(basic("node"), "prod/app:1.2")
				w.write("/etc/kubernetes/credential-providers.yaml", `{kind: CredentialProviderConfig, apiVersion: kubelet.config.k8s.io/v1,
providers: [{name: cloud, apiVersion: credentialprovider.kubelet.k8s.io/v1, matchImages: ["`+r.Host()+`"], defaultCacheDuration: 1h}]}`, 0o644)
				w.write("/usr/libexec/kubernetes/credential-providers/cloud", `#!/bin/sh
cat >/dev/null
echo '{"kind":"CredentialProviderResponse","apiVersion":"credentialprovider.kubelet.k8s.io/v1","auth":{"`+r.Host()+`":{"username":"node","password":"canary"}}}'
`, 0o755)
				return at(r)
			}},
		{number: "6", refs: []string{app}, profile: "ci", args: []string{"-p", "ci"},
			env:  map[string]string{"DOCKER_AUTH_CONFIG": `{"auths":{"registry.example.com":{"username":"ci","password":"canary"}}}`},
			want: map[string]string{"timeout": "10m0s", "labels": "ci.example.com/built=2001-09-09T01:46:40Z"},
			stands: func(w *world) map[string]string {
				return at(w.registry(testregistry.Options{Token: &testregistry.TokenOptions{Credentials: &testregistry.Credentials{User: "ci", Password: "canary"}}}, "team/app:1.2"))
			}},
		{number: "7", refs: []string{"registry.example.com/me/app:1.2"}, profile: "mine",
			want: map[string]string{"snapshotter": "native"},
			stands: func(w *world) map[string]string {
				r := w.registry(basic("me"), "me/app:1.2")
				w.write("/run/user/1000/containers/auth.json", `{"auths":{"`+r.Host()+`":{"auth":"bWU6Y2FuYXJ5"}}}`, 0o600)
				return at(r)
			}},
		{number: "8", refs: []string{"registry.example.com/big/app:1.2", "registry.example.com/small/app:1.2"}, profile: "plain",
			want: map[string]string{"snapshotter": "native", "platforms": "linux/amd64", "labels": "example.com/owner=platform-team,example.com/snapshotter=native"},
			stands: func(w *world) map[string]string {
				return at(w.registry(testregistry.Options{}, "big/app:1.2", "small/app:1.2"))
			}},
		{number: "9", refs: []string{"registry.example.com/edge/app:1.2"}, profile: "edge",
			want: map[string]string{"limits.downloads": "1", "retry.count": "100", "retry.delay": "5s", "stall_timeout": "1m0s", "limits.min_rate": "1000"},
			stands: func(w *world) map[string]string {
				return at(w.registry(testregistry.Options{}, "edge/app:1.2"))
			}},
		{number: "10", refs: []string{app}, profile: "bake", args: []string{"-p", "bake"},
			env:  map[string]string{"BAKE_PASSWORD": "canary", "SOURCE_DATE_EPOCH": "1767225600"},
			want: map[string]string{"root": "/mnt/image/var/lib/containerd", "labels": "example.com/baked=2026-01-01T00:00:00Z"},
			stands: func(w *world) map[string]string {
				return at(w.registry(basic("baker"), "team/app:1.2"))
			}},
		{number: "11", refs: []string{"app:1.2"}, profile: "prod", args: []string{"-p", "prod"},
			want: map[string]string{"namespace": "prod", "platforms": "linux/amd64", "labels": "example.com/stage=prod"},
			stands: func(w *world) map[string]string {
				o := basic("prod")
				o.TLS = true
				r := w.registry(o, "library/app:1.2")
				w.write("/etc/containerd-pull/company-ca.pem", string(r.CA()), 0o644)
				w.write("/etc/containerd-pull/prod.pass", "canary\n", 0o600)
				return at(r)
			}},
		{number: "12", refs: []string{app}, profile: "audited", want: map[string]string{"verify.mode": "pinned"}, stands: func(w *world) map[string]string {
			r := w.registry(testregistry.Options{}, "team/app:1.2")
			img := pulltest.SmallImage(pulltest.Gzip)
			return map[string]string{"registry.example.com": r.Host(), "sha256:" + strings.Repeat("5f", 32): img.Desc.Digest.String()}
		}},
	}
}

// exampleTexts are the TOML blocks of docs/profiles.md by the number of their
// heading.
func exampleTexts(t *testing.T) map[string]string {
	t.Helper()
	page, err := os.ReadFile("../../docs/profiles.md")
	if err != nil {
		t.Fatal(err)
	}
	texts := map[string]string{}
	for _, m := range regexp.MustCompile("(?s)\n## ([0-9]+)\\. [^\n]*\n.*?```toml\n(.*?)```").FindAllStringSubmatch(string(page), -1) {
		texts[m[1]] = m[2]
	}
	return texts
}

// TestExamples pulls with each example of docs/profiles.md; with -short, with
// the first few.
func TestExamples(t *testing.T) {
	texts := exampleTexts(t)
	s := schema(t)
	if got, want := len(texts), len(examples()); got != want {
		t.Errorf("examples in docs/profiles.md: got %d, want %d", got, want)
	}
	all := examples()
	if testing.Short() {
		all = all[:2]
	}
	for _, e := range all {
		t.Run(e.number, func(t *testing.T) {
			if err := accepts(t, s, texts[e.number]); err != nil {
				t.Errorf("the schema refuses the example: %v", err)
			}
			e.run(t, texts[e.number])
		})
	}
}

func (e example) run(t *testing.T, text string) {
	w := &world{t: t, root: t.TempDir()}
	t.Setenv("PATH", filepath.Join(w.root, "bin")+":"+os.Getenv("PATH"))
	var pairs []string
	for from, to := range e.stands(w) {
		if strings.HasPrefix(from, "https://") { // longer than the host in it
			pairs = append([]string{from, to}, pairs...)
		} else {
			pairs = append(pairs, from, to)
		}
	}
	hosts := strings.NewReplacer(pairs...)
	text = regexp.MustCompile(`"(/etc/|/usr/|/run/|/mnt/)`).ReplaceAllString(text, `"`+w.root+"$1")
	w.write(system, hosts.Replace(text), 0o600)

	env := map[string]string{"NERDCTL_TOML": ""}
	for name, text := range e.env {
		env[name] = hosts.Replace(text)
	}
	c := call{args: e.args, env: env}
	if e.profile != "bake" {
		c.args = append(c.args, "--root", filepath.Join(w.root, "store"))
	}
	caller, settings := w.load(c)
	var cfg *config.Config
	for _, ref := range e.refs {
		cfg = pullWith(t, caller, settings, hosts.Replace(ref))
	}
	if cfg.Profile != e.profile {
		t.Errorf("profile: got %q, want %q", cfg.Profile, e.profile)
	}
	for name, want := range e.want {
		if got, _ := resolved(t, cfg, name); strings.ReplaceAll(got, w.root, "") != want {
			t.Errorf("%s: got %q, want %q", name, got, want)
		}
	}
}

// pullWith pulls as the command does, without unpacking, and checks that the
// image is registered with its labels.
func pullWith(t *testing.T, caller config.Caller, settings *config.Settings, name string) *config.Config {
	t.Helper()
	return pullWithOwn(t, caller, settings, name, nil)
}

// pullWithOwn is pullWith with a credential of the command line.
func pullWithOwn(t *testing.T, caller config.Caller, settings *config.Settings, name string, own *credential.Credential) *config.Config {
	t.Helper()
	cfg, err := tryPull(t, caller, settings, name, own)
	if err != nil {
		t.Fatal(err)
	}
	return cfg
}

// tryPull is pullWithOwn for a pull that may fail.
func tryPull(t *testing.T, caller config.Caller, settings *config.Settings, name string, own *credential.Credential) (*config.Config, error) {
	t.Helper()
	ref, err := source.ParseRef(name)
	if err != nil {
		t.Fatal(err)
	}
	cfg, err := settings.Resolve(ref)
	if err != nil {
		t.Fatal(err)
	}
	cfg.Store.Snapshotter, cfg.Request.Unpack = "native", pull.UnpackNever
	if cfg.Registry.Credentials, err = credential.New(cfg.CredentialOptions(caller, own)); err != nil {
		t.Fatal(err)
	}
	reg, err := registry.New(cfg.Registry)
	if err != nil {
		t.Fatal(err)
	}
	st, err := root.Open(t.Context(), cfg.Store)
	if err != nil {
		t.Fatal(err)
	}
	defer st.Close()
	req := cfg.Request
	req.Ref = ref
	verifier, err := trust.New(cfg.Verify)
	if err != nil {
		t.Fatal(err)
	}
	req.Ref, err = cfg.Verify.Pin(ref)
	if err != nil {
		t.Fatal(err)
	}
	p := pull.Puller{Store: st, Source: reg, Verifier: verifier, Limits: cfg.Limits}
	if _, err := p.Pull(t.Context(), req); err != nil {
		return cfg, err
	}
	img, err := st.Image(st.Context(t.Context()), ref.Name)
	if err != nil || img == nil {
		t.Fatalf("record of %s: got %v, %v", ref.Name, img, err)
	}
	for key, want := range cfg.Request.Labels {
		if got := img.Labels[key]; got != want {
			t.Errorf("label %s: got %q, want %q", key, got, want)
		}
	}
	return cfg, nil
}
