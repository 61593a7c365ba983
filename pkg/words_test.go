package pkg_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

// unwanted are the words that comments and texts do without: a sentence names
// the thing or the caller that it is about, and a predicate reports.
var unwanted = regexp.MustCompile(`(?i:\b(?:nobody|somebody|whoever|anybody|everybody|someone|ours|(?:tells|says) whether)\b)|(?:^|[\s("'*_—-])[Uu]s(?:[\s,.;:)"'!?*_—]|$)`)

// unwantedErrors begin the message of an error that says less than what was
// being done, and to what.
var unwantedErrors = regexp.MustCompile(`(?i)\bfailed to\b`)

// text is a piece of a file that people read.
type text struct {
	file string
	line int
	text string
}

// TestWords looks for unwanted words in comments, in the texts of the program,
// and in its documentation.
func TestWords(t *testing.T) {
	for _, s := range append(goTexts(t), plainTexts(t)...) {
		if word := unwanted.FindString(s.text); word != "" {
			t.Errorf("%s:%d: do without %q: %s", s.file, s.line, strings.TrimSpace(word), strings.TrimSpace(s.text))
		}
	}
}

// files lists those of the repository that match the pathspecs of git.
func files(t *testing.T, specs ...string) []string {
	t.Helper()
	var names []string
	for name := range strings.Lines(git(t, append([]string{"ls-files", "--cached", "--others", "--exclude-standard", "--deduplicate", "--"}, specs...)...)) {
		name = strings.TrimSuffix(name, "\n")
		if _, err := os.Stat(filepath.Join("..", name)); err == nil { // it may have been removed
			names = append(names, name)
		}
	}
	if len(names) == 0 {
		t.Fatalf("got no files of %q", specs)
	}
	return names
}

// goTexts gives the comments and the strings of all Go files.
func goTexts(t *testing.T) []text {
	t.Helper()
	var all []text
	for _, name := range files(t, "*.go") {
		set := token.NewFileSet()
		f, err := parser.ParseFile(set, filepath.Join("..", name), nil, parser.ParseComments|parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		for _, group := range f.Comments {
			for _, c := range group.List {
				line := set.Position(c.Pos()).Line
				for i, words := range strings.Split(c.Text, "\n") {
					all = append(all, text{name, line + i, words})
				}
			}
		}
		if name != "pkg/words_test.go" { // which holds the words
			all = append(all, literals(t, name, set, f)...)
		}
	}
	return all
}

// literals gives the strings of a file that are sentences, and of the shell
// functions their comments. It complains about errors that only say that
// something failed.
func literals(t *testing.T, name string, set *token.FileSet, f *ast.File) []text {
	t.Helper()
	var all []text
	ast.Inspect(f, func(n ast.Node) bool {
		lit, ok := n.(*ast.BasicLit)
		if !ok || lit.Kind != token.STRING {
			return true
		}
		words, err := strconv.Unquote(lit.Value)
		if err != nil || !strings.Contains(words, " ") {
			return true
		}
		line := set.Position(lit.Pos()).Line
		if unwantedErrors.MatchString(words) {
			t.Errorf("%s:%d: say what was being done instead: %q", name, line, words)
		}
		program := name == "pkg/plugin/shell.go"
		for i, sentence := range strings.Split(words, "\n") {
			if comment := strings.HasPrefix(strings.TrimSpace(sentence), "#"); comment || !program {
				all = append(all, text{name, line + i, sentence})
			}
		}
		return true
	})
	return all
}

// plainTexts gives the lines of documentation and help, and the comments of
// scripts, configurations and assembly. The programs that .ci/bench compares
// bear such a name, also in the tables of benchmarks.
func plainTexts(t *testing.T) []text {
	t.Helper()
	all := lines(t, "", files(t, "*.md", ":!docs/benchmarks.md")...)
	all = append(all, lines(t, "#", files(t, ".ci", "*.txtar", "*.yaml", "*.yml", "*.toml", "*.sh", ":!.ci/bench", ":!.ci/tools")...)...)
	return append(all, lines(t, "//", files(t, "*.s")...)...)
}

// lines gives what each line of the files holds behind the mark.
func lines(t *testing.T, mark string, names ...string) []text {
	t.Helper()
	var all []text
	for _, name := range names {
		content, err := os.ReadFile(filepath.Join("..", name))
		if err != nil {
			t.Fatal(err)
		}
		for i, line := range strings.Split(string(content), "\n") {
			if _, words, ok := strings.Cut(line, mark); ok {
				all = append(all, text{name, i + 1, words})
			}
		}
	}
	return all
}

func TestUnwantedWords(t *testing.T) {
	for words, want := range map[string]bool{
		"nobody waits for it":         true,
		"Whoever forks":               true,
		"it tells whether it is":      true,
		"read by us.":                 true,
		"gives us the bytes":          true,
		"12 us, or 3 µs":              true,
		"the region us-east-1":        false,
		"sub-paths of /us/share":      false,
		"reports whether it is":       false,
		"a focus, a bus, an animus":   false,
		"yours and hours":             false,
		"the caller closes the store": false,
	} {
		if got := unwanted.MatchString(words); got != want {
			t.Errorf("%q: got %t, want %t", words, got, want)
		}
	}
}
