package layer

import (
	"fmt"
	"slices"
)

// maxWarnings bounds how many kinds of warnings an archive can fill the memory
// with.
const maxWarnings = 16

// warnings are one line for each kind of thing that was left out.
type warnings struct {
	kinds []string
	lines []string
	more  int
}

func (w *warnings) add(kind, line string) {
	switch {
	case slices.Contains(w.kinds, kind):
	case len(w.kinds) == maxWarnings:
		w.more++
	default:
		w.kinds = append(w.kinds, kind)
		w.lines = append(w.lines, line)
	}
}

func (w *warnings) list() []string {
	if w.more > 0 {
		return append(w.lines, fmt.Sprintf("ignoring more of the kind %d times", w.more))
	}
	return w.lines
}
