// Package output writes results to stdout: that of a pull in every style and
// format (Pull), and what other commands show, as text or as JSON. The names of
// JSON fields are API.
//
// It does not decide exit codes: it is given their meaning, and the command
// classifies its errors. What happens during a pull is shown by pkg/progress, on
// stderr.
//
// Pull.Write is where to start reading.
package output

import (
	"bytes"
	"encoding/json"
	"io"
	"text/tabwriter"
)

// Text writes the output of text, with columns at its tabs.
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
