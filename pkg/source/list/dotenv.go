package list

import (
	"maps"
	"strings"

	"github.com/compose-spec/compose-go/v2/dotenv"
)

// variables parses a file of variables as Compose does, whose library knows the
// syntax but no bounds: it gets one statement at a time, and values up to a bound.
// What of finds is stronger than the file.
func variables(path, text string, of lookup) (map[string]string, error) {
	all := map[string]string{}
	either := func(name string) (string, bool) {
		if value, ok := of(name); ok {
			return value, true
		}
		value, ok := all[name]
		return value, ok
	}
	size, at := 0, Place{path, 1}
	for text = strings.TrimPrefix(text, "\ufeff"); text != ""; {
		one, literal := statement(text)
		text = text[len(one):]
		if strings.Contains(one, "${") && !literal {
			if err := expandable(at, one); err != nil {
				return nil, err
			}
		}
		values := &allowance{either, maxExpanded}
		set, err := dotenv.UnmarshalWithLookup(one, values.lookup)
		for _, value := range set {
			size += len(value)
		}
		switch {
		case err != nil:
			return nil, at.wrongf("is no variable with its value")
		case values.left < 0:
			return nil, at.wrongf("the variables in the value have more than %d bytes", maxExpanded)
		case size > MaxList:
			return nil, at.wrongf("the values up to here have more than %d bytes", MaxList)
		}
		maps.Copy(all, set)
		at.Line += strings.Count(one, "\n")
	}
	return all, nil
}

// statement returns the first statement of a text, and whether it is in single quotes:
// a line, or several if a quote goes on to another.
func statement(text string) (one string, literal bool) {
	line, _, _ := strings.Cut(text, "\n")
	end := min(len(line)+1, len(text))
	sign := strings.IndexAny(line, "=:")
	if sign < 0 || strings.HasPrefix(strings.TrimSpace(line), "#") {
		return text[:end], false
	}
	value := strings.TrimLeft(line[sign+1:], "\t\v\f\r \u0085\u00a0")
	if value == "" || value[0] != '"' && value[0] != '\'' {
		return text[:end], false
	}
	quote := value[0]
	for i := len(line) - len(value) + 1; i < len(text); i++ {
		switch text[i] {
		case '\\':
			i++
		case quote:
			_, after, more := strings.Cut(text[i:], "\n")
			if !more {
				return text, quote == '\''
			}
			return text[:len(text)-len(after)], quote == '\''
		}
	}
	return text, quote == '\''
}
