package list

import (
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
	// heredoc begins a text that ends with a line of its name.
	heredoc = regexp.MustCompile(`<<-?\s*(["']?)([A-Za-z_][A-Za-z0-9_]*)(["']?)`)
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

// instructions splits a Dockerfile as the builders do: a line goes on behind one that
// ends in the escape character, comments within it are left out, and so are heredocs.
func instructions(name string, data []byte) []instruction {
	escape := `\`
	var all []instruction
	var joined, until string
	start, line, directives := 0, 0, true
	for text := range strings.Lines(string(data)) {
		line++
		text = strings.TrimRight(text, "\r\n")
		trimmed := strings.TrimSpace(text)
		if until != "" {
			if strings.TrimLeft(text, "\t") == until {
				until = ""
			}
			continue
		}
		if found := escapeDirective.FindStringSubmatch(trimmed); directives && found != nil {
			escape = found[1]
		}
		directives = directives && strings.HasPrefix(trimmed, "#")
		if trimmed == "" || trimmed[0] == '#' {
			continue
		}
		if joined == "" {
			start = line
		}
		if before, more := strings.CutSuffix(strings.TrimRight(text, " \t"), escape); more {
			joined += before + " "
			continue
		}
		if i, ok := newInstruction(Place{name, start}, joined+text); ok {
			all = append(all, i)
			until = heredocOf(i, joined+text)
		}
		joined = ""
	}
	if i, ok := newInstruction(Place{name, start}, joined); ok {
		all = append(all, i)
	}
	return all
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

// heredocOf is the name of the heredoc that follows an instruction, empty if none does.
func heredocOf(i instruction, text string) string {
	if found := heredoc.FindStringSubmatch(text); found != nil && slices.Contains([]string{"RUN", "COPY", "ADD"}, i.name) {
		return found[2]
	}
	return ""
}

// flag returns the value of a flag of the instruction.
func (i instruction) flag(name string) string {
	for _, w := range i.words {
		if value, ok := strings.CutPrefix(w, "--"+name+"="); ok {
			return value
		}
	}
	return ""
}

// args are the words that are no flags.
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
	b := &build{reading: r, values: platformValues()}
	for _, i := range instructions(name, data) {
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

// platformValues are the arguments that builders give a value, for a build here.
func platformValues() map[string]string {
	values := map[string]string{}
	for _, of := range []string{"TARGET", "BUILD"} {
		maps.Copy(values, map[string]string{of + "PLATFORM": "linux/" + runtime.GOARCH, of + "OS": "linux", of + "ARCH": runtime.GOARCH, of + "VARIANT": ""})
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
		for _, w := range i.words {
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
