package pkg_test

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// namingFiles are the files, in the words of git's pathspecs, whose text may
// name files and tests of this repository. The changelog and the benchmarks say
// how things were called in their time.
func namingFiles() []string {
	return []string{"docs/*.md", "README.md", ".ci", ".github", ".goreleaser.yaml", "*.go",
		":!docs/changelog.md", ":!docs/benchmarks.md", ":!docs/cli",
		// These name files of other programs.
		":!docs/comparison.md", ":!.ci/bench", ":!.ci/nerdctl", ":!pkg/image/label.go", ":!pkg/trust/bindir.go"}
}

// git runs git in the root of the repository. Without a clone the test is
// skipped, as in an archive of the sources.
func git(t *testing.T, args ...string) string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "git", append([]string{"-c", "safe.directory=*"}, args...)...)
	cmd.Dir = ".."
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil && stderr.Len() > 0 {
		t.Skipf("needed: a clone made by git: %s", &stderr)
	}
	return string(out)
}

// grep gives what the pattern matches in the files, each with its file.
func grep(t *testing.T, pattern string, files ...string) [][2]string {
	t.Helper()
	var found [][2]string
	for line := range strings.Lines(git(t, append([]string{"grep", "--untracked", "-oIP", pattern, "--"}, files...)...)) {
		file, match, _ := strings.Cut(strings.TrimSpace(line), ":")
		found = append(found, [2]string{file, match})
	}
	return found
}

// TestNamedFiles wants to exist what documentation, scripts and comments name.
func TestNamedFiles(t *testing.T) {
	const pattern = `(?<![\w./$"@:{}-])(pkg|cmd/containerd-pull|cmd/quickstart|docs|\.ci)/[\w*{},./-]*\w`
	for _, f := range grep(t, pattern, namingFiles()...) {
		file, name := f[0], f[1]
		made := strings.HasPrefix(name, ".ci/tools/") // by .ci/setup
		if made || strings.Contains(name, "...") || file == "pkg/imports_test.go" {
			continue
		}
		if !slices.ContainsFunc(braces(name), func(n string) bool {
			found, err := filepath.Glob("../" + n)
			return err == nil && len(found) > 0
		}) {
			t.Errorf("%s names %s, which does not exist", file, name)
		}
	}
}

// TestNoProgramIsKept: what a build leaves in a folder is easily added with the rest.
func TestNoProgramIsKept(t *testing.T) {
	for name := range strings.SplitSeq(strings.TrimSuffix(git(t, "ls-files", "-z"), "\x00"), "\x00") {
		f, err := os.Open("../" + name)
		if errors.Is(err, fs.ErrNotExist) { // it is about to be removed
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		start := make([]byte, 4)
		n, _ := f.Read(start) // an empty file is none
		f.Close()
		if string(start[:n]) == "\x7fELF" {
			t.Errorf("%s is a program: remove it", name)
		}
	}
}

// braces expands the first {a,b} of a shell's pattern.
func braces(name string) []string {
	before, rest, ok := strings.Cut(name, "{")
	words, after, closed := strings.Cut(rest, "}")
	if !ok || !closed {
		return []string{name}
	}
	var all []string
	for _, word := range strings.Split(words, ",") {
		all = append(all, before+word+after)
	}
	return all
}

// TestNamedTests wants to exist the tests that documentation and scripts name:
// go test -run succeeds with a name that no test has.
func TestNamedTests(t *testing.T) {
	var all []string
	for _, f := range grep(t, `^func (Test|Fuzz|Benchmark|Example)\w*`, "*_test.go") {
		all = append(all, strings.TrimPrefix(f[1], "func "))
	}
	for _, f := range grep(t, `\b(Test|Fuzz|Benchmark)[A-Z]\w+`, "docs/*.md", "README.md", ".ci", ":!docs/changelog.md") {
		if !slices.ContainsFunc(all, func(name string) bool { return strings.HasPrefix(name, f[1]) }) {
			t.Errorf("%s names %s, which is no test", f[0], f[1])
		}
	}
}

// TestLinterPaths wants each path of the linter's configuration to match a file.
func TestLinterPaths(t *testing.T) {
	text, err := os.ReadFile("../.golangci.yaml")
	if err != nil {
		t.Fatal(err)
	}
	files := grep(t, `^package \w+`, "*.go")
	for _, m := range regexp.MustCompile(`(?m)^\s+(?:- )?path: (.*)$`).FindAllSubmatch(text, -1) {
		path, err := regexp.Compile(string(m[1]))
		if err != nil {
			t.Errorf("path %s: %v", m[1], err)
			continue
		}
		if !slices.ContainsFunc(files, func(f [2]string) bool { return path.MatchString(f[0]) }) {
			t.Errorf("path %s matches no file", m[1])
		}
	}
}
