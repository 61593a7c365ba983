// Package pkg_test holds the tests of the module as a whole: the import table
// and the rules of docs/architecture.md, enforced on every source file.
package pkg_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const module = "github.com/containerd-pull/containerd-pull/"

// rooms says for each package of the module what else of the module it may
// import; a trailing slash stands for everything below.
func rooms() map[string][]string {
	return map[string][]string{
		"cmd/containerd-pull":      {"pkg/", "cmd/containerd-pull/internal/"},
		"cmd/quickstart":           {"pkg/"},
		"pkg/userfile":             {},
		"pkg/config":               {"pkg/userfile", "pkg/config/value", "pkg/config/file", "pkg/store", "pkg/registry", "pkg/source", "pkg/pull", "pkg/trust", "pkg/registry/credential", "pkg/registry/hosts"},
		"pkg/registry":             {"pkg/source", "pkg/progress", "pkg/printable", "pkg/registry/credential", "pkg/registry/hosts", "pkg/registry/token", "pkg/registry/allowance", "pkg/registry/coding", "pkg/registry/document", "pkg/registry/dump", "pkg/registry/header", "pkg/registry/neterror", "pkg/registry/words"},
		"pkg/registry/allowance":   {},
		"pkg/registry/coding":      {},
		"pkg/registry/document":    {"pkg/source"},
		"pkg/registry/dump":        {"pkg/printable"},
		"pkg/registry/header":      {},
		"pkg/registry/neterror":    {},
		"pkg/registry/words":       {"pkg/printable"},
		"pkg/registry/token":       {"pkg/source", "pkg/registry/credential"},
		"pkg/registry/hosts":       {"pkg/source", "pkg/userfile"},
		"pkg/registry/credential":  {"pkg/source", "pkg/userfile"},
		"pkg/batch":                {"pkg/config", "pkg/store", "pkg/store/daemon", "pkg/store/root", "pkg/registry", "pkg/registry/credential", "pkg/registry/hosts", "pkg/source", "pkg/pull", "pkg/progress", "pkg/trust"},
		"pkg/config/value":         {},
		"pkg/config/file":          {"pkg/config/value", "pkg/userfile"},
		"pkg/source":               {},
		"pkg/source/list":          {"pkg/source", "pkg/printable", "pkg/userfile"},
		"pkg/image":                {"pkg/source"},
		"pkg/printable":            {},
		"pkg/failure":              {},
		"pkg/store":                {"pkg/store/contentdir", "pkg/image", "pkg/progress", "pkg/internal/beneath", "pkg/internal/multibuffer"},
		"pkg/store/snapshotdir":    {"pkg/store"},
		"pkg/store/contentdir":     {"pkg/internal/beneath", "pkg/internal/multibuffer"},
		"pkg/store/daemon":         {"pkg/store", "pkg/store/contentdir", "pkg/store/snapshotdir", "pkg/image", "pkg/internal/beneath", "pkg/internal/boltcheck", "pkg/internal/multibuffer"},
		"pkg/userns":               {},
		"pkg/store/root":           {"pkg/userns", "pkg/store", "pkg/store/contentdir", "pkg/store/snapshotdir", "pkg/internal/boltcheck", "pkg/internal/beneath", "pkg/internal/multibuffer"},
		"pkg/internal/boltcheck":   {},
		"pkg/fetch":                {"pkg/progress", "pkg/source"},
		"pkg/inflate":              {},
		"pkg/layer":                {"pkg/printable"},
		"pkg/layer/erofs":          {"pkg/layer"},
		"pkg/internal/multibuffer": {},
		"pkg/internal/beneath":     {},
		"pkg/unpack":               {"pkg/unpack/pipeline", "pkg/fetch", "pkg/layer", "pkg/layer/erofs", "pkg/progress", "pkg/store"},
		"pkg/unpack/pipeline":      {"pkg/inflate", "pkg/internal/multibuffer", "pkg/progress"},
		"pkg/pull":                 {"pkg/image", "pkg/store", "pkg/source", "pkg/fetch", "pkg/unpack", "pkg/trust", "pkg/progress", "pkg/printable"},
		"pkg/trust":                {"pkg/source", "pkg/printable"},
		"pkg/check":                {"pkg/image", "pkg/store", "pkg/source", "pkg/fetch", "pkg/unpack", "pkg/layer", "pkg/progress", "pkg/internal/beneath"},
		"pkg/watch":                {"pkg/image", "pkg/store", "pkg/store/daemon", "pkg/progress"},
		"pkg/progress":             {"pkg/source", "pkg/printable"},
		"pkg/progress/display":     {"pkg/progress", "pkg/printable"},
		"pkg/progress/timeline":    {"pkg/progress", "pkg/printable"},
		// Events for the tests of the wing.
		"pkg/progress/internal/scene": {"pkg/progress"},
		"pkg/plugin":                  {"pkg/userfile"},

		"cmd/containerd-pull/internal/complete": {"pkg/config", "pkg/config/file", "pkg/config/value", "pkg/image", "pkg/plugin", "pkg/registry", "pkg/registry/credential", "pkg/source", "pkg/store", "pkg/store/daemon", "pkg/store/root", "pkg/userfile"},
		"cmd/containerd-pull/internal/enter":    {"cmd/containerd-pull/internal/process", "pkg/config", "pkg/failure", "pkg/pull", "pkg/store", "pkg/userfile", "pkg/userns"},
		"cmd/containerd-pull/internal/exit":     {"pkg/batch", "pkg/config", "pkg/config/value", "pkg/failure", "pkg/layer", "pkg/printable", "pkg/progress", "pkg/pull", "pkg/source", "pkg/store", "pkg/trust", "pkg/userfile"},
		"cmd/containerd-pull/internal/named":    {"cmd/containerd-pull/internal/exit", "pkg/batch", "pkg/config", "pkg/source", "pkg/source/list"},
		"cmd/containerd-pull/internal/process":  {},
		"cmd/containerd-pull/internal/output":   {"pkg/batch", "pkg/check", "pkg/config", "pkg/config/value", "pkg/config/file", "pkg/progress", "pkg/progress/display", "pkg/pull", "pkg/registry/credential", "pkg/registry/hosts", "pkg/source", "pkg/store", "pkg/printable", "pkg/userfile", "pkg/watch"},
		"cmd/containerd-pull/internal/remove":   {"cmd/containerd-pull/internal/exit", "cmd/containerd-pull/internal/output", "pkg/store"},
		"cmd/containerd-pull/internal/terminal": {"pkg/failure"},

		"cmd/containerd-pull/internal/usage": {"cmd/containerd-pull/internal/exit", "pkg/config", "pkg/config/value", "pkg/failure", "pkg/source"},

		"pkg/internal/pulltest":              {},
		"pkg/internal/pulltest/process":      {},
		"pkg/internal/pulltest/tree":         {},
		"pkg/internal/pulltest/testregistry": {"pkg/internal/pulltest", "pkg/internal/pulltest/process", "pkg/internal/pulltest/testca"},
		"pkg/internal/pulltest/testca":       {},
		"pkg/internal/pulltest/teststore":    {"pkg/internal/pulltest", "pkg/internal/pulltest/testdaemon", "pkg/store", "pkg/store/daemon", "pkg/store/root"},
		"pkg/internal/pulltest/testdaemon":   {"pkg/internal/pulltest", "pkg/internal/pulltest/process", "pkg/internal/pulltest/tree"},
		// The way of cmd/quickstart to pulltest, which Go hides from cmd.
		"pkg/sample":        {"pkg/internal/pulltest", "pkg/internal/pulltest/testregistry", "pkg/internal/pulltest/tree"},
		"pkg/sample/golden": {}, // of tests, those of cmd as well
	}
}

// owners says for each library which packages alone may import it or what is
// below it; a trailing slash stands for everything below a package.
func owners() map[string][]string {
	const containerd = "github.com/containerd/containerd/v2/"
	return map[string][]string{
		module + "pkg/internal/pulltest":         {"pkg/sample", "pkg/internal/pulltest/"},
		module + "pkg/sample":                    {"cmd/quickstart"},
		"github.com/spf13/cobra":                 {"cmd/containerd-pull", "cmd/containerd-pull/internal/complete", "cmd/containerd-pull/internal/usage"},
		"github.com/spf13/viper":                 {"pkg/config/file"},
		"github.com/compose-spec/compose-go/v2":  {"pkg/source/list"},
		"github.com/containerd/nerdctl/v2":       {"pkg/config"},
		containerd + "client":                    {"pkg/store/daemon"},
		containerd + "core/metadata":             {"pkg/store/root"},
		containerd + "plugins/snapshots":         {"pkg/store/root"},
		"go.etcd.io/bbolt":                       {"pkg/store/root", "pkg/store/daemon", "pkg/store/snapshotdir", "pkg/internal/pulltest/testdaemon"},
		"github.com/klauspost/compress/gzip":     {"pkg/inflate"},
		"golang.org/x/term":                      {"pkg/progress/display", "cmd/containerd-pull", "cmd/containerd-pull/internal/output", "cmd/containerd-pull/internal/terminal"},
		"github.com/containerd/console":          {"pkg/progress/display"},
		"github.com/mattn/go-runewidth":          {"pkg/progress/display"},
		"github.com/clipperhouse/uax29":          {"pkg/progress/display"},
		"github.com/google/go-containerregistry": {"pkg/internal/pulltest/testregistry"},
	}
}

// source is one file of a package that is no test.
type source struct {
	room string // path of the package below the module
	name string
	file *ast.File
}

func TestImportTable(t *testing.T) {
	for _, s := range sources(t) {
		for _, v := range append(s.imports(), s.uses()...) {
			t.Errorf("%s/%s: %s", s.room, s.name, v)
		}
	}
}

// imports lists what the file imports and may not.
func (s source) imports() []string {
	allowed, known := rooms()[s.room]
	allowed = append(allowed, "pkg/failure") // the form of errors, which every room makes
	if !known {
		return []string{"the package has no row in the import table"}
	}
	var violations []string
	for _, spec := range s.file.Imports {
		imported := importPath(spec)
		if own, ok := strings.CutPrefix(imported, module); ok && !covered(own, allowed) {
			violations = append(violations, fmt.Sprintf("may not import %s of this module", own))
		}
		for library, rooms := range owners() {
			if below(imported, library) && !covered(s.room, rooms) {
				violations = append(violations, fmt.Sprintf("may not import %s, only %s may", imported, strings.Join(rooms, ", ")))
			}
		}
	}
	return violations
}

func importPath(spec *ast.ImportSpec) string { return strings.Trim(spec.Path.Value, "`\"") }

func covered(own string, allowed []string) bool {
	return slices.ContainsFunc(allowed, func(a string) bool {
		return own == a || strings.HasSuffix(a, "/") && strings.HasPrefix(own, a)
	})
}

func below(imported, library string) bool {
	return imported == library || strings.HasPrefix(imported, library+"/")
}

// uses lists the names of package os that the file uses and may not, and its
// init functions.
func (s source) uses() []string {
	var violations []string
	pkg := s.localName("os")
	ast.Inspect(s.file, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.FuncDecl:
			if n.Recv == nil && n.Name.Name == "init" {
				violations = append(violations, "may not have an init function")
			}
		case *ast.SelectorExpr:
			if x, ok := n.X.(*ast.Ident); ok && pkg != "" && x.Name == pkg && slices.Contains(s.forbidden(), n.Sel.Name) {
				violations = append(violations, "may not use os."+n.Sel.Name)
			}
		}
		return true
	})
	return violations
}

// localName is the name that the file gives to a package of the standard
// library, empty if it does not import it.
func (s source) localName(imported string) string {
	for _, spec := range s.file.Imports {
		if importPath(spec) != imported {
			continue
		}
		if spec.Name != nil {
			return spec.Name.Name
		}
		return path.Base(imported)
	}
	return ""
}

// forbidden lists what the package may not use of package os. The environment
// of the product is read by config and registry/credential alone; pulltest asks it whether
// this is CI, and the quickstart has no configuration.
func (s source) forbidden() []string {
	var names []string
	if strings.HasPrefix(s.room, "pkg/") {
		names = append(names, "Stdout", "Stderr", "Args", "Exit")
	}
	switch s.room {
	case "pkg/config", "pkg/registry/credential", "pkg/internal/pulltest", "pkg/internal/pulltest/process", "pkg/internal/pulltest/testdaemon", "cmd/quickstart":
		return names
	default:
		return append(names, "Getenv", "LookupEnv", "Environ", "ExpandEnv")
	}
}

// sources parses the files of all packages, those of other systems included.
// A package that does not build is listed as well: that is the compiler's to
// say.
func sources(t *testing.T) []source {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "go", "list", "-e", "-json=ImportPath,Dir,GoFiles,CgoFiles,IgnoredGoFiles", "./...")
	cmd.Dir = ".."
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("listing packages: %v: %s", err, &stderr)
	}
	var all []source
	for dec := json.NewDecoder(bytes.NewReader(out)); ; {
		var p struct {
			ImportPath, Dir                   string
			GoFiles, CgoFiles, IgnoredGoFiles []string
		}
		err := dec.Decode(&p)
		if errors.Is(err, io.EOF) {
			return all
		}
		if err != nil {
			t.Fatalf("decoding packages: %v", err)
		}
		for _, name := range slices.Concat(p.GoFiles, p.CgoFiles, p.IgnoredGoFiles) {
			if !strings.HasSuffix(name, "_test.go") {
				all = append(all, parse(t, strings.TrimPrefix(p.ImportPath, module), filepath.Join(p.Dir, name), nil))
			}
		}
	}
}

// parse reads the file, or src if it is not nil.
func parse(t *testing.T, room, file string, src any) source {
	t.Helper()
	f, err := parser.ParseFile(token.NewFileSet(), file, src, parser.SkipObjectResolution)
	if err != nil {
		t.Fatal(err)
	}
	return source{room: room, name: filepath.Base(file), file: f}
}

func TestImportRulesCatchViolations(t *testing.T) {
	file := func(body string, imports ...string) string {
		for i, imported := range imports {
			imports[i] = "import " + strconv.Quote(imported)
		}
		return "package x\n" + strings.Join(imports, "\n") + "\n" + body
	}
	for _, c := range []struct {
		room, src string
		want      []string
	}{
		{"pkg/pull", file("", module+"pkg/fetch", "os"), nil},
		{"cmd/quickstart", file("", module+"pkg/sample"), nil},
		{"pkg/store/root", file("", "github.com/containerd/containerd/v2/core/metadata/boltutil"), nil},
		{"pkg/layer", file("func f() { os.Remove(``) }", "os"), nil},
		{"pkg/config", file("func f() { os.Getenv(``) }", "os"), nil},
		{"pkg/layer", file("type t int; func (t) init() {}"), nil},
		{"pkg/new", file(""), []string{"the package has no row in the import table"}},
		{"pkg/layer", file("", module+"pkg/inflate"), []string{"may not import pkg/inflate of this module"}},
		{"cmd/containerd-pull", file("", module+"pkg/internal/pulltest"), []string{
			"may not import " + module + "pkg/internal/pulltest, only pkg/sample, pkg/internal/pulltest/ may",
		}},
		{"pkg/plugin", file("", "github.com/spf13/cobra/doc"), []string{
			"may not import github.com/spf13/cobra/doc, only cmd/containerd-pull, cmd/containerd-pull/internal/complete, cmd/containerd-pull/internal/usage may",
		}},
		{"pkg/pull", file("", "github.com/containerd/containerd/v2/plugins/snapshots/native"), []string{
			"may not import github.com/containerd/containerd/v2/plugins/snapshots/native, only pkg/store/root may",
		}},
		{"pkg/config", file("func f() { os.Exit(len(os.Args)) }", "os"), []string{"may not use os.Exit", "may not use os.Args"}},
		{"pkg/fetch", "package x\nimport sys \"os\"\nvar home = sys.Getenv(`HOME`)", []string{"may not use os.Getenv"}},
		{"cmd/containerd-pull", file("func init() {}"), []string{"may not have an init function"}},
	} {
		s := parse(t, c.room, "x.go", c.src)
		if diff := cmp.Diff(c.want, append(s.imports(), s.uses()...)); diff != "" {
			t.Errorf("violations in %s of %q (-want +got):\n%s", c.room, c.src, diff)
		}
	}
}
