// Package value holds the kinds of values that settings have: how each is
// parsed, which bounds it has, how it is shown, and what help, schema and
// completion know of it.
//
// A Value wraps a field of an option struct; one function per kind makes it:
// Bool, Duration, Size, OneOf, List, Tables and so on. The package knows neither
// settings nor where their texts come from: see pkg/config, whose table joins
// names, kinds and fields.
package value

import (
	"fmt"
	"math"
	"strconv"
)

// Value is a field of an option struct as the table of settings sees it.
type Value interface {
	// Set takes Texts, or what a file holds. Lists are replaced and tables of
	// texts merged key by key, so that the strongest layer has to come last.
	Set(raw any) error
	// String shows the value in the syntax of its flag, with secrets masked.
	String() string
	// Plain returns the value as a file would hold it, with secrets masked.
	Plain() any
	// Shape describes what Set accepts.
	Shape() Shape
}

// Texts are what a flag or a variable holds: one text per occurrence. Anything
// else that reaches a Value was decoded from a file and has its type already.
type Texts []string

func (t Texts) last() string { return t[len(t)-1] }

// IsUnset reports whether v is what it is where nothing sets it.
func IsUnset(v Value) bool {
	switch v.String() {
	case "", "false", "0":
		return true
	}
	return false
}

// masked is what is shown of a secret.
const masked = "***"

func mask(secret string) string {
	if secret == "" {
		return ""
	}
	return masked
}

// ParseText returns the text that raw is, the last one of Texts.
func ParseText(raw any) (string, error) {
	switch r := raw.(type) {
	case Texts:
		return r.last(), nil
	case string:
		return r, nil
	}
	return "", WrongType(raw, "a text")
}

func parseInteger(raw any) (int64, error) {
	switch r := raw.(type) {
	case Texts:
		n, err := strconv.ParseInt(r.last(), 10, 64)
		if err != nil {
			return 0, fmt.Errorf("got %q, want a number", r.last())
		}
		return n, nil
	case int:
		return int64(r), nil
	case int64:
		return r, nil
	case float64: // JSON knows no other numbers
		if r == math.Trunc(r) {
			return int64(r), nil
		}
	}
	return 0, WrongType(raw, "a whole number")
}

// WrongType is the error for raw in a place where want is expected. It names
// the type that was found and never the value, which may be a secret in the
// wrong place.
func WrongType(raw any, want string) error {
	got := "something else"
	switch raw.(type) {
	case string:
		got = "a text"
	case bool:
		got = "a boolean"
	case int, int64, float64:
		got = "a number"
	case []any:
		got = "a list"
	case map[string]any:
		got = "a table"
	}
	return fmt.Errorf("got %s, want %s", got, want)
}
