package output

import (
	"fmt"
	"io"

	"github.com/containerd-pull/containerd-pull/pkg/check"
	"github.com/containerd-pull/containerd-pull/pkg/printable"
	"github.com/containerd-pull/containerd-pull/pkg/progress"
	"github.com/containerd-pull/containerd-pull/pkg/store"
)

// Verify is the result of verify in JSON. The names are API; docs/verify.md
// describes them.
type Verify struct {
	SchemaVersion int      `json:"schemaVersion"`
	Deep          bool     `json:"deep"`
	Images        []Report `json:"images"`
}

// Report is the findings about an image.
type Report struct {
	Name        string    `json:"name"`
	Digest      string    `json:"digest"`
	Namespace   string    `json:"namespace"`
	Snapshotter string    `json:"snapshotter"`
	Platforms   []string  `json:"platforms"`
	Whole       bool      `json:"whole"`
	Blobs       int       `json:"blobs"`
	Bytes       int64     `json:"bytes"`
	Snapshots   int       `json:"snapshots"`
	Compared    int       `json:"compared"`
	Findings    []finding `json:"findings"`
	Repaired    []finding `json:"repaired"`
	Notes       []string  `json:"notes"`

	of check.Report
}

type finding struct {
	Kind       string `json:"kind"`
	Platform   string `json:"platform,omitempty"`
	Digest     string `json:"digest"`
	Path       string `json:"path,omitempty"`
	Message    string `json:"message"`
	Unrepaired string `json:"unrepaired,omitempty"`
}

// NewVerify returns the result for images.
func NewVerify(deep bool, images []Report) Verify {
	return Verify{SchemaVersion: 1, Deep: deep, Images: append([]Report{}, images...)}
}

// NewReport returns a report about an image in st for showing.
func NewReport(r check.Report, st *store.Store) Report {
	return Report{
		Name: printable.Line(r.Image.Name), Digest: r.Image.Target.Digest.String(), Namespace: st.Namespace, Snapshotter: st.Name,
		Platforms: printableLines(r.Platforms),
		Whole:     r.Whole(), Blobs: r.Blobs, Bytes: r.Bytes, Snapshots: r.Snapshots, Compared: r.Compared,
		Findings: showFindings(r.Findings), Repaired: showFindings(r.Repaired), Notes: printableLines(r.Notes),
		of: r,
	}
}

// printableLines makes names and texts of an image harmless.
func printableLines(all []string) []string {
	lines := make([]string, len(all))
	for i, text := range all {
		lines[i] = printable.Line(text)
	}
	return lines
}

func showFindings(all []check.Finding) []finding {
	shown := make([]finding, len(all))
	for i, f := range all {
		shown[i] = finding{
			Kind: string(f.Kind), Platform: printable.Line(f.Platform), Digest: printable.Line(f.Digest.String()),
			Path: printable.Line(f.Path), Message: printable.Line(f.Message), Unrepaired: printable.Line(f.Unrepaired),
		}
	}
	return shown
}

// Damaged returns how many images are not whole.
func (v Verify) Damaged() int {
	damaged := 0
	for _, r := range v.Images {
		if !r.Whole {
			damaged++
		}
	}
	return damaged
}

// Write writes one line for each finding.
func (v Verify) Write(w io.Writer) {
	for _, r := range v.Images {
		for _, f := range r.Repaired {
			fmt.Fprintf(w, "%s\t%s\t%s (repaired)\n", printable.Line(r.Name), f.Digest, f.text())
		}
		for _, f := range r.Findings {
			text := f.text()
			if f.Unrepaired != "" {
				text += " (not repaired: " + printable.Line(f.Unrepaired) + ")"
			}
			fmt.Fprintf(w, "%s\t%s\t%s\n", printable.Line(r.Name), f.Digest, text)
		}
	}
}

func (f finding) text() string {
	text := f.Kind + ": "
	if f.Path != "" {
		text += printable.Line(f.Path) + ": "
	}
	return text + printable.Line(f.Message)
}

// Summary returns the line for images that are all whole.
func (v Verify) Summary() string {
	reports := make([]check.Report, len(v.Images))
	for i, r := range v.Images {
		reports[i] = r.of
	}
	c := check.Sum(reports)
	return fmt.Sprintf("%s whole: %s (%s), %s", progress.Plural(len(v.Images), "image"), progress.Plural(c.Blobs, "blob"), progress.Size(c.Bytes), progress.Plural(c.Snapshots, "snapshot"))
}
