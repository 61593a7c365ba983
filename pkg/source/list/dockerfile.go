package list

import (
	"cmp"
	"context"
	"errors"
	"maps"
	"regexp"
	"runtime"
	"slices"
	"strconv"
	"strings"
)

var (
	// firstInstruction is how the first line of a Dockerfile that is no comment begins.
	firstInstruction = regexp.MustCompile(`(?i)^\s*(FROM|ARG)\s`)
	// escapeDirective chooses the character that continues lines.
	escapeDirective = regexp.MustCompile("(?i)^#\\s*escape\\s*=\\s*([\\\\`])\\s*$")
	// heredocWord begins a text that ends with a line of its name.
	heredocWord = regexp.MustCompile(`^[0-9]*<<(-?)(["']?)([A-Za-z_][A-Za-z0-9_.-]*)(["']?)$`)
)

// isDockerfile reports whether a text begins as Dockerfiles do.
func isDockerfile(data []byte) bool {
	for line := range strings.Lines(string(data)) {
		if line = strings.TrimSpace(line); line != "" && line[0] != '#' {
			return firstInstruction.MatchString(line + " ")
		}
	}
	return false
}

// instruction is one instruction of a Dockerfile, its lines joined.
type instruction struct {
	Place
	name  string // in capitals
	words []string
}

// heredoc is a text that follows an instruction.
type heredoc struct {
	Place
	name string // of the line that ends it
	tabs bool   // may stand before the name
}

func (h heredoc) endsWith(line string) bool {
	if h.tabs {
		line = strings.TrimLeft(line, "\t")
	}
	return line == h.name
}

// instructions splits a Dockerfile as the builders do: a line goes on behind one that
// ends in the escape character, comments within it are left out, and so are heredocs.
func instructions(name string, data []byte) ([]instruction, error) {
	escape := `\`
	var all []instruction
	var open []heredoc
	var joined strings.Builder
	start, line, directives := 0, 0, true
	for text := range strings.Lines(string(data)) {
		line++
		text = strings.TrimRight(text, "\r\n")
		if len(open) > 0 {
			if open[0].endsWith(text) {
				open = open[1:]
			}
			continue
		}
		trimmed := strings.TrimSpace(text)
		if found := escapeDirective.FindStringSubmatch(trimmed); directives && found != nil {
			escape = found[1]
		}
		directives = directives && strings.HasPrefix(trimmed, "#")
		if trimmed == "" || trimmed[0] == '#' {
			continue
		}
		if start == 0 {
			start = line
		}
		before, more := strings.CutSuffix(strings.TrimRight(text, " \t"), escape)
		if more {
			joined.WriteString(before)
			continue
		}
		joined.WriteString(text)
		if i, ok := newInstruction(Place{name, start}, joined.String()); ok {
			all = append(all, i)
			open = heredocs(i, joined.String())
		}
		joined.Reset()
		start = 0
	}
	if len(open) > 0 {
		return nil, open[0].wrongf("no line %s ends the text that begins here", quoted(open[0].name))
	}
	if i, ok := newInstruction(Place{name, start}, joined.String()); ok {
		all = append(all, i)
	}
	return all, nil
}

// newInstruction parses an instruction. Lines that only go on make none.
func newInstruction(at Place, text string) (instruction, bool) {
	words := strings.Fields(text)
	if len(words) == 0 {
		return instruction{}, false
	}
	if len(words) > 1 && strings.EqualFold(words[0], "ONBUILD") {
		words = words[1:]
	}
	return instruction{at, strings.ToUpper(words[0]), words[1:]}, true
}

// heredocs are those that follow an instruction, in their order.
func heredocs(i instruction, text string) (all []heredoc) {
	if !slices.Contains([]string{"RUN", "COPY", "ADD"}, i.name) || !strings.Contains(text, "<<") {
		return nil
	}
	for _, w := range shellWords(text) {
		if found := heredocWord.FindStringSubmatch(w); found != nil && found[2] == found[4] {
			all = append(all, heredoc{i.Place, found[3], found[1] != ""})
		}
	}
	return all
}

// shellWords splits a text at the blanks outside of quotes, which stay. A text with a
// quote that does not end has no words.
func shellWords(text string) []string {
	var words []string
	var quote byte
	start := 0
	for i := 0; i < len(text); i++ {
		switch c := text[i]; {
		case c == '\\' && quote != '\'':
			i++
		case quote != 0:
			if c == quote {
				quote = 0
			}
		case c == '"' || c == '\'':
			quote = c
		case c == ' ' || c == '\t':
			words = append(words, text[start:i])
			start = i + 1
		}
	}
	if quote != 0 {
		return nil
	}
	return append(words, text[start:])
}

// flag returns the value of a flag of the instruction.
func (i instruction) flag(name string) string {
	for _, w := range i.flags() {
		if value, ok := strings.CutPrefix(w, "--"+name+"="); ok {
			return value
		}
	}
	return ""
}

// flags are the words before the first that is none.
func (i instruction) flags() []string { return i.words[:len(i.words)-len(i.args())] }

// args are the words behind the flags.
func (i instruction) args() []string {
	rest := i.words
	for len(rest) > 0 && strings.HasPrefix(rest[0], "--") {
		rest = rest[1:]
	}
	return rest
}

// build is what is known at an instruction of a Dockerfile.
type build struct {
	*reading
	stages []string          // their names in small letters, or empty
	values map[string]string // of the arguments before the first stage
}

// dockerfile adds the images that a build fetches: those that stages begin with and
// that files are copied or mounted from. Stages are none.
func (r *reading) dockerfile(ctx context.Context, name string, data []byte) error {
	b := &build{reading: r, values: platformValues(r.Target)}
	all, err := instructions(name, data)
	if err != nil {
		return err
	}
	for _, i := range all {
		if err := ended(ctx); err != nil {
			return err
		}
		if err := b.instruction(i); err != nil {
			return err
		}
	}
	if len(b.stages) == 0 {
		return Place{File: name}.wrongf("the Dockerfile has no FROM")
	}
	return nil
}

// platformValues are the arguments that builders give a value, for a build here. An
// empty target is the platform of the build.
func platformValues(target string) map[string]string {
	here := "linux/" + runtime.GOARCH
	values := map[string]string{}
	for of, platform := range map[string]string{"TARGET": cmp.Or(target, here), "BUILD": here} {
		parts := append(strings.SplitN(platform, "/", 3), "", "")
		maps.Copy(values, map[string]string{of + "PLATFORM": platform, of + "OS": parts[0], of + "ARCH": parts[1], of + "VARIANT": parts[2]})
	}
	return values
}

func (b *build) lookup(name string) (string, bool) {
	value, ok := b.values[name]
	return value, ok
}

func (b *build) instruction(i instruction) error {
	switch i.name {
	case "ARG":
		return b.arg(i)
	case "FROM":
		return b.from(i)
	case "COPY":
		return b.use(i.Place, i.flag("from"))
	case "RUN":
		for _, w := range i.flags() {
			if mount, ok := strings.CutPrefix(w, "--mount="); ok {
				for part := range strings.SplitSeq(mount, ",") {
					if from, ok := strings.CutPrefix(part, "from="); ok {
						if err := b.use(i.Place, from); err != nil {
							return err
						}
					}
				}
			}
		}
	}
	return nil
}

// arg keeps the value of an argument before the first stage; those within a stage do
// not count for images.
func (b *build) arg(i instruction) error {
	for _, w := range i.args() {
		name, value, ok := strings.Cut(w, "=")
		if len(b.stages) > 0 || !ok {
			continue
		}
		value = strings.Trim(value, `"'`)
		full, err := b.expandArg(i.Place, value, b.lookup)
		if err != nil {
			return err
		}
		b.values[name] = full
	}
	return nil
}

func (b *build) from(i instruction) error {
	args := i.args()
	named := len(args) == 3 && strings.EqualFold(args[1], "AS")
	if len(args) != 1 && !named {
		return i.wrongf("FROM %s: want an image, and perhaps AS and a name", quoted(strings.Join(args, " ")))
	}
	ref, err := b.expand(i.Place, strings.Trim(args[0], `"'`), b.lookup)
	if wrong, ok := errors.AsType[*Error](err); ok {
		return wrong.withHint("give it a value by ARG before the first FROM, or name the image itself")
	}
	platform := i.flag("platform")
	if strings.Contains(platform, "$") {
		platform = "" // that of the build
	}
	if err := b.add(i.Place, ref, platform); err != nil {
		return err
	}
	stage := ""
	if named {
		stage = strings.ToLower(args[2])
	}
	b.stages = append(b.stages, stage)
	return nil
}

// add adds an image, unless it is a stage or the empty image.
func (b *build) add(at Place, ref, platform string) error {
	if ref == "scratch" || slices.Contains(b.stages, strings.ToLower(ref)) {
		return nil
	}
	var words []Word
	if platform != "" {
		words = append(words, Word{"platform", platform})
	}
	return b.reading.add(at, ref, words...)
}

// use adds what files are taken from: an image, unless it is a stage by its number or
// its name.
func (b *build) use(at Place, from string) error {
	if number, err := strconv.Atoi(from); from == "" || err == nil && number >= 0 {
		return nil
	}
	ref, err := b.expand(at, strings.Trim(from, `"'`), b.lookup)
	if err != nil {
		return err
	}
	return b.add(at, ref, "")
}
