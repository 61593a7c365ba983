package output

import (
	"cmp"
	"fmt"
	"io"

	"github.com/containerd-pull/containerd-pull/pkg/config"
	"github.com/containerd-pull/containerd-pull/pkg/printable"
	"github.com/containerd-pull/containerd-pull/pkg/progress"
)

// Check is the result of profile check in JSON. The names are API.
type Check struct {
	Files       []string  `json:"files"`
	Profiles    []string  `json:"profiles"`
	Credentials []Reach   `json:"credentials"`
	Warnings    []string  `json:"warnings"`
	Wrong       []Finding `json:"wrong"`
}

// Reach is which hosts a credential may be sent to.
type Reach struct {
	Profile    string `json:"profile"` // empty outside of profiles
	Credential string `json:"credential"`
	Hosts      string `json:"hosts"`
}

// Finding is a mistake and what to do about it.
type Finding struct {
	Message string `json:"message"`
	Hint    string `json:"hint,omitempty"`
}

// NewCheck returns a check of the settings in which nothing has been found.
func NewCheck(settings *config.Settings) *Check {
	c := &Check{
		Files: append([]string{}, settings.Files()...), Profiles: []string{}, Credentials: []Reach{},
		Warnings: append([]string{}, settings.Warnings()...), Wrong: []Finding{},
	}
	for _, p := range settings.Profiles() {
		c.Profiles = append(c.Profiles, p.Name)
	}
	return c
}

// Write writes a line for each credential, and how much was checked.
func (c *Check) Write(w io.Writer) {
	for _, r := range c.Credentials {
		profile := ""
		if r.Profile != "" {
			profile = "profile " + r.Profile + ": "
		}
		fmt.Fprintln(w, printable.Line(profile+r.Credential+" can reach: "+r.Hosts))
	}
	fmt.Fprintf(w, "%s, %s: nothing is wrong\n", progress.Plural(len(c.Files), "file"), progress.Plural(len(c.Profiles), "profile"))
}

// Change is a line that means something else than in the first release, in JSON.
// The names are API.
type Change struct {
	File  string `json:"file"`
	Line  int    `json:"line,omitempty"` // none if it is the whole file
	Key   string `json:"key,omitempty"`
	Value string `json:"value,omitempty"`
	Was   string `json:"was"`
	Now   string `json:"now"`
	Write string `json:"write"` // what to write instead, or to do
}

// Changes is the result of profile check --migrate in JSON.
type Changes []Change

// NewChanges returns changes for showing.
func NewChanges(all []config.Change) Changes {
	shown := make(Changes, len(all))
	for i, c := range all {
		shown[i] = Change(c)
	}
	return shown
}

// Write writes each change: where it is, what it was, what it is, and what to do.
func (all Changes) Write(w io.Writer) {
	for _, c := range all {
		where := c.File
		if c.Line > 0 {
			where = fmt.Sprintf("%s:%d", c.File, c.Line)
		}
		if c.Key != "" {
			where += fmt.Sprintf(": %s (%s)", c.Key, cmp.Or(c.Value, "none"))
		}
		for _, line := range []string{where, "  was:   " + c.Was, "  now:   " + c.Now, "  write: " + c.Write} {
			fmt.Fprintln(w, printable.Line(line))
		}
	}
	if len(all) == 0 {
		fmt.Fprintln(w, "no line means something else than in the first release")
	}
}
