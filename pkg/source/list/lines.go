package list

import (
	"slices"
	"strings"
)

// maxLine bounds a line of a list in bytes. No label of containerd's is longer.
const maxLine = 8 << 10

// keys are the settings that a line may give to its image, by the names of their
// flags. Those of repeated may stand several times.
var (
	keys     = []string{"platform", "profile", "label", "policy"}
	repeated = []string{"platform", "label"}
)

// Lines parses a list: in each line one reference and behind it settings as
// KEY=VALUE, with blanks between them. A # that begins a word begins a comment.
// name is what entries and errors call the file.
func Lines(name string, data []byte) ([]Entry, error) {
	var entries []Entry
	line := 0
	for text := range strings.Lines(string(data)) {
		line++
		e, err := parseLine(Place{name, line}, text)
		if err != nil {
			return nil, err
		}
		if e.Ref != "" {
			entries = append(entries, e)
		}
	}
	return entries, nil
}

// parseLine parses one line. The entry of a line without a reference is zero.
func parseLine(at Place, text string) (Entry, error) {
	if len(text) > maxLine {
		return Entry{}, at.wrongf("the line has more than %d bytes", maxLine).withHint("a list has one reference in each line")
	}
	words := strings.Fields(text)
	if i := slices.IndexFunc(words, func(w string) bool { return strings.HasPrefix(w, "#") }); i >= 0 {
		words = words[:i]
	}
	if len(words) == 0 {
		return Entry{}, nil
	}
	e := Entry{Place: at, Ref: words[0]}
	if key, _, ok := strings.Cut(e.Ref, "="); ok && slices.Contains(keys, key) {
		return Entry{}, at.wrongf("%s stands before the reference", quoted(e.Ref)).withHint("the reference is the first word of its line")
	}
	for _, word := range words[1:] {
		if err := e.add(word); err != nil {
			return Entry{}, err
		}
	}
	return e, nil
}

// add gives the entry a setting.
func (e *Entry) add(word string) error {
	key, value, ok := strings.Cut(word, "=")
	switch {
	case !ok || !slices.Contains(keys, key):
		return e.wrongf("%s behind the reference: want %s=", quoted(word), strings.Join(keys, "=, ")).withHint("%s", wordHint(ok))
	case value == "":
		return e.wrongf("%s= has no value", key)
	case !slices.Contains(repeated, key) && slices.ContainsFunc(e.Words, func(w Word) bool { return w.Key == key }):
		return e.wrongf("%s= stands twice", key)
	}
	e.Words = append(e.Words, Word{key, value})
	return nil
}

func wordHint(isPair bool) string {
	if isPair {
		return "other settings belong into a profile, which profile= names"
	}
	return "a list has one reference in each line, and values hold no blanks"
}
