package file

import (
	"slices"
	"strings"

	"github.com/pelletier/go-toml/v2/unstable"
)

// WithoutProfile returns the text of a TOML file without a profile: without its tables
// and keys, what stands between them, and the comments directly above. All else stays
// as it is, byte for byte. A profile within an inline table stays too.
func WithoutProfile(data []byte, name string) []byte {
	var kept []string
	lines := strings.SplitAfter(string(data), "\n")
	starts := expressionsOf(data, []string{ProfilesKey, name})
	from := 0
	for i, start := range starts {
		if !start.inside || i > 0 && starts[i-1].inside {
			continue
		}
		end := len(lines)
		for _, next := range starts[i:] {
			if !next.inside {
				end = aboveComments(lines, next.line-1)
				break
			}
		}
		kept = append(kept, lines[from:max(from, aboveComments(lines, start.line-1))]...)
		from = end
	}
	if kept = append(kept, lines[from:]...); from == len(lines) { // what was last leaves no empty lines
		return []byte(strings.TrimRight(strings.Join(kept, ""), "\n") + "\n")
	}
	return []byte(strings.Join(kept, ""))
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
