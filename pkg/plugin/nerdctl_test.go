package plugin_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/containerd-pull/containerd-pull/pkg/config"
	"github.com/containerd-pull/containerd-pull/pkg/plugin"
)

// globalFlag is a global flag in the source of nerdctl.
type globalFlag struct {
	names []string // with dashes; the first is the one with a key in nerdctl.toml
	isSet bool     // without a value
	env   string   // the variable that sets it, empty if there is none
}

// globalFlags reads the flags that nerdctl's root command has out of the source
// of the version that is linked.
func globalFlags(t *testing.T) []globalFlag {
	t.Helper()
	dir, err := exec.CommandContext(t.Context(), "go", "list", "-m", "-f", "{{.Dir}}", "github.com/containerd/nerdctl/v2").Output()
	if err != nil {
		t.Fatalf("finding the source of nerdctl: %v", err)
	}
	file, err := parser.ParseFile(token.NewFileSet(), filepath.Join(strings.TrimSpace(string(dir)), "cmd/nerdctl/main.go"), nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	var all []globalFlag
	ast.Inspect(file, func(n ast.Node) bool {
		if f, ok := n.(*ast.FuncDecl); ok {
			return f.Name.Name == "initRootCmdFlags"
		}
		if call, ok := n.(*ast.CallExpr); ok {
			if f, ok := declared(call); ok {
				all = append(all, f)
			}
		}
		return true
	})
	return all
}

// declared is the flag that a call declares, if it declares one.
func declared(call *ast.CallExpr) (globalFlag, bool) {
	fun, ok := call.Fun.(*ast.SelectorExpr)
	if !ok {
		return globalFlag{}, false
	}
	args := call.Args
	switch fun.Sel.Name {
	case "AddPersistentStringFlag": // root, name, aliases, local, persistent, set, value, env, usage
		return globalFlag{names: names(args[1:5]), env: text(args[7])}, true
	case "AddPersistentBoolFlag": // root, name, aliases, local, value, env, usage
		return globalFlag{names: names(args[1:4]), isSet: true, env: text(args[5])}, true
	case "HiddenPersistentStringArrayFlag": // root, name, value, usage
		return globalFlag{names: names(args[1:2])}, true
	case "Bool", "String", "StringSlice": // name, value, usage
		return globalFlag{names: names(args[:1]), isSet: fun.Sel.Name == "Bool"}, true
	}
	return globalFlag{}, false
}

// names are the texts within the arguments, as flags. A letter can be typed with
// one dash and with two.
func names(args []ast.Expr) []string {
	var all []string
	for _, arg := range args {
		ast.Inspect(arg, func(n ast.Node) bool {
			if lit, ok := n.(*ast.BasicLit); ok {
				name := text(lit)
				if all = append(all, "--"+name); len(name) == 1 {
					all = append(all, "-"+name)
				}
			}
			return true
		})
	}
	return all
}

func text(n ast.Node) string {
	lit, ok := n.(*ast.BasicLit)
	if !ok {
		return ""
	}
	s, _ := strconv.Unquote(lit.Value)
	return s
}

// TestGlobalFlagsAreThoseOfNerdctl: each global flag that nerdctl has is stepped
// over, and passed on if it is a setting of a pull; the variables that set it are
// the same.
func TestGlobalFlagsAreThoseOfNerdctl(t *testing.T) {
	settings := map[string]*config.Setting{}
	for _, s := range config.Table() {
		for _, f := range s.Flags {
			settings["--"+f.Name] = s
			settings["-"+f.Short] = s
		}
	}
	flags := globalFlags(t)
	if len(flags) < 20 {
		t.Fatalf("got %d flags in the source of nerdctl, want them all", len(flags))
	}
	for _, f := range flags {
		for _, name := range f.names {
			words := []string{name}
			if !f.isSet {
				words = append(words, "value")
			}
			s := settings[name]
			want := []string{"alpine"}
			if s != nil {
				want = append(slices.Clone(words), want...)
			}
			got := plugin.Parse(append(slices.Clone(words), plugin.Word, "alpine"))
			if diff := cmp.Diff(plugin.Call{IsPull: true, Args: want}, got); diff != "" {
				t.Errorf("%s (-want +got):\n%s", name, diff)
			}
			if s == nil {
				continue
			}
			env := []string{}
			if f.env != "" {
				env = append(env, f.env)
			}
			if diff := cmp.Diff(env, append([]string{}, s.Env...)); diff != "" {
				t.Errorf("variables of %s (-nerdctl +own):\n%s", name, diff)
			}
		}
	}
}
