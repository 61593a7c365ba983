package pkg_test

import (
	"go/ast"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestN18NoClassAtTheEndOfSentences keeps the texts of classes and of error numbers
// out of messages: ": invalid argument" at the end of a sentence that has said what
// is wrong is noise. pkg/failure gives an error its class without the text.
func TestN18NoClassAtTheEndOfSentences(t *testing.T) {
	for _, s := range sources(t) {
		for _, v := range s.tails() {
			t.Errorf("%s/%s: %s", s.room, s.name, v)
		}
	}
}

// tails lists the calls that make a text of a class or an error number.
func (s source) tails() []string {
	var found []string
	ast.Inspect(s.file, func(n ast.Node) bool {
		call, ok := n.(*ast.CallExpr)
		if !ok || !s.formats(call) {
			return true
		}
		for _, arg := range call.Args {
			if name, ok := s.classOrErrno(arg); ok {
				found = append(found, "makes a text of "+name+"; say what is wrong and give the class to failure.New")
			}
		}
		return true
	})
	return found
}

// formats reports whether the call makes a text or an error of its arguments.
func (s source) formats(call *ast.CallExpr) bool {
	fn, ok := call.Fun.(*ast.SelectorExpr)
	if !ok {
		return false
	}
	pkg, ok := fn.X.(*ast.Ident)
	if !ok {
		return false
	}
	switch pkg.Name {
	case s.localName("fmt"):
		return slices.Contains([]string{"Errorf", "Sprintf", "Sprint", "Sprintln"}, fn.Sel.Name)
	case s.localName("errors"):
		return fn.Sel.Name == "Join"
	}
	return false
}

func (s source) classOrErrno(arg ast.Expr) (string, bool) {
	sel, ok := arg.(*ast.SelectorExpr)
	if !ok {
		return "", false
	}
	pkg, ok := sel.X.(*ast.Ident)
	if !ok {
		return "", false
	}
	name := pkg.Name + "." + sel.Sel.Name
	switch pkg.Name {
	case s.localName("github.com/containerd/errdefs"):
		return name, strings.HasPrefix(sel.Sel.Name, "Err")
	case s.localName("syscall"), s.localName("golang.org/x/sys/unix"):
		return name, strings.HasPrefix(sel.Sel.Name, "E") && sel.Sel.Name == strings.ToUpper(sel.Sel.Name)
	}
	return "", false
}

func TestTailsAreFound(t *testing.T) {
	head := "package x\nimport (\"fmt\"; \"errors\"; \"github.com/containerd/errdefs\"; \"golang.org/x/sys/unix\")\n"
	for body, want := range map[string]string{
		"var e = fmt.Errorf(`x: %w`, errdefs.ErrNotFound)":      "errdefs.ErrNotFound",
		"var e = fmt.Sprintf(`x: %v`, unix.EINVAL)":             "unix.EINVAL",
		"var e = errors.Join(errdefs.ErrUnavailable)":           "errdefs.ErrUnavailable",
		"var e = errors.Is(nil, errdefs.ErrUnavailable)":        "",
		"var e = fmt.Errorf(`x: %w`, errdefs.ToNative(nil))":    "",
		"var e = failure.New(errdefs.ErrUnavailable, `not up`)": "",
	} {
		var wanted []string
		if want != "" {
			wanted = []string{"makes a text of " + want + "; say what is wrong and give the class to failure.New"}
		}
		if diff := cmp.Diff(wanted, parse(t, "pkg/x", "x.go", head+body).tails()); diff != "" {
			t.Errorf("%s (-want +got):\n%s", body, diff)
		}
	}
}
