package usage

import (
	"cmp"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/containerd-pull/containerd-pull/cmd/containerd-pull/internal/exit"
	"github.com/containerd-pull/containerd-pull/pkg/config"
)

// Topic is a page of help that belongs to no command.
type Topic struct {
	Name  string
	Short string
}

// Layout is how help is shown.
type Layout struct {
	Width  int // of lines, in characters
	All    bool
	Topics []Topic // of the command without a command word
}

// few is up to how many flags the help of a command shows all of them.
const few = 24

// Help writes the help of a command: its text, its examples, and its flags under the
// headings of the table of settings. Of many flags it shows those that are used most,
// unless the layout has All. No line is longer than Width, but for words that are.
func Help(w io.Writer, cmd *cobra.Command, l Layout) error {
	called := cmd.Root().DisplayName()
	p := &page{
		width: l.Width,
		prose: exit.Renamer(called, `(-|[A-Z]{3}|(`+strings.Join(CommandNames(cmd.Root()), "|")+`)\b)`),
		shell: exit.Renamer(called, ""),
	}
	for part := range strings.SplitSeq(cmp.Or(cmd.Long, cmd.Short), "\n\n") {
		p.paragraph(part)
		p.line("")
	}
	p.line("Usage:")
	p.wrapped("  ", "    ", cmd.UseLine())
	if cmd.Example != "" {
		p.line("\nExamples:")
		for line := range strings.SplitSeq(cmd.Example, "\n") {
			p.example(line)
		}
	}
	p.commands(cmd)
	hidden := p.flags(cmd, l.All)
	if !cmd.HasParent() {
		p.line("\nTopics, as in " + cmd.DisplayName() + " help " + l.Topics[0].Name + ":")
		for _, t := range l.Topics {
			p.entry(t.Name, t.Short, 14)
		}
	}
	if hidden > 0 {
		p.line("")
		p.wrapped("", "", fmt.Sprintf("%d more flags: %s --help-all", hidden, cmd.CommandPath()))
	}
	_, err := io.WriteString(w, p.text.String())
	return err
}

// page is a text whose lines have a greatest width. It calls the program as the user
// does: in a line of shell always, in prose only before a command, a flag or a word that
// stands for something, because it is the name of the program elsewhere.
type page struct {
	text         strings.Builder
	width        int
	prose, shell func(string) string
}

func (p *page) line(text string) { p.text.WriteString(text + "\n") }

// paragraph writes a paragraph, broken anew; a block that is indented is shell, and
// keeps its lines.
func (p *page) paragraph(text string) {
	if strings.HasPrefix(text, " ") {
		p.line(p.shell(text))
		return
	}
	p.wrapped("", "", p.prose(text))
}

// wrapped breaks text at blanks: first stands before the first line, and rest before
// the others.
func (p *page) wrapped(first, rest, text string) {
	p.broken(first, rest, "", text)
}

// broken breaks text at blanks and ends each line but the last with end.
func (p *page) broken(first, rest, end, text string) {
	line := first
	empty := true
	for word := range strings.FieldsSeq(text) {
		if !empty && length(line)+1+length(word)+length(end) > p.width {
			p.line(line + end)
			line, empty = rest, true
		}
		if !empty {
			line += " "
		}
		line, empty = line+word, false
	}
	p.line(line)
}

func length(text string) int { return len([]rune(text)) }

// example writes a line of shell, continued behind a backslash where it is too long.
func (p *page) example(line string) {
	if strings.HasPrefix(line, "#") {
		p.wrapped("  # ", "  # ", p.prose(line[1:]))
		return
	}
	line = p.shell(line)
	if length(line)+2 <= p.width {
		p.line("  " + line)
		return
	}
	p.broken("  ", "      ", ` \`, line)
}

// entry writes a name and what it means in a column of its own.
func (p *page) entry(name, meaning string, column int) {
	pad := strings.Repeat(" ", column)
	first := "  " + name + " "
	if length(first) >= column {
		p.line("  " + name)
		first = pad
	}
	p.wrapped(first+pad[min(length(first), column):], pad, meaning)
}

func (p *page) commands(cmd *cobra.Command) {
	subs := commandsOf(cmd)
	if len(subs) == 0 {
		return
	}
	p.line("\nCommands:")
	for _, sub := range subs {
		p.entry(sub.Name(), sub.Short, 14)
	}
}

// flags writes the flags of cmd and returns how many it leaves out.
func (p *page) flags(cmd *cobra.Command, all bool) (hidden int) {
	total := 0
	for _, g := range Groups(cmd) {
		g.Flags.VisitAll(func(*pflag.Flag) { total++ })
	}
	all = all || total <= few
	for _, g := range Groups(cmd) {
		var shown []*pflag.Flag
		g.Flags.VisitAll(func(f *pflag.Flag) {
			if all || g.own || config.IsCommon(f) {
				shown = append(shown, f)
			} else {
				hidden++
			}
		})
		if len(shown) > 0 {
			p.line("\n" + g.Heading + ":")
		}
		for _, f := range shown {
			p.flag(f)
		}
	}
	return hidden
}

func (p *page) flag(f *pflag.Flag) {
	name, meaning := Spelled(f)
	if f.Shorthand == "" {
		name = "    " + name
	}
	p.entry(name, meaning, 30)
}

// Spelled returns how a flag is written, and what it does.
func Spelled(f *pflag.Flag) (name, meaning string) {
	word, meaning := pflag.UnquoteUsage(f)
	name = "--" + f.Name
	if f.Shorthand != "" {
		name = "-" + f.Shorthand + ", " + name
	}
	if word != "" {
		name += " " + word
	}
	if f.DefValue != "" && f.DefValue != "false" {
		meaning += " (default: " + strings.ReplaceAll(f.DefValue, ",", ", ") + ")"
	}
	return name, meaning
}

// Group is the flags of a command under one heading.
type Group struct {
	Heading string
	Flags   *pflag.FlagSet
	own     bool // they set no setting
}

// Groups returns the visible flags of a command. Flags that set no setting come last.
func Groups(cmd *cobra.Command) []Group {
	var all []Group
	cmd.LocalFlags() // adds the flags of the commands above to cmd.Flags
	for _, g := range append(config.Groups(), "") {
		some := pflag.NewFlagSet(string(g), pflag.ContinueOnError)
		some.SortFlags = false
		cmd.Flags().VisitAll(func(f *pflag.Flag) {
			if config.GroupOf(f) == g && !f.Hidden {
				some.AddFlag(f)
			}
		})
		if some.HasFlags() {
			all = append(all, Group{cmp.Or(string(g), "Flags"), some, g == ""})
		}
	}
	return all
}

// AddHelpFlags declares --help and --help-all for a command and those below it.
func AddHelpFlags(root *cobra.Command) {
	fs := root.PersistentFlags()
	fs.BoolP("help", "h", false, "show this")
	fs.AddFlag(&pflag.Flag{
		Name:        helpAll,
		Usage:       "show every flag",
		Value:       &allValue{help: fs.Lookup("help").Value},
		DefValue:    "false",
		NoOptDefVal: "true",
	})
}

const helpAll = "help-all"

// AsksAll reports whether all flags are asked for.
func AsksAll(cmd *cobra.Command) bool {
	f := cmd.Flags().Lookup(helpAll)
	return f != nil && f.Value.String() == "true"
}

// allValue is the value of --help-all, which sets --help too: cobra looks at that
// before it looks at arguments.
type allValue struct {
	help pflag.Value
	text string
}

func (v *allValue) String() string   { return v.text }
func (v *allValue) Type() string     { return "bool" }
func (v *allValue) IsBoolFlag() bool { return true }

func (v *allValue) Set(text string) error {
	v.text = text
	return v.help.Set(text)
}
