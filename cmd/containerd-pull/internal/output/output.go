// Package output writes results to stdout: that of a pull in every style and
// format (Pull), and what other commands show, as text or as JSON. The names of
// JSON fields are API.
//
// It decides nothing about exit codes: it is given what they mean, and its
// errors are for the command to classify. What happens during a pull is shown
// by pkg/progress, on stderr.
//
// Pull.Write is where to start reading.
package output

import (
	"bytes"
	"encoding/json"
	"io"
	"text/tabwriter"
)

// Text writes what text writes, in columns that tabs divide.
func Text(w io.Writer, text func(io.Writer)) error {
	var b bytes.Buffer
	tw := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	text(tw)
	tw.Flush()
	_, err := w.Write(b.Bytes())
	return err
}

// JSON writes v, indented.
func JSON(w io.Writer, v any) error {
	enc := json.NewEncoder(w)
	enc.SetIndent("", "  ")
	return enc.Encode(v)
}
