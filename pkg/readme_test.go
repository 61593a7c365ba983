//go:build linux

package pkg_test

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"

	"github.com/creack/pty"

	"github.com/containerd-pull/containerd-pull/pkg/internal/pulltest"
	"github.com/containerd-pull/containerd-pull/pkg/internal/pulltest/testdaemon"
	"github.com/containerd-pull/containerd-pull/pkg/internal/pulltest/testregistry"
)

const (
	// insideNamespaces makes TestReadme the one that runs the commands.
	insideNamespaces = "README_TEST_INSIDE"
	// packagesFolder names a folder with the packages of a release. With it the
	// README's installation is run too, and the program is the installed one.
	packagesFolder = "README_TEST_PACKAGES"
)

// TestReadme runs the command blocks of README.md from top to bottom in one
// bash, which stops at the first failure. A block is indented by four spaces, or
// fenced without a language or as sh; fences of other languages are no commands.
// A comment on the line before a block, with or without a blank line between,
// can say otherwise:
//
//	<!-- not run: REASON -->   the block is only shown
//	<!-- packages -->          the block installs the packages of a release: run
//	                           by .ci/release-test, where there are some
//
// The commands find a world like that of the reader: registries under their
// real names at https, a containerd, a home folder, a terminal on which
// passwords are typed. It is in network and mount namespaces of its own.
// "sha256:…" stands for the digest of each image. A line with <TAB> is only shown.
func TestReadme(t *testing.T) {
	pulltest.Need(t, pulltest.Root, pulltest.Program("ip"), pulltest.Program("bash"), pulltest.Tools("2.4/containerd"))
	if os.Getenv(insideNamespaces) != "" {
		newReadmeWorld(t).run(t)
		return
	}
	cmd := exec.CommandContext(t.Context(), "/proc/self/exe", "-test.run=^TestReadme$", "-test.v=true", "-test.timeout=5m")
	cmd.Env = append(os.Environ(), insideNamespaces+"=1")
	cmd.SysProcAttr = &syscall.SysProcAttr{Unshareflags: syscall.CLONE_NEWNET | syscall.CLONE_NEWNS, Pdeathsig: syscall.SIGKILL}
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v:\n%s", err, out)
	}
	t.Logf("%s", out)
}

// readmeWorld is where the commands run.
type readmeWorld struct {
	dir    string // the working directory, with the sources of the module
	env    []string
	digest string // of every image
}

// readmeHosts are the registries that the README names. Docker Hub is served by
// another name than it has.
func readmeHosts() []string {
	return []string{"registry-1.docker.io", "registry.k8s.io", "registry.example.com"}
}

func readmeImages() []string {
	return []string{"library/alpine:latest", "library/nginx:1.27", "library/debian:12", "library/app:1.2", "pause:3.10", "app:1.2"}
}

func newReadmeWorld(t *testing.T) *readmeWorld {
	t.Helper()
	shell(t, "ip link set lo up")
	reg := testregistry.Start(t, testregistry.Options{Addr: "127.0.0.1:443", TLS: true, Names: readmeHosts()})
	img := pulltest.MultiPlatform(pulltest.Gzip)
	for _, name := range readmeImages() {
		testregistry.Push(t, reg, name, img)
	}
	w := &readmeWorld{dir: t.TempDir(), digest: img.Desc.Digest.String()}
	w.copyModule(t)
	w.write(t, "ca.pem", string(reg.CA()))
	w.write(t, "hosts", "127.0.0.1 localhost "+strings.Join(readmeHosts(), " ")+"\n")
	home, disk := t.TempDir(), t.TempDir()
	verifiers := pulltest.Verifiers(t, map[string]string{"yes": pulltest.Verdict(true, "fine")})
	shell(t, fmt.Sprintf(`mount --bind %s/hosts /etc/hosts
		mount --bind %s /mnt
		mount -t tmpfs tmpfs /opt
		mkdir -p /opt/containerd/image-verifier
		ln -s %s /opt/containerd/image-verifier/bin`, w.dir, disk, verifiers))
	w.env = append(os.Environ(),
		"GOPROXY=off", "GOCACHE="+goEnv(t, "GOCACHE"), "GOMODCACHE="+goEnv(t, "GOMODCACHE"), // which HOME decides otherwise
		"HOME="+home, "XDG_CONFIG_HOME=", "XDG_CACHE_HOME=", "DOCKER_CONFIG=",
		"SSL_CERT_FILE="+w.dir+"/ca.pem", // for the registries whose CAs every machine trusts
		"CONTAINERD_ADDRESS="+testdaemon.Start(t, testdaemon.Options{}).Address)
	w.writeProfile(t, filepath.Join(home, ".config/containerd-pull"))
	w.provideProgram(t)
	return w
}

// copyModule makes the working directory a clone, of what the module is now.
func (w *readmeWorld) copyModule(t *testing.T) {
	t.Helper()
	for _, name := range []string{"cmd", "pkg"} {
		if err := os.CopyFS(filepath.Join(w.dir, name), os.DirFS("../"+name)); err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range []string{"go.mod", "go.sum"} {
		text, err := os.ReadFile("../" + name)
		if err != nil {
			t.Fatal(err)
		}
		w.write(t, name, string(text))
	}
}

// writeProfile makes the README's profile, its first block of TOML, the user's
// configuration.
func (w *readmeWorld) writeProfile(t *testing.T, dir string) {
	t.Helper()
	text, err := os.ReadFile("../README.md")
	if err != nil {
		t.Fatal(err)
	}
	profile := regexp.MustCompile("(?s)```toml\n(.*?)```").FindSubmatch(text)
	if profile == nil {
		t.Fatal("README.md shows no profile")
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string][]byte{"config.toml": profile[1], "prod.password": []byte("secret")} {
		if err := os.WriteFile(filepath.Join(dir, name), text, 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

func (w *readmeWorld) write(t *testing.T, name, text string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(w.dir, name), []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

// provideProgram puts the program on PATH, or the packages that bring it into
// the working directory.
func (w *readmeWorld) provideProgram(t *testing.T) {
	t.Helper()
	if from := os.Getenv(packagesFolder); from != "" {
		if err := copyPackages(w.dir, from); err != nil {
			t.Fatal(err)
		}
		return
	}
	bin := t.TempDir()
	build := exec.CommandContext(t.Context(), "go", "build", "-o", bin, "./cmd/containerd-pull")
	build.Dir, build.Env = w.dir, w.env
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("building the program: %v: %s", err, out)
	}
	w.env = append(w.env, "PATH="+bin+":"+os.Getenv("PATH"))
}

func copyPackages(to, from string) error {
	return fs.WalkDir(os.DirFS(from), ".", func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() || filepath.Ext(path) != ".deb" {
			return err
		}
		return os.Link(filepath.Join(from, path), filepath.Join(to, entry.Name()))
	})
}

// run runs the commands on a terminal, as a person would.
func (w *readmeWorld) run(t *testing.T) {
	t.Helper()
	text, err := os.ReadFile("../README.md")
	if err != nil {
		t.Fatal(err)
	}
	script := readmeScript(string(text), os.Getenv(packagesFolder) != "")
	if strings.Count(script, "containerd-pull") < 10 {
		t.Fatalf("too few commands were found in README.md:\n%s", script)
	}
	cmd := exec.CommandContext(t.Context(), "bash", "-exuo", "pipefail", "-c", strings.ReplaceAll(script, "sha256:…", w.digest))
	cmd.Dir, cmd.Env = w.dir, w.env
	terminal, err := pty.StartWithSize(cmd, &pty.Winsize{Rows: 40, Cols: 120})
	if err != nil {
		t.Fatal(err)
	}
	defer terminal.Close()
	shown := typePassword(terminal)
	if err := cmd.Wait(); err != nil {
		t.Errorf("%v", err)
	}
	t.Logf("%s", shown)
}

// typePassword answers questions for passwords until the terminal's other end
// is closed, and returns what was shown.
func typePassword(terminal *os.File) []byte {
	var shown bytes.Buffer
	for in := bufio.NewReader(terminal); ; {
		b, err := in.ReadByte()
		if err != nil { // EIO, when the last process has gone
			return shown.Bytes()
		}
		shown.WriteByte(b)
		if b == ' ' && passwordQuestion.Match(shown.Bytes()) {
			fmt.Fprintln(terminal, "secret")
		}
	}
}

var passwordQuestion = regexp.MustCompile(`Password of \S+ for \S+: $`)

// readmeScript is the script of the blocks that are run.
func readmeScript(text string, packages bool) string {
	script := new(strings.Builder)
	fmt.Fprintln(script, `command -v sudo >/dev/null || sudo() { "$@"; }`) // root needs none
	for _, b := range readmeBlocks(text) {
		if b.shown || b.packages && !packages {
			continue
		}
		for line := range strings.Lines(b.text + "\n") {
			if !strings.Contains(line, "<TAB>") {
				script.WriteString(line)
			}
		}
	}
	return script.String()
}

// block is a block of commands and what the comment before it says.
type block struct {
	text            string
	shown, packages bool
}

var (
	fence      = regexp.MustCompile("^(```+|~~~+)\\s*(\\S*)")
	annotation = regexp.MustCompile(`^<!-- (?:(not run): .+|(packages)) -->$`)
)

// readmeBlocks finds the blocks of a Markdown text whose lists hold no code.
func readmeBlocks(text string) []block {
	var all []block
	var next block // with the annotation that came last
	lines := strings.Split(text, "\n")
	for i := 0; i < len(lines); i++ {
		line := lines[i]
		if m := annotation.FindStringSubmatch(line); m != nil {
			next = block{shown: m[1] != "", packages: m[2] != ""}
			continue
		}
		switch m := fence.FindStringSubmatch(line); {
		case m != nil:
			start := i + 1
			for i++; i < len(lines) && !strings.HasPrefix(lines[i], m[1]); i++ {
			}
			next.text = strings.Join(lines[start:min(i, len(lines))], "\n")
			next.shown = next.shown || m[2] != "" && m[2] != "sh"
		case strings.HasPrefix(line, "    "):
			var block []string
			for ; i < len(lines) && (lines[i] == "" || strings.HasPrefix(lines[i], "    ")); i++ {
				block = append(block, strings.TrimPrefix(lines[i], "    "))
			}
			i--
			next.text = strings.TrimSpace(strings.Join(block, "\n"))
		case line == "":
			continue
		default:
			next = block{}
			continue
		}
		all = append(all, next)
		next = block{}
	}
	return all
}

func shell(t *testing.T, script string) {
	t.Helper()
	if out, err := exec.CommandContext(t.Context(), "sh", "-ec", script).CombinedOutput(); err != nil {
		t.Fatalf("%s: %v: %s", script, err, out)
	}
}

func goEnv(t *testing.T, name string) string {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), "go", "env", name).Output()
	if err != nil {
		t.Fatalf("go env %s: %v", name, errors.Join(err, t.Context().Err()))
	}
	return strings.TrimSpace(string(out))
}
