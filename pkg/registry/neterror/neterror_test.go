package neterror_test

import (
	"bytes"
	"go/importer"
	"go/token"
	"go/types"
	"io"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"github.com/containerd-pull/containerd-pull/pkg/registry/neterror"
)

// netPackages are the packages whose errors can end a request.
func netPackages() []string {
	return []string{"net", "crypto/tls", "crypto/x509", "net/http", "net/url"}
}

// TestEveryNetErrorHasRow lists what Go's own packages can return, so that a new Go
// brings no error about which nothing was decided.
func TestEveryNetErrorHasRow(t *testing.T) {
	rows := neterror.Names()
	exported := exportedErrors(t)
	if len(exported) < 40 {
		t.Fatalf("got %d errors in the packages, want the 40 and more that there are", len(exported))
	}
	for _, name := range exported {
		if !slices.ContainsFunc(rows, func(row string) bool { return row == name || strings.HasPrefix(row, name+" ") }) {
			t.Errorf("%s has no row in the table", name)
		}
	}
	for _, row := range rows {
		name, _, _ := strings.Cut(row, " ")
		pkg, _, _ := strings.Cut(name, ".")
		if pkg != "syscall" && pkg != "io" && pkg != "context" && !slices.Contains(exported, name) {
			t.Errorf("row %s is about nothing that the packages export", row)
		}
	}
}

// exportedErrors returns the error types and variables as go doc names them.
func exportedErrors(t *testing.T) []string {
	t.Helper()
	files := exportData(t)
	imp := importer.ForCompiler(token.NewFileSet(), "gc", func(path string) (io.ReadCloser, error) {
		return os.Open(files[path])
	})
	var names []string
	for _, path := range netPackages() {
		pkg, err := imp.Import(path)
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range pkg.Scope().Names() {
			if obj := pkg.Scope().Lookup(name); obj.Exported() && isError(obj) {
				names = append(names, pkg.Name()+"."+name)
			}
		}
	}
	return names
}

// exportData maps packages to the files in which the compiler describes them.
func exportData(t *testing.T) map[string]string {
	t.Helper()
	args := append([]string{"list", "-export", "-deps", "-f", "{{.ImportPath}} {{.Export}}"}, netPackages()...)
	out, err := exec.CommandContext(t.Context(), "go", args...).Output()
	if err != nil {
		t.Fatalf("listing the packages: %v", err)
	}
	files := map[string]string{}
	for line := range bytes.Lines(out) {
		path, file, _ := strings.Cut(strings.TrimSpace(string(line)), " ")
		files[path] = file
	}
	return files
}

func isError(obj types.Object) bool {
	errorType := types.Universe.Lookup("error").Type().Underlying().(*types.Interface)
	switch obj := obj.(type) {
	case *types.TypeName:
		return types.Implements(obj.Type(), errorType) || types.Implements(types.NewPointer(obj.Type()), errorType)
	case *types.Var:
		return types.Implements(obj.Type(), errorType)
	}
	return false
}
