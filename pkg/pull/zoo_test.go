package pull_test

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/containerd-pull/containerd-pull/pkg/internal/pulltest"
	"github.com/containerd-pull/containerd-pull/pkg/internal/pulltest/testregistry"
	"github.com/containerd-pull/containerd-pull/pkg/registry"
	"github.com/containerd-pull/containerd-pull/pkg/registry/credential"
	"github.com/containerd-pull/containerd-pull/pkg/registry/hosts"
	"github.com/containerd-pull/containerd-pull/pkg/source"
)

// visit is one animal of the zoo and a caller of the program.
type visit struct {
	*testregistry.Cage
	program string
	dir     string // of the caller
	image   *pulltest.Image
}

// TestZoo pulls from each of the registries that people use as that answers, and
// looks at every request for what should not be in it.
func TestZoo(t *testing.T) {
	pulltest.Long(t)
	program := build(t)
	for _, animal := range testregistry.Zoo() {
		t.Run(animal.Name, func(t *testing.T) {
			t.Parallel()
			v := newVisit(t, program, animal)
			t.Run("public", v.public)
			t.Run("private", v.private)
			t.Run("refused", v.refused)
			t.Run("missing", v.missing)
			t.Run("cut", v.cut)
			t.Run("tags", v.tags)
			t.Run("update", v.update)
			t.Run("limit", v.limit)
		})
	}
}

func newVisit(t *testing.T, program string, animal testregistry.Animal) *visit {
	t.Helper()
	v := &visit{Cage: testregistry.StartCage(t, animal), program: program, dir: t.TempDir(), image: animalImage(1)}
	for name, text := range map[string]string{
		"ca.pem": string(v.CA()), "none.json": "{}", "right.json": v.authfile(v.Credentials.Password), "wrong.json": v.authfile(wrongPassword),
	} {
		if err := os.WriteFile(v.path(name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for _, repository := range []string{testregistry.PublicRepository, testregistry.PrivateRepository} {
		if err := v.Push(repository+":1.2", v.image); err != nil {
			t.Fatal(err)
		}
	}
	return v
}

// animalImage has one layer that cannot be compressed, large enough to be cut.
func animalImage(seed byte) *pulltest.Image {
	noise := make([]byte, 64<<10)
	rng := rand.NewChaCha8([32]byte{seed})
	rng.Read(noise)
	return pulltest.NewImage(pulltest.Spec{Layers: []pulltest.Layer{pulltest.NewLayer(pulltest.Gzip, pulltest.Regular("noise", string(noise)))}})
}

func (v *visit) path(name string) string { return filepath.Join(v.dir, name) }

const wrongPassword = "wrong-password"

// authfile is a file of credentials, with the key that docker login uses.
func (v *visit) authfile(password string) string {
	key := v.Domain
	if key == "docker.io" {
		key = "https://index.docker.io/v1/"
	}
	auth := base64.StdEncoding.EncodeToString([]byte(v.Credentials.User + ":" + password))
	return fmt.Sprintf(`{"auths":{%q:{"auth":%q}}}`, key, auth)
}

// pull runs a pull with credentials from one of the files, into a root of that name,
// and returns what was asked of the hosts.
func (v *visit) pull(t *testing.T, want int, root, authfile, image string, flags ...string) (requests []testregistry.Request, stdout, stderr string) {
	t.Helper()
	args := append([]string{
		"--root", v.path(root), "--unpack=false", "--progress", "plain", "--retry", "1", "--retry-delay", "1ms",
		"--authfile", v.path(authfile), "--tlscacert", v.path("ca.pem"), v.Domain + "/" + image,
	}, flags...)
	cmd := exec.CommandContext(t.Context(), v.program, args...)
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + v.dir, "HTTPS_PROXY=" + v.Proxy()}
	var out, errs strings.Builder
	cmd.Stdout, cmd.Stderr = &out, &errs
	_ = cmd.Run() // the exit code says it all
	stdout, stderr = out.String(), errs.String()
	requests = v.TakeRequests()
	if code := cmd.ProcessState.ExitCode(); code != want {
		t.Errorf("%s of %s with %s: got exit code %d, want %d: %s", image, v.Domain, authfile, code, want, stderr)
	}
	if want != 0 && !strings.Contains(stderr, "\nhint: ") {
		t.Errorf("%s of %s with %s: got no hint: %s", image, v.Domain, authfile, stderr)
	}
	v.inspect(t, requests, stdout+stderr)
	return requests, stdout, stderr
}

// inspect looks for a secret in requests to hosts that it does not belong to, and in
// what the program says.
func (v *visit) inspect(t *testing.T, requests []testregistry.Request, shown string) {
	t.Helper()
	realm, err := url.Parse(v.Realm)
	if err != nil {
		t.Fatal(err)
	}
	given := v.Given()
	for _, r := range requests {
		atToken := v.Realm != "" && r.Host == realm.Host && r.Path == realm.Path
		scheme, secret, _ := strings.Cut(r.Header.Get("Authorization"), " ")
		switch {
		case scheme == "", scheme == "Basic" && (atToken || v.Realm == "" && r.Host == v.API), scheme == "Bearer" && r.Host == v.API && !atToken:
		default:
			t.Errorf("got %s authorization at https://%s%s, where it does not belong", scheme, r.Host, r.Path)
		}
		if cookie := r.Header.Get("Cookie"); cookie != "" {
			t.Errorf("got the cookie %q at https://%s%s, want none", cookie, r.Host, r.Path)
		}
		for _, private := range append(given, v.Credentials.Password, wrongPassword) {
			if scheme == "Bearer" && secret == private {
				continue
			}
			if query, _ := url.QueryUnescape(r.Query); strings.Contains(query+r.Path+r.Header.Get("Referer"), private) {
				t.Errorf("got a secret in the address of a request to %s: %s?%s", r.Host, r.Path, r.Query)
			}
		}
	}
	for _, private := range append(given, v.Credentials.Password, wrongPassword, testregistry.Signature) {
		if strings.Contains(shown, private) {
			t.Errorf("got the secret %q in what is shown: %s", private, shown)
		}
	}
}

// methods lists the requests to the API that are about manifests and blobs, those
// answered with a challenge left out.
func (v *visit) methods(requests []testregistry.Request) string {
	var list []string
	for _, r := range requests {
		if r.Host == v.API && (r.Kind() == "manifests" || r.Kind() == "blobs") && r.Status != http.StatusUnauthorized {
			list = append(list, r.Method+" "+r.Kind())
		}
	}
	return strings.Join(list, ", ")
}

// public pulls without a credential, where the registry gives something without.
func (v *visit) public(t *testing.T) {
	if v.Guarded {
		v.pull(t, 5, "public", "none.json", testregistry.PublicRepository+":1.2")
		return
	}
	requests, _, _ := v.pull(t, 0, "public", "none.json", testregistry.PublicRepository+":1.2")
	if got, want := v.methods(requests), "GET manifests, GET blobs, GET blobs"; got != want {
		t.Errorf("got requests %s, want %s", got, want)
	}
}

// private pulls with the credential, by tag and then by digest, which is there.
func (v *visit) private(t *testing.T) {
	if v.isOpen() {
		return
	}
	v.pull(t, 0, "private", "right.json", testregistry.PrivateRepository+":1.2")
	requests, _, _ := v.pull(t, 0, "private", "right.json", testregistry.PrivateRepository+"@"+v.image.Desc.Digest.String())
	if got := v.methods(requests); strings.Contains(got, "GET blobs") {
		t.Errorf("got requests %s, want none for blobs that are there", got)
	}
}

// isOpen reports whether the registry asks no client for anything.
func (v *visit) isOpen() bool { return v.Realm == "" && !v.Guarded }

// refused pulls without a credential and with a wrong one, and is told which.
func (v *visit) refused(t *testing.T) {
	if v.isOpen() {
		return
	}
	v.pull(t, 5, "refused", "none.json", testregistry.PrivateRepository+":1.2")
	_, _, stderr := v.pull(t, 5, "refused", "wrong.json", testregistry.PrivateRepository+":1.2")
	if !strings.Contains(stderr, v.path("wrong.json")) {
		t.Errorf("a wrong credential: got %s, want the file that it is from", stderr)
	}
}

// missing asks for a tag and a repository that there are not.
func (v *visit) missing(t *testing.T) {
	v.pull(t, 4, "missing", "right.json", testregistry.PublicRepository+":1.3")
	want := 4
	if v.NoRepository.Status != http.StatusNotFound {
		want = 5
	}
	_, _, stderr := v.pull(t, want, "missing", "right.json", "team/ap:1.2")
	if strings.Contains(stderr, "repository exists") {
		t.Errorf("got %s, want nothing that may be false", stderr)
	}
}

// cut has the layer cut in its middle: the rest is brought.
func (v *visit) cut(t *testing.T) {
	layer := v.image.Layers[0]
	served := func(r *http.Request) bool {
		if v.Storage != "" {
			return r.Host == v.Storage
		}
		return v.isOpen() || r.Header.Get("Authorization") != ""
	}
	v.SetBehave(testregistry.Times(1, func(r *http.Request) bool {
		return strings.HasSuffix(r.URL.Path, "/"+layer.Digest.String()) && served(r)
	}, testregistry.Behaviour{Fault: testregistry.Truncate, After: layer.Size / 2}))
	defer v.SetBehave(nil)
	requests, _, _ := v.pull(t, 0, "cut", "right.json", testregistry.PublicRepository+":1.2")
	resumed := slices.ContainsFunc(requests, func(r testregistry.Request) bool {
		return strings.HasSuffix(r.Path, "/"+layer.Digest.String()) && r.Status == http.StatusPartialContent
	})
	if !resumed {
		t.Errorf("got no request that goes on with the layer: %s", v.methods(requests))
	}
}

// update checks for an update, which is one HEAD as long as there is none.
func (v *visit) update(t *testing.T) {
	const image = testregistry.PublicRepository + ":latest"
	if err := v.Push(image, v.image); err != nil {
		t.Fatal(err)
	}
	v.pull(t, 0, "update", "right.json", image)
	requests, _, _ := v.pull(t, 0, "update", "right.json", image, "--policy", "always")
	if got, want := v.methods(requests), "HEAD manifests"; got != want {
		t.Errorf("nothing new: got requests %s, want %s", got, want)
	}
	if err := v.Push(image, animalImage(2)); err != nil {
		t.Fatal(err)
	}
	requests, stdout, _ := v.pull(t, 0, "update", "right.json", image, "--policy", "newer", "--format", "json")
	if got, want := v.methods(requests), "HEAD manifests, GET manifests, GET blobs, GET blobs"; got != want {
		t.Errorf("a new image: got requests %s, want %s", got, want)
	}
	var result struct{ Changed bool }
	if err := json.Unmarshal([]byte(stdout), &result); err != nil || !result.Changed {
		t.Errorf("a new image: got %s and %v, want that it changed", stdout, err)
	}
}

// tags lists what TAB offers, in pages, from a repository that not all may see if there
// is one.
func (v *visit) tags(t *testing.T) {
	repository := testregistry.PrivateRepository
	if v.isOpen() {
		repository = testregistry.PublicRepository
	}
	for _, tag := range []string{"1.0", "1.1", "1.3", "1.4"} {
		if err := v.Push(repository+":"+tag, v.image); err != nil {
			t.Fatal(err)
		}
	}
	reg, err := registry.New(registry.Options{
		Proxy: v.Proxy(), Hosts: hosts.Options{CA: v.path("ca.pem")},
		Credentials: func(context.Context, string, source.Ref) (credential.Credential, error) {
			return credential.Credential{Username: v.Credentials.User, Password: v.Credentials.Password, Source: "test"}, nil
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	ref, err := source.ParseRef(v.Domain + "/" + repository)
	if err != nil {
		t.Fatal(err)
	}
	got, err := reg.Tags(t.Context(), ref)
	if want := []string{"1.0", "1.1", "1.2", "1.3", "1.4"}; err != nil || !slices.Equal(got, want) {
		t.Errorf("got tags %q and %v, want %q", got, err, want)
	}
	v.inspect(t, v.TakeRequests(), fmt.Sprint(got, err))
}

// limit has no pulls left: the registry's words are repeated.
func (v *visit) limit(t *testing.T) {
	v.Limit()
	defer v.SetBehave(nil)
	_, _, stderr := v.pull(t, 6, "limit", "none.json", testregistry.PublicRepository+":1.2")
	for _, word := range []string{"TOOMANYREQUESTS", "Retry later", "Too Many Requests"} {
		if strings.Contains(v.TooMany.Body, word) && !strings.Contains(stderr, word) {
			t.Errorf("got %s, want %q in it", stderr, word)
		}
	}
}
