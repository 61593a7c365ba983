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

	"github.com/containerd-pull/containerd-pull/pkg/printable"
)

// Text writes the output of text, with columns at its tabs and foreign text made
// harmless.
func Text(w io.Writer, text func(io.Writer)) error {
	var b bytes.Buffer
	tw := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	text(tw)
	tw.Flush()
	_, err := io.WriteString(w, printable.Text(b.String()))
	return err
}

// JSON writes v, indented. What a terminal would obey is escaped; the values are
// the same.
func JSON(w io.Writer, v any) error {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetIndent("", "  ")
	if err := enc.Encode(v); err != nil {
		return err
	}
	_, err := io.WriteString(w, printable.JSON(b.String()))
	return err
}

// Line writes v as one line of JSON, as JSON does otherwise.
func Line(w io.Writer, v any) error {
	text, err := marshal(v, false)
	if err != nil {
		return err
	}
	_, err = w.Write(text)
	return err
}
