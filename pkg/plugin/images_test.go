package plugin_test

import (
	"bytes"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/containerd-pull/containerd-pull/pkg/internal/pulltest"
)

// pushBusybox puts an image that runs under busybox:1, and an index of it and of
// another platform under multi:1.
func (p *place) pushBusybox(t *testing.T) {
	t.Helper()
	pulltest.Need(t, pulltest.Program("runc"), pulltest.Contents("busybox.tar.gz"))
	box := pulltest.BusyboxImage(t)
	others := pulltest.MultiPlatform(pulltest.Gzip)
	for name, img := range map[string]*pulltest.Image{"busybox:1": box, "multi:1": pulltest.NewIndex(box, others.Children[1])} {
		if err := p.registry.Push(t.Context(), name, img); err != nil {
			t.Fatal(err)
		}
	}
	p.digest = box.Desc.Digest.String()
}

// pulled is a way in which an image may be pulled.
type pulled struct {
	name  string
	image string // in the registry
	as    string // what nerdctl finds it by, if that is another name
	// flags of pull-ext, and those of nerdctl that make it pull the same; nil if
	// there are none.
	flags, nerdctl []string
	snapshotter    string
	namespace      string
}

func (p *place) pulls() []pulled {
	return []pulled{
		{name: "plain", image: "busybox:1", nerdctl: []string{}},
		{name: "one platform", image: "multi:1"},
		{name: "no metadata", image: "multi:1", flags: []string{"--skip-metadata"}, nerdctl: []string{}},
		{name: "all platforms", image: "multi:1", flags: []string{"--all-platforms"}},
		{name: "digest", image: "busybox@" + p.digest, nerdctl: []string{}},
		{name: "tag and digest", image: "busybox:1@" + p.digest, as: "busybox:1"},
		{name: "labels", image: "multi:1", flags: []string{"--label", "example.com/a=b"}},
		{name: "discarded layers", image: "busybox:1", flags: []string{"--discard-layers"}},
		{name: "Kubernetes", image: "multi:1", namespace: "k8s.io"},
		{name: "native", image: "multi:1", snapshotter: "native"},
	}
}

// client is nerdctl and the program in one namespace, on one snapshotter.
type client struct {
	*place
	t       *testing.T
	globals []string
	space   string
}

func (p *place) client(t *testing.T, namespace, snapshotter string) *client {
	globals := []string{"--namespace", namespace}
	if snapshotter != "" {
		globals = append(globals, "--snapshotter", snapshotter)
	}
	return &client{p, t, globals, namespace}
}

// try runs nerdctl.
func (c *client) try(args ...string) (string, error) {
	cmd := exec.CommandContext(c.t.Context(), filepath.Join(c.dir, "bin/nerdctl"), append(append([]string{}, c.globals...), args...)...)
	cmd.Env = c.env()
	out, err := cmd.Output()
	return string(out), withStderr(err)
}

func (c *client) nerdctl(args ...string) string {
	c.t.Helper()
	out, err := c.try(args...)
	if err != nil {
		c.t.Fatalf("nerdctl %q: %v", args, err)
	}
	return out
}

// pullExt runs the program.
func (c *client) pullExt(args ...string) string {
	c.t.Helper()
	return c.place.run(c.t, "containerd-pull", append(append([]string{}, c.globals...), args...)...)
}

// runs wants a container of an image to print a text.
func (c *client) runs(want, ref string, command ...string) {
	c.t.Helper()
	if got := c.nerdctl(append([]string{"run", "--rm", "--net", "none", "--pull", "never", ref}, command...)...); got != want {
		c.t.Errorf("a container of %s: got %q, want %q", ref, got, want)
	}
}

// empty wants that nothing of an image is left.
func (c *client) empty(after string) {
	c.t.Helper()
	if err := c.daemon.Collect(c.t.Context(), c.space); err != nil {
		c.t.Fatal(err)
	}
	for _, list := range [][]string{{"images", "list", "-q"}, {"content", "list", "-q"}, {"snapshots", "list"}, {"leases", "list", "-q"}} {
		flags := []string{"--namespace", c.space}
		got := strings.TrimSpace(strings.TrimPrefix(c.daemon.Ctr(c.t, append(flags, list...)...), "KEY PARENT KIND"))
		if got != "" {
			c.t.Errorf("after %s: got %s, want no %s", after, got, list[0])
		}
	}
}

// testImages: what the program pulled, nerdctl shows, runs, changes, passes on
// and removes as what it pulled itself.
func (p *place) testImages(t *testing.T) {
	for _, way := range p.pulls() {
		t.Run(way.name, func(t *testing.T) {
			space := way.namespace
			if space == "" {
				space = "own-" + strings.ReplaceAll(way.name, " ", "-")
			}
			c := p.client(t, space, way.snapshotter)
			ref := p.registry.Ref(way.image)
			pull := func() { c.pullExt(append(append([]string{"-q"}, way.flags...), p.registry.Ref(way.image))...) }
			pull()
			c.looksPulled(way, ref)
			if way.as != "" {
				ref = p.registry.Ref(way.as)
			}
			c.runs("busybox runs\n", ref)
			c.changed(ref)
			c.passedOn(ref)
			for _, prune := range [][]string{{"image", "prune", "--all", "--force"}, {"system", "prune", "--all", "--force"}} {
				c.nerdctl(prune...)
				c.empty("nerdctl " + strings.Join(prune, " "))
				pull()
			}
			c.nerdctl("rmi", ref)
			c.empty("nerdctl rmi")
		})
	}
}

// looksPulled compares all that nerdctl shows of an image with what it shows
// of one that it pulled itself.
func (c *client) looksPulled(way pulled, ref string) {
	c.t.Helper()
	if way.nerdctl == nil {
		return
	}
	theirs := c.place.client(c.t, "theirs-"+strings.ReplaceAll(way.name, " ", "-"), way.snapshotter)
	theirs.nerdctl(append(append([]string{"pull", "--quiet"}, way.nerdctl...), ref)...)
	for _, show := range [][]string{
		{"images", "--no-trunc", "--digests", "--format", "json"},
		{"image", "inspect", ref},
		{"image", "inspect", "--mode", "native", ref},
		{"history", "--format", "json", ref},
	} {
		want, wantErr := theirs.try(show...)
		got, err := c.try(show...)
		if diff := cmp.Diff(timeless(c.t, want), timeless(c.t, got)); diff != "" || (err == nil) != (wantErr == nil) {
			c.t.Errorf("nerdctl %q: %v and %v (-nerdctl's +own):\n%s", show, wantErr, err, diff)
		}
	}
	theirs.nerdctl("system", "prune", "--all", "--force")
}

// timeless reads JSON and leaves out when a record was made.
func timeless(t *testing.T, text string) []any {
	t.Helper()
	var all []any
	for d := json.NewDecoder(strings.NewReader(text)); d.More(); {
		var v any
		if err := d.Decode(&v); err != nil {
			t.Fatalf("%v: %s", err, text)
		}
		all = append(all, withoutTimes(v))
	}
	return all
}

func withoutTimes(v any) any {
	switch v := v.(type) {
	case map[string]any:
		for name, inner := range v {
			v[name] = withoutTimes(inner)
		}
		for _, name := range []string{"CreatedAt", "UpdatedAt", "CreatedSince", "LastTagTime"} {
			delete(v, name)
		}
	case []any:
		for i := range v {
			v[i] = withoutTimes(v[i])
		}
	}
	return v
}

// changed makes an image of a container's changes.
func (c *client) changed(ref string) {
	c.t.Helper()
	c.nerdctl("run", "--name", "work", "--net", "none", "--pull", "never", ref, "sh", "-c", "echo new >/file")
	c.nerdctl("commit", "work", "example.test/committed:1")
	c.nerdctl("rm", "work")
	c.runs("new\n", "example.test/committed:1", "cat", "/file")
	c.nerdctl("rmi", "example.test/committed:1")
}

// passedOn gives the image another name, pushes it, saves it, and loads it
// elsewhere.
func (c *client) passedOn(ref string) {
	c.t.Helper()
	other := c.registry.Ref("copies/" + strings.ToLower(c.space) + ":1")
	c.nerdctl("tag", ref, other)
	c.nerdctl("push", "--quiet", other)
	archive := filepath.Join(c.t.TempDir(), "archive")
	c.save(archive, other)
	c.nerdctl("rmi", other)
	elsewhere := c.place.client(c.t, "elsewhere", "")
	elsewhere.nerdctl("load", "--input", archive)
	elsewhere.nerdctl("rmi", other)
	elsewhere.nerdctl("pull", "--quiet", other)
	elsewhere.runs("busybox runs\n", other)
	elsewhere.nerdctl("rmi", other)
}

// save has nerdctl write an archive. It ends when the daemon has sent all, and may not
// have written the last of it by then: that is done again.
func (c *client) save(archive, ref string) {
	c.t.Helper()
	for range 10 {
		c.nerdctl("save", "--output", archive, ref)
		data, err := os.ReadFile(archive)
		if err != nil {
			c.t.Fatal(err)
		}
		if bytes.HasSuffix(data, make([]byte, 1024)) { // as every tar archive ends
			return
		}
		if err := os.Remove(archive); err != nil {
			c.t.Fatal(err)
		}
	}
	c.t.Fatal("nerdctl save wrote no archive to its end")
}

// testPresent: what nerdctl pulled, loaded, named or made is there for the
// program, which fetches nothing and finds it whole.
func (p *place) testPresent(t *testing.T) {
	made := "127.0.0.1:1/made:1" // no registry is there
	archive := filepath.Join(t.TempDir(), "archive")
	for _, tc := range []struct {
		name, image string
		make        func(c *client)
		flags       []string
	}{
		{name: "pulled", image: p.registry.Ref("multi:1"), make: func(c *client) { c.nerdctl("pull", "--quiet", p.registry.Ref("multi:1")) }},
		// nerdctl does not unpack several platforms, so that an image without
		// snapshots is what may be asked for.
		{name: "pulled for all platforms", image: p.registry.Ref("multi:1"), flags: []string{"--all-platforms", "--unpack=false"}, make: func(c *client) {
			c.nerdctl("pull", "--quiet", "--all-platforms", p.registry.Ref("multi:1"))
		}},
		{name: "pulled by digest", image: p.registry.Ref("busybox@" + p.digest), make: func(c *client) { c.nerdctl("pull", "--quiet", p.registry.Ref("busybox@"+p.digest)) }},
		{name: "named", image: made, make: func(c *client) {
			c.nerdctl("pull", "--quiet", p.registry.Ref("busybox:1"))
			c.nerdctl("tag", p.registry.Ref("busybox:1"), made)
			c.save(archive, made)
			c.nerdctl("rmi", p.registry.Ref("busybox:1"))
		}},
		{name: "loaded", image: made, make: func(c *client) { c.nerdctl("load", "--input", archive) }},
		{name: "committed", image: made, make: func(c *client) {
			box := p.registry.Ref("busybox:1")
			c.nerdctl("run", "--name", "work", "--net", "none", "--pull", "missing", box, "sh", "-c", "echo new >/file")
			c.nerdctl("commit", "work", made)
			c.nerdctl("rm", "work")
		}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			c := p.client(t, "present-"+strings.ReplaceAll(tc.name, " ", "-"), "")
			tc.make(c)
			for _, policy := range []string{"missing", "never"} {
				flags := append([]string{"--policy", policy, "--progress", "none", "--format", "go-template={{.bytesFetched}} {{.changed}}"}, tc.flags...)
				got := c.pullExt(append(flags, tc.image)...)
				if got != "0 false\n" {
					t.Errorf("--policy %s: got %q, want that nothing was fetched or changed", policy, got)
				}
			}
			c.pullExt("verify", "--deep", tc.image)
			c.runs("busybox runs\n", tc.image)
			c.nerdctl("system", "prune", "--all", "--force")
			c.empty("system prune")
		})
	}
}
