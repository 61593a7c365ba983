package main

import (
	"bytes"
	stdcmp "cmp"
	"errors"
	"fmt"
	"io"
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

	"github.com/opencontainers/go-digest"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/containerd-pull/containerd-pull/cmd/containerd-pull/internal/usage"
	"github.com/containerd-pull/containerd-pull/pkg/config"
	"github.com/containerd-pull/containerd-pull/pkg/sample/golden"
)

// manual is a page of the reference. It has two forms: Markdown in docs/cli, and
// a man page in docs/cli/man.
type manual struct {
	name     string // of the file: containerd-pull-hosts-check
	title    string // containerd-pull hosts check
	section  int    // of the man page
	short    string
	text     string // see topicText
	usage    string // empty for a topic
	examples string
	commands []manual // only name, title and short
	groups   []usage.Group
	related  []manual // the same
}

func commandManual(cmd *cobra.Command) manual {
	m := brief(cmd)
	m.text, m.usage, m.examples, m.groups = cmd.Long, cmd.UseLine(), cmd.Example, usage.Groups(cmd)
	for _, sub := range cmd.Commands() {
		if sub.IsAvailableCommand() {
			m.commands = append(m.commands, brief(sub))
		}
	}
	if cmd.HasParent() {
		m.related = append(m.related, brief(cmd.Parent()))
		return m
	}
	for _, t := range topics() {
		m.related = append(m.related, topicManual(t))
	}
	return m
}

func brief(cmd *cobra.Command) manual {
	short := cmd.Short
	if !cmd.HasParent() {
		short = "Bring OCI images into containerd"
	}
	return manual{name: strings.ReplaceAll(cmd.CommandPath(), " ", "-"), title: cmd.CommandPath(), section: 1, short: short}
}

func topicManual(t usage.Topic) manual {
	return manual{name: programName + "-" + t.Name, title: programName + " help " + t.Name, section: 7, short: t.Short, text: topicText(t)}
}

// manuals returns all pages: those of the topics, and of every command except
// help, whose page would say nothing new.
func manuals(root *cobra.Command) []manual {
	var all []manual
	usage.Walk(root, func(cmd *cobra.Command) {
		if cmd.Name() != "help" {
			all = append(all, commandManual(cmd))
		}
	})
	for _, t := range topics() {
		m := topicManual(t)
		m.related = []manual{brief(root)}
		all = append(all, m)
	}
	return all
}

const generatedNote = "generated from the commands of the program by go generate ./cmd/" + programName

// markdown writes a page for readers of the repository.
func (m manual) markdown(w io.Writer) {
	fmt.Fprintf(w, "<!-- %s -->\n# %s\n\n%s.\n\n", generatedNote, m.title, m.short)
	if m.usage != "" {
		fmt.Fprintf(w, "    %s\n\n", m.usage)
	}
	if m.text != "" {
		fmt.Fprintf(w, "%s\n\n", strings.TrimRight(m.text, "\n"))
	}
	if m.examples != "" {
		fmt.Fprintf(w, "## Examples\n\n```sh\n%s\n```\n\n", m.examples)
	}
	links := func(heading string, all []manual) {
		if len(all) > 0 {
			fmt.Fprintf(w, "## %s\n\n| | |\n|---|---|\n", heading)
			for _, o := range all {
				fmt.Fprintf(w, "| [%s](%s.md) | %s |\n", o.title, o.name, cell(o.short))
			}
			fmt.Fprintln(w)
		}
	}
	links("Commands", m.commands)
	for _, g := range m.groups {
		fmt.Fprintf(w, "## %s\n\n| flag | meaning | variable | key |\n|---|---|---|---|\n", g.Heading)
		g.Flags.VisitAll(func(f *pflag.Flag) {
			o := optionOf(f)
			fmt.Fprintf(w, "| `%s` | %s | %s | %s |\n", o.spelling(), cell(o.meaning()), code(o.variables...), code(o.key))
		})
		fmt.Fprintln(w)
	}
	links("See also", m.related)
}

func cell(text string) string { return strings.ReplaceAll(text, "|", `\|`) }

func code(words ...string) string {
	var quoted []string
	for _, word := range words {
		if word != "" {
			quoted = append(quoted, "`"+word+"`")
		}
	}
	return strings.Join(quoted, ", ")
}

// option is what the reference shows of a flag.
type option struct {
	long, short, value string
	usage, preset      string
	variables          []string
	key                string
}

func optionOf(f *pflag.Flag) option {
	o := option{long: f.Name, short: f.Shorthand, preset: f.DefValue}
	o.value, o.usage = pflag.UnquoteUsage(f)
	if o.preset == "false" {
		o.preset = ""
	}
	for _, s := range config.Table() {
		for i, spelling := range s.Flags {
			if spelling.Name == f.Name && config.GroupOf(f) != "" && i == 0 {
				o.variables, o.key = s.EnvNames(), s.Key
			}
		}
	}
	return o
}

func (o option) spelling() string {
	text := "--" + o.long
	if o.short != "" {
		text = "-" + o.short + ", " + text
	}
	if o.value != "" {
		text += " " + o.value
	}
	return text
}

func (o option) meaning() string {
	if o.preset == "" {
		return o.usage
	}
	return fmt.Sprintf("%s (default: %s)", o.usage, o.preset)
}

// man writes a page for man(1), in the macros of man(7). It has no date, so that
// generating it again changes nothing.
func (m manual) man(w io.Writer) {
	fmt.Fprintf(w, ".\\\" %s\n.TH %s %d \"\" %s \"\"\n", generatedNote, strings.ToUpper(roff(m.name)), m.section, roff(programName))
	fmt.Fprintf(w, ".SH NAME\n%s \\- %s\n", roff(m.name), roff(m.short))
	if m.usage != "" {
		fmt.Fprintf(w, ".SH SYNOPSIS\n.B %s\n", roff(m.usage))
	}
	fmt.Fprintln(w, ".SH DESCRIPTION")
	manText(w, strings.TrimRight(stdcmp.Or(m.text, m.short+"."), "\n"))
	if m.examples != "" {
		fmt.Fprintf(w, ".SH EXAMPLES\n.EX\n%s\n.EE\n", roff(m.examples))
	}
	if len(m.commands) > 0 {
		fmt.Fprintln(w, ".SH COMMANDS")
		for _, o := range m.commands {
			fmt.Fprintf(w, ".TP\n.BR %s (%d)\n%s\n", roff(o.name), o.section, roff(o.short))
		}
	}
	if len(m.groups) > 0 {
		fmt.Fprintln(w, ".SH OPTIONS")
	}
	for _, g := range m.groups {
		fmt.Fprintf(w, ".SS %s\n", roff(g.Heading))
		g.Flags.VisitAll(func(f *pflag.Flag) { optionOf(f).man(w) })
	}
	fmt.Fprint(w, ".SH \"SEE ALSO\"\n")
	for i, o := range m.related {
		end := ","
		if i == len(m.related)-1 {
			end = ""
		}
		fmt.Fprintf(w, ".BR %s (%d)%s\n", roff(o.name), o.section, end)
	}
}

func (o option) man(w io.Writer) {
	names := `\fB` + roff("--"+o.long) + `\fR`
	if o.short != "" {
		names = `\fB` + roff("-"+o.short) + `\fR, ` + names
	}
	if o.value != "" {
		names += ` \fI` + roff(o.value) + `\fR`
	}
	fmt.Fprintf(w, ".TP\n%s\n%s\n", names, roff(o.meaning()))
	if o.key != "" {
		fmt.Fprintf(w, ".br\nKey %s; %s\n", roff(o.key), roff(strings.Join(o.variables, ", ")))
	}
}

// manText writes the paragraphs and blocks of a text.
func manText(w io.Writer, text string) {
	for part := range strings.SplitSeq(text, "\n\n") {
		if block := strings.TrimPrefix(part, "    "); block != part {
			block = strings.ReplaceAll("\n"+part, "\n    ", "\n")[1:]
			fmt.Fprintf(w, ".PP\n.RS 4\n.EX\n%s\n.EE\n.RE\n", roff(block))
			continue
		}
		fmt.Fprintf(w, ".PP\n%s\n", roff(part))
	}
}

// roff quotes text that would be a request or an escape.
func roff(text string) string {
	text = strings.NewReplacer(`\`, `\e`, "-", `\-`, "…", "...", "~", `\(ti`, "^", `\(ha`, "'", `\(aq`, "`", `\(ga`).Replace(text)
	lines := strings.Split(text, "\n")
	for i, line := range lines {
		if strings.HasPrefix(line, ".") {
			lines[i] = `\&` + line
		}
	}
	return strings.Join(lines, "\n")
}

// TestReference requires docs/cli to be what the commands say, without any other
// page.
func TestReference(t *testing.T) {
	want := map[string]string{}
	for _, m := range manuals(newTestRoot()) {
		var md, man bytes.Buffer
		m.markdown(&md)
		m.man(&man)
		want[m.name+".md"] = md.String()
		want[fmt.Sprintf("man/%s.%d", m.name, m.section)] = man.String()
	}
	const dir = "../../docs/cli"
	if golden.Updating() {
		clearReference(t, dir)
	}
	for name, text := range want {
		golden.File(t, filepath.Join(dir, name), []byte(text))
	}
	for _, pattern := range []string{"*.*", "man/*.*"} {
		files, err := filepath.Glob(filepath.Join(dir, pattern))
		if err != nil {
			t.Fatal(err)
		}
		for _, file := range files {
			if name, _ := filepath.Rel(dir, file); want[name] == "" {
				t.Errorf("docs/cli/%s is about nothing that there is", name)
			}
		}
	}
}

// clearReference leaves the folders of the pages, empty.
func clearReference(t *testing.T, dir string) {
	t.Helper()
	if err := os.RemoveAll(dir); err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(filepath.Join(dir, "man"), 0o755); err != nil {
		t.Fatal(err)
	}
}

// TestManPages requires groff to show the man pages without a warning.
func TestManPages(t *testing.T) {
	long(t)
	if _, err := exec.LookPath("groff"); err != nil {
		if os.Getenv("CI") != "" {
			t.Fatal("this test needs groff")
		}
		t.Skip("this test needs groff")
	}
	pages, err := filepath.Glob("../../docs/cli/man/*.*")
	if err != nil || len(pages) == 0 {
		t.Fatalf("got pages %v and %v", pages, err)
	}
	cmd := exec.CommandContext(t.Context(), "groff", append([]string{"-man", "-ww", "-Tascii", "-P-c", "-rLL=100n"}, pages...)...)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	shown, err := cmd.Output()
	if err != nil || stderr.Len() > 0 {
		t.Errorf("got %v and warnings:\n%s", err, &stderr)
	}
	plain := regexp.MustCompile(".\b").ReplaceAllString(string(shown), "") // bold is printed twice, with a backspace
	for _, want := range []string{"--max-concurrent-unpacks", "RestartPreventExitStatus=2 4 5 8 9 11", "~/.config/containerd-pull/config.toml"} {
		if !strings.Contains(plain, want) {
			t.Errorf("the pages do not show %q", want)
		}
	}
}

// TestEveryCommandTeaches requires a text for each command, and for each that
// does something an example of its own.
func TestEveryCommandTeaches(t *testing.T) {
	usage.Walk(newTestRoot(), func(cmd *cobra.Command) {
		if cmd.Long == "" {
			t.Errorf("%s has no text in help", cmd.CommandPath())
		}
		if cmd.HasSubCommands() && cmd.HasParent() {
			return
		}
		own := func(line string) bool {
			return strings.Contains(line, cmd.CommandPath()) && !strings.HasPrefix(line, "#")
		}
		if !slices.ContainsFunc(strings.Split(cmd.Example, "\n"), own) {
			t.Errorf("%s has no example in help: %q", cmd.CommandPath(), cmd.Example)
		}
	})
}

// everything starts a registry that has every image.
func (w *world) everything(t *testing.T) *httptest.Server {
	inner, err := url.Parse(w.registry.URL)
	if err != nil {
		t.Fatal(err)
	}
	proxy := httputil.NewSingleHostReverseProxy(inner)
	path := regexp.MustCompile(`^/v2/.+/(manifests/sha256:.*|manifests|blobs)(/.*)?$`)
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/v2/" { // it accepts every password
			if r.Header.Get("Authorization") == "" {
				w.Header().Set("WWW-Authenticate", `Basic realm="everything"`)
				w.WriteHeader(http.StatusUnauthorized)
			}
			return
		}
		if part := path.FindStringSubmatch(r.URL.Path); part != nil {
			if part[1] == "manifests" {
				part[2] = "/latest"
			}
			r.URL.Path = "/v2/good/" + part[1] + part[2]
		}
		proxy.ServeHTTP(w, r)
	}))
	t.Cleanup(s.Close)
	return s
}

// exampleConfig has every registry mirrored by one that has every image, and
// pulls into a root unless an example says otherwise.
const exampleConfig = `root = "root"
snapshotter = "native"
progress = "none"
[[mirrors]]
host = "*"
endpoints = [%q]
resolve = true
[profiles.prod]
match = ["registry.example.com/prod/*"]
platforms = ["linux/arm64"]
[[profiles.prod.mirrors]]
host = "*"
endpoints = [%q]
resolve = true
`

// beforeExamples makes what the examples need: images, and folders of the user.
const beforeExamples = `containerd-pull -q alpine >/dev/null
containerd-pull -q --root disk/var/lib/containerd -n k8s.io alpine >/dev/null
mkdir -p ~/.config/fish/completions ~/bin
containerd-pull shim install ~/bin >/dev/null 2>&1
`

// TestExamples runs the examples of each command in a shell. Every line has to
// succeed.
func TestExamples(t *testing.T) {
	long(t)
	if _, err := exec.LookPath("bash"); err != nil || os.Geteuid() != 0 {
		if os.Getenv("CI") != "" {
			t.Fatal("this test needs bash and root")
		}
		t.Skip("this test needs bash and root")
	}
	w := newWorld(t)
	registry := w.everything(t).URL
	pinned := resolveExample(t, registry)
	usage.Walk(newTestRoot(), func(cmd *cobra.Command) {
		if cmd.Example == "" {
			return
		}
		t.Run(cmd.CommandPath(), func(t *testing.T) {
			t.Parallel()
			home := t.TempDir()
			write := func(name, text string) {
				path := filepath.Join(home, name)
				if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, []byte(text), 0o600)); err != nil {
					t.Fatal(err)
				}
			}
			write(".config/containerd-pull/config.toml", fmt.Sprintf(exampleConfig, registry, registry))
			write("password", "secret\n")
			write("images.txt", "alpine\ndebian:12 # and its tag\n")
			write("deployment.yaml", "apiVersion: apps/v1\nkind: Deployment\nspec:\n  template:\n    spec:\n      containers:\n      - image: nginx:1.27\n")
			// registry.example.com does not exist, so that it cannot be logged in to; a
			// watch needs a daemon, and does not end.
			lines := strings.NewReplacer("sha256:…", pinned, "--online", "--online=false",
				programName+" watch", programName+" watch --help").Replace(cmd.Example)
			if strings.HasPrefix(cmd.Name(), "log") {
				lines = strings.ReplaceAll(lines, "registry.example.com", strings.TrimPrefix(registry, "http://"))
			}
			shell := exec.CommandContext(t.Context(), "bash", "-euc", beforeExamples+lines)
			shell.Dir = home
			shell.Env = append(os.Environ(), "HOME="+home, "XDG_CONFIG_HOME=", "XDG_RUNTIME_DIR=")
			if out, err := shell.CombinedOutput(); err != nil {
				t.Errorf("got %v from\n%s\n%s", err, cmd.Example, out)
			}
		})
	})
}

// resolveExample returns the digest of the image that the registry has under all
// names.
func resolveExample(t *testing.T, registry string) string {
	t.Helper()
	resp, err := http.Get(registry + "/v2/library/debian/manifests/12")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != http.StatusOK {
		t.Fatalf("got %s and %v", resp.Status, err)
	}
	return digest.FromBytes(text).String()
}
