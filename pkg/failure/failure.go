// Package failure makes errors whose class and whose remedy are apart from their
// text. The class, one of errdefs, decides the exit code and what is tried again;
// a caller asks for it with errdefs.IsNotFound and its like. Its text would only
// repeat at the end of a sentence what the sentence has said, and therefore no
// error of this module wraps a class with fmt.Errorf; pkg/tails_test.go sees to it.
//
// The package knows no class and no remedy itself: both are said where an error is
// made. Start reading at New.
package failure

import "fmt"

// Failure is an error with a class and, perhaps, a hint.
type Failure struct {
	class error
	hint  string
	err   error
}

// New returns an error of the class, with the text of fmt.Errorf.
func New(class error, format string, args ...any) *Failure {
	return &Failure{class: class, err: fmt.Errorf(format, args...)}
}

// WithHint returns the failure with what to do about it, in one sentence without
// a full stop.
func (f *Failure) WithHint(format string, args ...any) *Failure {
	return &Failure{class: f.class, err: f.err, hint: fmt.Sprintf(format, args...)}
}

// Error implements error. It leaves the class out.
func (f *Failure) Error() string { return f.err.Error() }

// Unwrap returns the class and what the text wraps.
func (f *Failure) Unwrap() []error { return []error{f.class, f.err} }

// Hint returns what to do about the failure, empty if the error does not know.
func (f *Failure) Hint() string { return f.hint }

// Hinter is an error that may know what to do about it.
type Hinter interface {
	error
	// Hint returns what to do about the error, empty if it does not know.
	Hint() string
}

// HintOf returns the first hint in the tree of err, from the outside to the
// inside: what is farther out knows more about what was wanted. It is empty if
// there is none.
func HintOf(err error) string {
	if h, ok := err.(Hinter); ok && h.Hint() != "" { //nolint:errorlint // one error of the tree at a time
		return h.Hint()
	}
	switch e := err.(type) { //nolint:errorlint // as above
	case interface{ Unwrap() error }:
		return HintOf(e.Unwrap())
	case interface{ Unwrap() []error }:
		for _, inner := range e.Unwrap() {
			if hint := HintOf(inner); hint != "" {
				return hint
			}
		}
	}
	return ""
}
