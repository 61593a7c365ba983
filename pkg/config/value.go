package config

import (
	"errors"
	"fmt"
	"math"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
)

// texts is what a flag or a variable gives: one text per occurrence. Anything
// else that reaches a value was decoded from a file and has its type already.
type texts []string

func (t texts) last() string { return t[len(t)-1] }

// value is a field of an option struct as the table sees it.
type value interface {
	// set takes texts, or what a file holds. Lists are replaced and tables
	// merged key by key, so that the strongest layer has to come last.
	set(raw any) error
	// String shows the value in the syntax of its flag, with secrets masked.
	String() string
	// plain gives the value as a file would hold it, with secrets masked.
	plain() any
	// shape describes what set accepts.
	shape() shape
}

// shape is what the schema, the checks of files and the help know of a value.
type shape struct {
	Type  string // string, boolean, integer, number, array or object, as in JSON Schema
	Name  string // what help calls it where the usage does not say
	Words []string
	// Most is the greatest integer; 0 means that there is none.
	Most int
	// Pattern is a regular expression that every text fulfils.
	Pattern string
	// Path says that a text names a file or folder: relative to the file that
	// holds it.
	Path bool
	// Secret says that the value must not be shown, and that a file holding
	// it must not be readable by others.
	Secret bool
	// URL says that a text may be a secret in part: a URL with a password.
	URL bool
	// Items are the elements of an array, or the values of an object whose
	// keys are free.
	Items *shape
	// Fields are the keys of an object whose keys are not free.
	Fields []field
}

// holdsSecret says whether a text of the shape has a part that must not be
// shown.
func (s shape) holdsSecret(node any) bool {
	text, ok := node.(string)
	if !s.URL || !ok {
		return false
	}
	u, err := url.Parse(text)
	if err != nil {
		return true
	}
	_, has := u.User.Password()
	return has
}

// field is one key of a table.
type field struct {
	Name  string
	Usage string
	must  bool
	shape shape
}

// masked is what is shown of a secret.
const masked = "***"

func mask(secret string) string {
	if secret == "" {
		return ""
	}
	return masked
}

type textValue string

func (v *textValue) String() string { return string(*v) }
func (v *textValue) plain() any     { return string(*v) }
func (v *textValue) shape() shape   { return shape{Type: "string", Name: "text"} }

func (v *textValue) set(raw any) error {
	s, err := one(raw)
	if err == nil {
		*v = textValue(s)
	}
	return err
}

func text(field *string) value   { return (*textValue)(field) }
func path(field *string) value   { return pathValue{(*textValue)(field)} }
func secret(field *string) value { return secretValue{(*textValue)(field)} }
func user(field *string) value   { return userValue{(*textValue)(field)} }
func link(field *string) value   { return urlValue{(*textValue)(field)} }

// pathValue is a text that names a file or folder.
type pathValue struct{ *textValue }

func (v pathValue) shape() shape { return shape{Type: "string", Name: "path", Path: true} }

// secretValue is a text that must not be shown.
type secretValue struct{ *textValue }

func (v secretValue) String() string { return mask(string(*v.textValue)) }
func (v secretValue) plain() any     { return v.String() }
func (v secretValue) shape() shape   { return shape{Type: "string", Name: "secret", Secret: true} }

// userValue is USER[:PASSWORD], of which only the first half may be shown.
type userValue struct{ *textValue }

func (v userValue) plain() any { return v.String() }

func (v userValue) String() string {
	name, _, ok := strings.Cut(string(*v.textValue), ":")
	if !ok {
		return name
	}
	return name + ":" + masked
}

// urlValue is a text whose password, if it holds one, must not be shown.
type urlValue struct{ *textValue }

func (v urlValue) plain() any   { return v.String() }
func (v urlValue) shape() shape { return shape{Type: "string", Name: "URL", URL: true} }

func (v urlValue) String() string {
	u, err := url.Parse(string(*v.textValue))
	if err != nil {
		return masked
	}
	return u.Redacted()
}

func (v urlValue) set(raw any) error {
	s, err := one(raw)
	if err != nil {
		return err
	}
	if u, err := url.Parse(s); s != "" && (err != nil || u.Host == "") {
		return fmt.Errorf("got something else, want a URL such as http://proxy.example.com:3128")
	}
	*v.textValue = textValue(s)
	return nil
}

type boolValue bool

func (v *boolValue) String() string { return strconv.FormatBool(bool(*v)) }
func (v *boolValue) plain() any     { return bool(*v) }
func (v *boolValue) shape() shape   { return shape{Type: "boolean"} }

func (v *boolValue) set(raw any) error {
	if b, ok := raw.(bool); ok {
		*v = boolValue(b)
		return nil
	}
	t, ok := raw.(texts)
	if !ok {
		return wrongType(raw, "true or false")
	}
	b, err := strconv.ParseBool(t.last())
	if err != nil {
		return fmt.Errorf("got %q, want true or false", t.last())
	}
	*v = boolValue(b)
	return nil
}

// onlyTrue states what holds anyway; its opposite cannot be had.
type onlyTrue struct{ *boolValue }

func (v *onlyTrue) set(raw any) error {
	if err := v.boolValue.set(raw); err != nil || bool(*v.boolValue) {
		return err
	}
	return errors.New("content trust cannot be checked here; --verify bindir asks programs that do")
}

// notValue is a boolean whose field says the opposite.
type notValue bool

func (v *notValue) String() string { return strconv.FormatBool(!bool(*v)) }
func (v *notValue) plain() any     { return !bool(*v) }
func (v *notValue) shape() shape   { return shape{Type: "boolean"} }

func (v *notValue) set(raw any) error {
	var b boolValue
	err := b.set(raw)
	if err == nil {
		*v = notValue(!b)
	}
	return err
}

type durationValue time.Duration

func (v *durationValue) plain() any { return v.String() }

func (v *durationValue) shape() shape {
	return shape{Type: "string", Name: "time", Pattern: `^([0-9.]+(ns|us|µs|ms|s|m|h))+$|^0$`}
}

func (v *durationValue) String() string {
	if *v == 0 {
		return ""
	}
	return time.Duration(*v).String()
}

func (v *durationValue) set(raw any) error {
	s, err := one(raw)
	if err != nil {
		return err
	}
	d, err := time.ParseDuration(s)
	if err != nil || d < 0 {
		return fmt.Errorf("got %q, want a duration such as 90s or 5m", s)
	}
	*v = durationValue(d)
	return nil
}

type countValue int

func (v *countValue) String() string { return strconv.Itoa(int(*v)) }
func (v *countValue) plain() any     { return int64(*v) }
func (v *countValue) shape() shape   { return shape{Type: "integer", Name: "number"} }

func (v *countValue) set(raw any) error {
	n, err := integer(raw)
	if err != nil {
		return err
	}
	if n < 0 || n > math.MaxInt32 {
		return fmt.Errorf("got %d, want a number from 0 to %d", n, math.MaxInt32)
	}
	*v = countValue(n)
	return nil
}

// wordValue is one of a few words.
type wordValue[T ~string] struct {
	field *T
	words []T
}

func (v *wordValue[T]) String() string { return string(*v.field) }
func (v *wordValue[T]) plain() any     { return string(*v.field) }

func (v *wordValue[T]) shape() shape {
	s := shape{Type: "string", Name: "word"}
	for _, w := range v.words {
		s.Words = append(s.Words, string(w))
	}
	return s
}

func (v *wordValue[T]) set(raw any) error {
	s, err := one(raw)
	if err != nil {
		return err
	}
	if !slices.Contains(v.words, T(s)) {
		return &UnknownWord{Word: s, Known: v.shape().Words}
	}
	*v.field = T(s)
	return nil
}

func one(raw any) (string, error) {
	switch r := raw.(type) {
	case texts:
		return r.last(), nil
	case string:
		return r, nil
	}
	return "", wrongType(raw, "a text")
}

func integer(raw any) (int64, error) {
	switch r := raw.(type) {
	case texts:
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
	return 0, wrongType(raw, "a whole number")
}

// wrongType names the type that was found and never the value, which may be a
// secret in the wrong place.
func wrongType(raw any, want string) error {
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
