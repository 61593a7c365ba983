package file

import (
	"regexp"
	"slices"
	"strings"

	"github.com/pelletier/go-toml/v2/unstable"
)

// WithoutProfile returns the text of a TOML file without a profile: without its tables
// and keys, what stands between them, the comments directly above and below, and those
// of its keys and tables that are commented out. All else stays as it is, byte for byte.
// A profile within an inline table stays too.
func WithoutProfile(data []byte, name string) []byte {
	var kept []string
	lines := strings.SplitAfter(string(data), "\n")
	starts := expressionsOf(data, []string{ProfilesKey, name})
	from := 0
	for i, start := range starts {
		if !start.inside || i > 0 && starts[i-1].inside {
			continue
		}
		end, last := len(lines), start.line-1
		for _, next := range starts[i:] {
			if !next.inside {
				end = aboveComments(lines, next.line-1)
				break
			}
			last = next.line - 1
		}
		kept = append(kept, lines[from:max(from, aboveComments(lines, start.line-1))]...)
		for _, block := range foreign(lines[endOf(lines[:end], last):end], name) {
			if len(kept) > 0 && !isBlank(kept[len(kept)-1]) {
				kept = append(kept, "\n")
			}
			kept = append(kept, block...)
		}
		from = end
	}
	if kept = append(kept, lines[from:]...); from == len(lines) { // what was last leaves no empty lines
		return []byte(strings.TrimRight(strings.Join(kept, ""), "\n") + "\n")
	}
	return []byte(strings.Join(kept, ""))
}

func isBlank(line string) bool { return strings.TrimSpace(line) == "" }

// endOf returns the index behind the last line of the expression that begins at from and
// is the last of the lines. The end of a string may look like a comment.
func endOf(lines []string, from int) int {
	end := len(lines)
	for end > from+1 && (isBlank(lines[end-1]) || strings.HasPrefix(strings.TrimSpace(lines[end-1]), "#")) {
		end--
	}
	for end < len(lines) && !isWhole(strings.Join(lines[from:end], "")) {
		end++
	}
	return end
}

func isWhole(text string) bool {
	var p unstable.Parser
	p.Reset([]byte(text))
	for p.NextExpression() {
		continue
	}
	return p.Error() == nil
}

var (
	commentedKey   = regexp.MustCompile(`^#[A-Za-z0-9_-]+ = `)
	commentedTable = regexp.MustCompile(`^#\[\[?profiles\.([A-Za-z0-9_-]+)[].]`)
)

// foreign returns those blocks of comments below a profile that are not its own, each
// with the empty lines after it. Its own are the one directly below, and keys and tables
// of it that are commented out.
func foreign(lines []string, name string) (blocks [][]string) {
	others := false // of another profile is all behind a table of that
	for begin, i := 0, 0; i < len(lines); begin = i {
		own := i == 0
		for ; i < len(lines) && !isBlank(lines[i]); i++ {
			own = own || commentedKey.MatchString(lines[i])
			if table := commentedTable.FindStringSubmatch(lines[i]); table != nil {
				own, others = true, table[1] != name
			}
		}
		isComment := i > begin
		for i < len(lines) && isBlank(lines[i]) {
			i++
		}
		if isComment && (!own || others) {
			blocks = append(blocks, lines[begin:i])
		}
	}
	return blocks
}

// aboveComments returns the index of the first of the lines of comment that end above
// a line.
func aboveComments(lines []string, i int) int {
	for i > 0 && strings.HasPrefix(strings.TrimSpace(lines[i-1]), "#") {
		i--
	}
	return i
}

// expression is a table or a key of a TOML file.
type expression struct {
	line   int
	inside bool
}

// expressionsOf lists the tables and keys of a file, and which of them stand at or
// below a path.
func expressionsOf(data []byte, path []string) []expression {
	l := tomlLines{doc: &Document{lines: lines{}}, arrays: map[string]int{}}
	l.parser.Reset(data)
	var all []expression
	for l.parser.NextExpression() {
		n := l.parser.Expression()
		parts, line := l.key(n)
		keys := slices.Concat(l.table, parts)
		if n.Kind != unstable.KeyValue {
			l.expression(n)
			keys = l.table
		}
		all = append(all, expression{line, len(keys) >= len(path) && slices.Equal(keys[:len(path)], path)})
	}
	return all
}
