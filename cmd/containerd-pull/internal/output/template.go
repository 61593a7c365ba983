package output

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"text/tabwriter"
	"text/template"
	"text/template/parse"

	"golang.org/x/term"

	"github.com/containerd-pull/containerd-pull/pkg/batch"
	"github.com/containerd-pull/containerd-pull/pkg/config"
	"github.com/containerd-pull/containerd-pull/pkg/config/value"
	"github.com/containerd-pull/containerd-pull/pkg/printable"
)

// form is the form of the result that --format asks for.
type form struct {
	template *template.Template // nil for JSON
	header   string             // of a table, empty for none
}

// newForm parses --format for results of the type T; the form is nil if the text is
// empty. table are the columns of a table without a template.
func newForm[T any](text, table string) (*form, error) {
	f := new(form)
	switch {
	case text == "":
		return nil, nil
	case text == config.FormatJSON:
		return f, nil
	case text == config.FormatTable:
		text = config.FormatTable + " " + table
	}
	text = strings.TrimPrefix(text, config.FormatTemplate)
	if columns, ok := strings.CutPrefix(text, config.FormatTable+" "); ok {
		text = strings.ReplaceAll(columns, `\t`, "\t") // shells pass it on as it was typed
		f.header = actions.ReplaceAllStringFunc(text, columnName)
	}
	var err error
	if f.template, err = template.New("--format").Funcs(template.FuncMap{"json": inJSON}).Parse(text); err != nil {
		return nil, err
	}
	if err := fieldsOfType[T]().check(f.template.Root); err != nil {
		return nil, err
	}
	return f, nil
}

// actions are what a template puts values in the place of.
var actions = regexp.MustCompile(`\{\{.*?\}\}`)

// columnName is what heads the column of an action: its last word.
func columnName(action string) string {
	words := regexp.MustCompile(`\w+`).FindAllString(action, -1)
	if len(words) == 0 {
		return ""
	}
	return strings.ToUpper(words[len(words)-1])
}

func inJSON(v any) (string, error) {
	text, err := marshal(v, false)
	return strings.TrimSuffix(string(text), "\n"), err
}

// isTerminal reports whether w is a terminal.
func isTerminal(w io.Writer) bool {
	file, ok := w.(*os.File)
	return ok && term.IsTerminal(int(file.Fd()))
}

// marshal encodes v without escaping <, > and &.
func marshal(v any, indent bool) ([]byte, error) {
	var buf bytes.Buffer
	enc := json.NewEncoder(&buf)
	enc.SetEscapeHTML(false)
	if indent {
		enc.SetIndent("", "  ")
	}
	err := enc.Encode(v)
	return []byte(printable.JSON(buf.String())), err
}

// writeForm writes the outcomes as --format says: as one object if there can be
// only one, else as an array, or each by the template.
func (p *Pull) writeForm(w io.Writer, all []batch.Outcome) error {
	shown := make([]any, len(all))
	for i, one := range all {
		shown[i] = show(one, p.Describe)
	}
	if p.form.template != nil {
		return p.form.execute(w, shown)
	}
	var v any = shown
	if !p.List && len(shown) == 1 {
		v = shown[0]
	}
	text, err := marshal(v, isTerminal(p.Out))
	if err != nil {
		return err
	}
	_, err = w.Write(text)
	return err
}

// execute writes a line for each object on which the template succeeds, and
// returns the first error. A table has columns at its tabs.
func (f *form) execute(w io.Writer, shown []any) error {
	if f.header == "" {
		return f.lines(w, shown)
	}
	tw := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(tw, f.header)
	err := f.lines(tw, shown)
	return cmp.Or(err, tw.Flush())
}

func (f *form) lines(w io.Writer, shown []any) error {
	var failed error
	for _, one := range shown {
		var line bytes.Buffer
		fields, err := fieldsOf(one)
		if err == nil {
			err = f.template.Execute(&line, fields)
		}
		if err == nil {
			_, err = fmt.Fprintln(w, printable.Text(line.String()))
		}
		failed = cmp.Or(failed, err)
	}
	return failed
}

// fieldsOf returns an object for a template: a map by JSON names, with integers
// for numbers.
func fieldsOf(v any) (any, error) {
	text, err := marshal(v, false)
	if err != nil {
		return nil, err
	}
	dec := json.NewDecoder(bytes.NewReader(text))
	dec.UseNumber()
	var fields any
	if err := dec.Decode(&fields); err != nil {
		return nil, err
	}
	return whole(fields), nil
}

func whole(v any) any {
	switch v := v.(type) {
	case map[string]any:
		for key := range v {
			v[key] = whole(v[key])
		}
	case []any:
		for i := range v {
			v[i] = whole(v[i])
		}
	case json.Number:
		n, _ := v.Int64() // all numbers are integers
		return n
	}
	return v
}

// fieldNames are the fields that a result has, by their JSON names.
type fieldNames []string

func fieldsOfType[T any]() (known fieldNames) {
	for f := range reflect.TypeFor[T]().Fields() {
		known = append(known, f.Tag.Get("json"))
	}
	return known
}

// check refuses a template that asks for fields that no result has. It
// leaves out the bodies of range and with, where the dot is something else.
func (known fieldNames) check(node parse.Node) error {
	switch n := node.(type) {
	case *parse.ListNode:
		if n == nil { // an absent else
			return nil
		}
		return known.checkAll(n.Nodes)
	case *parse.ActionNode:
		return known.check(n.Pipe)
	case *parse.IfNode:
		return cmp.Or(known.check(n.Pipe), known.check(n.List), known.check(n.ElseList))
	case *parse.RangeNode:
		return cmp.Or(known.check(n.Pipe), known.check(n.ElseList))
	case *parse.WithNode:
		return cmp.Or(known.check(n.Pipe), known.check(n.ElseList))
	case *parse.PipeNode:
		for _, cmd := range n.Cmds {
			if err := known.checkAll(cmd.Args); err != nil {
				return err
			}
		}
	case *parse.ChainNode:
		return known.check(n.Node)
	case *parse.FieldNode:
		return known.checkField(n.Ident[0])
	case *parse.VariableNode:
		if n.Ident[0] == "$" && len(n.Ident) > 1 {
			return known.checkField(n.Ident[1])
		}
	}
	return nil
}

func (known fieldNames) checkAll(nodes []parse.Node) error {
	for _, n := range nodes {
		if err := known.check(n); err != nil {
			return err
		}
	}
	return nil
}

func (known fieldNames) checkField(name string) error {
	if slices.Contains(known, name) {
		return nil
	}
	return &fieldError{name, known}
}

// fieldError is the error for a template with a field that no result has.
type fieldError struct {
	name  string
	known []string
}

func (e *fieldError) Error() string { return fmt.Sprintf("--format: no result has a field %q", e.name) }

// Hint names the field that was probably meant, or all fields.
func (e *fieldError) Hint() string {
	near := value.Nearest(e.name, e.known)
	if i := slices.IndexFunc(e.known, func(k string) bool { return strings.EqualFold(k, e.name) }); i >= 0 {
		near = e.known[i]
	}
	if near != "" {
		return fmt.Sprintf("did you mean %q?", near)
	}
	return "the fields are: " + strings.Join(e.known, ", ")
}
