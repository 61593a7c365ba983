package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/containerd-pull/containerd-pull/cmd/containerd-pull/internal/exit"
	"github.com/containerd-pull/containerd-pull/cmd/containerd-pull/internal/output"
	"github.com/containerd-pull/containerd-pull/pkg/batch"
	"github.com/containerd-pull/containerd-pull/pkg/config"
	"github.com/containerd-pull/containerd-pull/pkg/pull"
	"github.com/containerd-pull/containerd-pull/pkg/sample"
	"github.com/containerd-pull/containerd-pull/pkg/source"
	"github.com/containerd-pull/containerd-pull/pkg/store"
)

// section returns the part of a page below a heading.
func section(t *testing.T, page, heading string) string {
	t.Helper()
	text, err := os.ReadFile("../../docs/" + page)
	if err != nil {
		t.Fatal(err)
	}
	_, below, ok := strings.Cut(string(text), "\n## "+heading+"\n")
	if !ok {
		t.Fatalf("docs/%s has no section %q", page, heading)
	}
	below, _, _ = strings.Cut(below, "\n## ")
	return below
}

// rows returns the cells of the tables of a text, without their headings.
func rows(text string) [][]string {
	var all [][]string
	for line := range strings.Lines(text) {
		if !strings.HasPrefix(line, "| ") {
			continue
		}
		cells := strings.Split(strings.Trim(strings.TrimSpace(line), "|"), "|")
		for i := range cells {
			cells[i] = strings.Trim(strings.TrimSpace(cells[i]), "`")
		}
		all = append(all, cells)
	}
	return all[1:]
}

// typesOf collects the types of the fields of an object, with a dot between the
// names of an inner object and of its fields. The fields of labels are the
// user's and are left out.
func typesOf(prefix string, object map[string]any, into map[string]string) {
	for name, v := range object {
		name = prefix + name
		switch v := v.(type) {
		case string:
			into[name] = "string"
		case bool:
			into[name] = "boolean"
		case float64:
			into[name] = "integer"
		case nil:
			into[name] = "null"
		case []any:
			into[name] = "array"
			for _, item := range v {
				if below, ok := item.(map[string]any); ok {
					typesOf(name+".", below, into)
				}
			}
		case map[string]any:
			into[name] = "object"
			if name != "labels" {
				typesOf(name+".", v, into)
			}
		}
	}
}

// shownTypes returns the types of the fields in the JSON of an outcome.
func shownTypes(t *testing.T, o batch.Outcome) map[string]string {
	t.Helper()
	var text bytes.Buffer
	out, err := output.NewPull(output.Options{Out: &text, Config: &config.Config{Format: "json"}, Describe: exit.Describe})
	if err == nil {
		err = out.Write([]batch.Outcome{o})
	}
	var object map[string]any
	if err := errors.Join(err, json.Unmarshal(text.Bytes(), &object)); err != nil {
		t.Fatal(err)
	}
	types := map[string]string{}
	typesOf("", object, types)
	return types
}

// TestOutputDocumentation compares the table of JSON fields with results: a
// success, and exit.Names of which much and little is known.
func TestOutputDocumentation(t *testing.T) {
	const dgst = digest.Digest("sha256:3f1d6c17773a45c97bd8f158d665c9709d7b29ed7917ac934086ad96f92e4510")
	ref, err := source.ParseRef("debian")
	if err != nil {
		t.Fatal(err)
	}
	good := batch.Outcome{Job: batch.Job{Ref: ref, Typed: "debian", Untagged: true, Config: new(config.Config)}, Result: &pull.Result{
		Name: ref.Name, Target: ocispec.Descriptor{MediaType: "x", Digest: dgst, Size: 1},
		Platforms: []pull.Platform{{Platform: ocispec.Platform{OS: "linux", Architecture: "amd64"}, Config: dgst}},
	}}
	good.Observed.Warnings = []string{"x"}
	bad := batch.Outcome{Job: good.Job, Err: &source.Error{Err: os.ErrNotExist}}
	known := bad
	known.Namespace, known.Snapshotter = "default", "overlayfs"
	known.Observed = batch.Observed{Target: ocispec.Descriptor{Digest: dgst, MediaType: "x"}, Host: "example.com"}

	want, always, sometimes := map[string]string{}, map[string]string{}, map[string]string{}
	for _, cells := range rows(section(t, "output.md", "JSON")) {
		field, kind, failed := cells[0], cells[1], cells[2]
		switch { // error is null for a success, an object for a failure
		case strings.HasPrefix(field, "error."):
		case field == "error":
			want[field] = "null"
			kind = "object"
		default:
			want[field] = kind
		}
		if failed == "yes" {
			always[field] = kind
		}
		if failed != "no" {
			sometimes[field] = kind
		}
	}
	for _, tc := range []struct {
		name string
		got  batch.Outcome
		want map[string]string
	}{{"success", good, want}, {"failure of which little is known", bad, always}, {"failure of which much is known", known, sometimes}} {
		if diff := cmp.Diff(tc.want, shownTypes(t, tc.got)); diff != "" {
			t.Errorf("%s (-documented +got):\n%s", tc.name, diff)
		}
	}
}

// TestTablesOfResults compares the tables of JSON fields of other commands with
// what they write. The third column says which commands have a field.
func TestTablesOfResults(t *testing.T) {
	for _, tc := range []struct {
		section, command string
		shown            any
	}{
		{"Logins", "login", output.Login{Readers: []string{"x"}}},
		{"Logins", "logout", output.Logout{Left: []string{"x"}}},
		{"Images", "list", listed()},
		{"Images", "rm", output.Removed{Removed: []string{"x"}}},
	} {
		want, got := map[string]string{}, map[string]string{}
		for _, cells := range rows(section(t, "output.md", tc.section)) {
			if cells[2] == tc.command || cells[2] == "both" {
				want[cells[0]] = cells[1]
			}
		}
		text, err := json.Marshal(tc.shown)
		var object map[string]any
		if err := errors.Join(err, json.Unmarshal(text, &object)); err != nil {
			t.Fatal(err)
		}
		typesOf("", object, got)
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s (-documented +got):\n%s", tc.command, diff)
		}
	}
}

// listed is a list with one image of one platform.
func listed() output.Images {
	var l output.Images
	l.Add(&store.Store{}, []store.Held{{Platforms: []store.HeldPlatform{{}}}})
	return l
}

// TestExitCodeDocumentation requires every code and class on the page, and no
// other.
func TestExitCodeDocumentation(t *testing.T) {
	documented, real := map[string]bool{"0 ": true}, map[string]bool{"0 ": true}
	for _, cells := range rows(section(t, "output.md", "Exit codes")) {
		documented[cells[0]+" "+cells[1]] = true
	}
	for code, name := range exit.Names() {
		real[fmt.Sprintf("%d %s", code, name)] = true
	}
	if diff := cmp.Diff(slices.Sorted(maps.Keys(real)), slices.Sorted(maps.Keys(documented))); diff != "" {
		t.Errorf("exit codes (-real +documented):\n%s", diff)
	}
}

// scriptWorld serves the sample image under every name and tag, except those
// called missing, and returns a folder of hosts that leads all registries
// there.
func scriptWorld(t *testing.T) string {
	t.Helper()
	real, err := sample.Serve(0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { real.Close() })
	name := strings.TrimSuffix(strings.TrimPrefix(real.Ref(), real.Host()+"/"), ":latest")
	proxy := httputil.NewSingleHostReverseProxy(&url.URL{Scheme: "http", Host: real.Host()})
	path := regexp.MustCompile(`^/v2/(.*)/(blobs|manifests)/(.*)$`)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		parts := path.FindStringSubmatch(r.URL.Path)
		if parts == nil || strings.HasSuffix(parts[1], "missing") {
			http.NotFound(w, r)
			return
		}
		if digest.Digest(parts[3]).Validate() != nil { // a tag
			parts[3] = "latest"
		}
		r.URL.Path = "/v2/" + name + "/" + parts[2] + "/" + parts[3]
		proxy.ServeHTTP(w, r)
	}))
	t.Cleanup(server.Close)
	hosts := t.TempDir()
	for _, domain := range []string{"docker.io", "registry.example.com"} {
		dir := filepath.Join(hosts, domain)
		if err := os.Mkdir(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, "hosts.toml"), []byte(fmt.Sprintf("server = %q\n", server.URL)), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return hosts
}

// TestScriptsDocumentation runs the examples of docs/scripts.md, each in a
// store of its own. An example ends at its first error.
func TestScriptsDocumentation(t *testing.T) {
	long(t)
	if !withMounts(t) {
		return
	}
	page, err := os.ReadFile("../../docs/scripts.md")
	if err != nil {
		t.Fatal(err)
	}
	hosts := scriptWorld(t)
	examples := regexp.MustCompile("(?s)```sh\n(.*?)```\n\n```text\n(.*?)```\n").FindAllStringSubmatch(string(page), -1)
	if n := strings.Count(string(page), "```sh\n"); n != len(examples) || n < 10 {
		t.Fatalf("got %d examples with their output, want %d", len(examples), n)
	}
	for _, example := range examples {
		script, want := example[1], example[2]
		dir := t.TempDir()
		cmd := exec.CommandContext(t.Context(), "sh", "-e", "-u", "-c", script)
		cmd.Dir = dir
		cmd.Env = append(os.Environ(), "HOME="+dir, "NERDCTL_TOML=", "CONTAINERD_PULL_ROOT="+filepath.Join(dir, "root"),
			"CONTAINERD_PULL_SNAPSHOTTER=native", "CONTAINERD_PULL_HOSTS_DIR="+hosts)
		if !strings.Contains(script, "chain") { // only chain IDs need the unpacking, which takes time
			cmd.Env = append(cmd.Env, "CONTAINERD_PULL_UNPACK=false")
		}
		var stderr strings.Builder
		cmd.Stderr = &stderr
		got, err := cmd.Output()
		if err != nil {
			t.Errorf("%s: %v\n%s", script, err, &stderr)
		}
		pattern := "^" + strings.ReplaceAll(regexp.QuoteMeta(want), "…", `[0-9a-f]+`) + "$"
		if !regexp.MustCompile(pattern).Match(got) {
			t.Errorf("%s: got\n%s, want\n%s", script, got, want)
		}
	}
}
