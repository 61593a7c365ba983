package pkg_test

import (
	"go/ast"
	"go/importer"
	"go/token"
	"go/types"
	"strings"
	"testing"
)

// TestNoStandardTypeIsEmbedded refuses structs that embed a type of the standard
// library which is no interface: its promoted methods are ways past the type's
// own. io.Copy found the ReadFrom of an embedded bytes.Buffer, and with it the
// way past the bound of a Write (security finding M8).
func TestNoStandardTypeIsEmbedded(t *testing.T) {
	load := importer.ForCompiler(token.NewFileSet(), "source", nil)
	for _, s := range sources(t) {
		if covered(s.room, []string{"pkg/internal/pulltest", "pkg/internal/pulltest/"}) {
			continue // of tests
		}
		ast.Inspect(s.file, func(n ast.Node) bool {
			structure, ok := n.(*ast.StructType)
			if !ok {
				return true
			}
			for _, field := range structure.Fields.List {
				if pkg, name := s.embedded(field); isConcrete(t, load, pkg, name) {
					t.Errorf("%s/%s: a struct embeds %s.%s; give it a field", s.room, s.name, pkg, name)
				}
			}
			return true
		})
	}
}

// embedded returns the standard package and the name of the type that a field
// embeds, empty for any other.
func (s source) embedded(field *ast.Field) (pkg, name string) {
	of := field.Type
	if star, ok := of.(*ast.StarExpr); ok {
		of = star.X
	}
	selector, ok := of.(*ast.SelectorExpr)
	if !ok || len(field.Names) > 0 {
		return "", ""
	}
	for _, spec := range s.file.Imports {
		path := importPath(spec)
		if first, _, _ := strings.Cut(path, "/"); !strings.Contains(first, ".") && path[strings.LastIndex(path, "/")+1:] == selector.X.(*ast.Ident).Name {
			return path, selector.Sel.Name
		}
	}
	return "", ""
}

// isConcrete reports whether the type is no interface. A mutex has no method
// that moves bytes.
func isConcrete(t *testing.T, load types.Importer, pkg, name string) bool {
	t.Helper()
	if pkg == "" || pkg == "sync" {
		return false
	}
	loaded, err := load.Import(pkg)
	if err != nil {
		t.Fatalf("loading %s: %v", pkg, err)
	}
	return !types.IsInterface(loaded.Scope().Lookup(name).Type())
}
