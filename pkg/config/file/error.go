package file

import (
	"errors"
	"fmt"
	"io/fs"
)

// Error is a mistake in a configuration file: where, what, and what to do about
// it.
type Error struct {
	File   string
	Line   int    // 0 if it concerns the whole file
	Key    string // with dots between tables; empty if it concerns the whole file
	Err    error
	Remedy string // empty if the text says it all
	// Profile is set where a mistake concerns only the calls with that profile, or
	// with one that extends it.
	Profile string
}

// Hint is the remedy.
func (e *Error) Hint() string { return e.Remedy }

func (e *Error) Error() string {
	where := e.File
	if e.Line > 0 {
		where = fmt.Sprintf("%s:%d", e.File, e.Line)
	}
	if e.Key == "" {
		return fmt.Sprintf("%s: %v", where, e.Err)
	}
	return fmt.Sprintf("%s: %s: %v", where, e.Key, e.Err)
}

func (e *Error) Unwrap() error { return e.Err }

// Reason takes the path out of an error of the file system, for messages that
// name the file themselves.
func Reason(err error) error {
	if p, ok := errors.AsType[*fs.PathError](err); ok {
		return p.Err
	}
	return err
}
