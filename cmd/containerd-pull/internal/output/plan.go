package output

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/containerd-pull/containerd-pull/pkg/batch"
	"github.com/containerd-pull/containerd-pull/pkg/printable"
	"github.com/containerd-pull/containerd-pull/pkg/progress"
	"github.com/containerd-pull/containerd-pull/pkg/pull"
	"github.com/containerd-pull/containerd-pull/pkg/store"
)

// shownForecast is a plan in JSON. The names are API; docs/output.md describes them.
type shownForecast struct {
	SchemaVersion int        `json:"schemaVersion"`
	Images        []any      `json:"images"`
	Total         shownTotal `json:"total"`
}

type shownTotal struct {
	Images  int         `json:"images"`
	Failed  int         `json:"failed"`
	Changed int         `json:"changed"`
	Present int64       `json:"present"`
	Fetch   shownFetch  `json:"fetch"`
	Unpack  shownUnpack `json:"unpack"`
	Fits    bool        `json:"fits"`
	Misfit  string      `json:"misfit"`
}

// shownPlan is the plan of an image that did not fail; of one that did there is a
// shownFailure.
type shownPlan struct {
	SchemaVersion  int               `json:"schemaVersion"`
	Ref            string            `json:"ref"`
	Name           string            `json:"name"`
	Digest         string            `json:"digest"`
	Target         shownTarget       `json:"target"`
	Platforms      []shownPlatform   `json:"platforms"`
	Changed        bool              `json:"changed"`
	PreviousDigest string            `json:"previousDigest"`
	Namespace      string            `json:"namespace"`
	Snapshotter    string            `json:"snapshotter"`
	Profile        string            `json:"profile"`
	Engine         string            `json:"engine"`
	EngineReason   string            `json:"engineReason"`
	SourceHost     string            `json:"sourceHost"`
	Retries        int               `json:"retries"`
	NewLabels      []string          `json:"newLabels"`
	Labels         map[string]string `json:"labels"`
	Warnings       []string          `json:"warnings"`
	Error          *shownError       `json:"error"`
	Plan           shownOutlook      `json:"plan"`
}

type shownOutlook struct {
	Nothing       bool        `json:"nothing"`
	Present       int64       `json:"present"`
	Fetch         shownFetch  `json:"fetch"`
	Unpack        shownUnpack `json:"unpack"`
	Free          shownFree   `json:"free"`
	Fits          bool        `json:"fits"`
	Misfit        string      `json:"misfit"`
	Damaged       []string    `json:"damaged"`
	Hosts         []shownHost `json:"hosts"`
	Verify        string      `json:"verify"`
	ProfileReason string      `json:"profileReason"`
}

type shownFetch struct {
	Blobs         int              `json:"blobs"`
	Bytes         int64            `json:"bytes"`
	Hosts         map[string]int64 `json:"hosts"`
	Documents     int              `json:"documents"`
	DocumentBytes int64            `json:"documentBytes"`
	Others        int              `json:"others"`
}

type shownUnpack struct {
	Layers int   `json:"layers"`
	Bytes  int64 `json:"bytes"`
	Exact  bool  `json:"exact"`
}

type shownFree struct {
	Content   *shownSpace `json:"content"`
	Snapshots *shownSpace `json:"snapshots"`
}

type shownSpace struct {
	Path    string `json:"path"`
	Bytes   int64  `json:"bytes"`
	Reserve int64  `json:"reserve"`
}

type shownHost struct {
	Host       string `json:"host"`
	Pull       bool   `json:"pull"`
	Resolve    bool   `json:"resolve"`
	Mirror     bool   `json:"mirror"`
	Credential string `json:"credential"`
	Withheld   string `json:"withheld"`
}

// Plan writes what a pull would do.
type Plan struct {
	Options
	form *form // of --format, else nil
}

// planColumns are those of --format table.
const planColumns = "{{.name}}\t{{.digest}}\t{{.changed}}\t{{.engine}}"

// NewPlan refuses a form that could not be written.
func NewPlan(o Options) (*Plan, error) {
	form, err := newForm[shownPlan](o.Config.Format, planColumns)
	if err = errors.Join(err, o.checkChangedCode()); err != nil {
		return nil, err
	}
	return &Plan{o, form}, nil
}

// Write writes the plan of each image, in the order of the references, and what
// they take together.
func (p *Plan) Write(f batch.Forecast) error {
	if p.form == nil {
		return Text(p.Out, func(w io.Writer) { p.text(w, f) })
	}
	shown := shownForecast{SchemaVersion: 1, Images: []any{}, Total: newTotal(f)}
	for _, o := range f.Outcomes {
		if o.Err != nil {
			shown.Images = append(shown.Images, showFailure(o, p.Describe(o.Err)))
			continue
		}
		shown.Images = append(shown.Images, newPlan(o))
	}
	var text bytes.Buffer
	if p.form.template != nil {
		err := p.form.execute(&text, shown.Images)
		_, werr := p.Out.Write(text.Bytes())
		return errors.Join(err, werr)
	}
	out, err := marshal(shown, isTerminal(p.Out))
	if err != nil {
		return err
	}
	_, err = p.Out.Write(out)
	return err
}

func newTotal(f batch.Forecast) shownTotal {
	t := shownTotal{
		Images: len(f.Outcomes), Present: f.Total.Present(), Fetch: newFetch(f.Total), Unpack: newUnpack(f.Total),
		Fits: f.Misfit == nil, Misfit: misfit(f.Misfit),
	}
	counted := map[string]bool{} // blobs that several images share come once
	for _, o := range f.Outcomes {
		if o.Err != nil {
			t.Failed++
			continue
		}
		if !o.Outlook.Nothing {
			t.Changed++
		}
		for dgst, n := range o.Outlook.Fetch {
			if !counted[dgst.String()] {
				counted[dgst.String()] = true
				t.Fetch.add(o.Serving(), n)
			}
		}
	}
	return t
}

func newPlan(o batch.Outcome) shownPlan {
	out, pl := o.Outlook, o.Outlook.Plan
	changes := pl.Previous != pl.Target.Digest || len(pl.NewLabels) > 0
	shown := shownPlan{
		SchemaVersion: 1, Ref: o.Typed, Name: pl.Name, Digest: pl.Target.Digest.String(), Target: shownTarget{pl.Target.MediaType, pl.Target.Size},
		Platforms: []shownPlatform{}, Changed: changes, PreviousDigest: pl.Previous.String(),
		Namespace: o.Namespace, Snapshotter: o.Snapshotter, Profile: o.Config.Profile,
		Engine: string(out.Engine), EngineReason: out.EngineReason, SourceHost: pl.Host, Retries: o.Observed.Retries,
		NewLabels: append([]string{}, pl.NewLabels...), Labels: pl.Request.Labels, Warnings: warnings(o), Plan: newOutlook(o),
	}
	if shown.Labels == nil {
		shown.Labels = map[string]string{}
	}
	for _, one := range pl.Pulled() {
		shown.Platforms = append(shown.Platforms, showPlatform(one))
	}
	return shown
}

func newOutlook(o batch.Outcome) shownOutlook {
	out := o.Outlook
	shown := shownOutlook{
		Nothing: out.Nothing, Present: out.Present(), Fetch: newFetch(out.Load), Unpack: newUnpack(out.Load),
		Free: shownFree{newSpace(out.Space.Content), newSpace(out.Space.Snapshots)}, Fits: out.Misfit == nil, Misfit: misfit(out.Misfit),
		Damaged: []string{}, Hosts: []shownHost{}, Verify: verification(o), ProfileReason: profileReason(o),
	}
	for _, n := range out.Fetch {
		shown.Fetch.add(o.Serving(), n)
	}
	for _, d := range out.Plan.Missing.Damaged {
		shown.Damaged = append(shown.Damaged, printable.Line(d.Digest.String()+": "+d.What))
	}
	for _, h := range o.Hosts {
		shown.Hosts = append(shown.Hosts, shownHost{h.Name, h.Pull, h.Resolve, h.Mirror, h.Credential, printable.Line(h.Withheld)})
	}
	return shown
}

func newFetch(l pull.Load) shownFetch {
	f := shownFetch{Bytes: pull.Sum(l.Fetch), Hosts: map[string]int64{}, Documents: len(l.Documents), DocumentBytes: pull.Sum(l.Documents), Others: len(l.Others)}
	for _, n := range l.Fetch {
		if n > 0 {
			f.Blobs++
		}
	}
	return f
}

func (f *shownFetch) add(host string, n int64) {
	if n > 0 {
		f.Hosts[host] += n
	}
}

func newUnpack(l pull.Load) shownUnpack {
	n, exact := l.Unpacked()
	return shownUnpack{len(l.Unpack), n, exact}
}

// newSpace is nil for a file system that cannot be seen.
func newSpace(s *store.Space) *shownSpace {
	if s == nil {
		return nil
	}
	return &shownSpace{s.Path, s.Bytes, s.Reserve}
}

func misfit(err error) string {
	if err == nil {
		return ""
	}
	return printable.Line(err.Error())
}

// verification names the policy that judges the target.
func verification(o batch.Outcome) string { return cmp.Or(string(o.Config.Verify.Mode), "none") }

// profileReason is why the image has its profile, empty if it has none.
func profileReason(o batch.Outcome) string {
	if o.Config.Profile == "" {
		return ""
	}
	return o.Config.ProfileOrigin().String()
}

func (p *Plan) text(w io.Writer, f batch.Forecast) {
	for _, o := range f.Outcomes {
		if o.Err == nil {
			newPlan(o).write(w)
		}
	}
	if len(f.Outcomes) > 1 {
		newTotal(f).write(w)
	}
}

func (s shownPlan) write(w io.Writer) {
	fmt.Fprintf(w, "%s\n", s.Name)
	line := func(key, format string, args ...any) { fmt.Fprintf(w, "  %s\t%s\n", key, fmt.Sprintf(format, args...)) }
	line("target", "%s (%s)", s.Digest, s.state())
	for _, p := range s.Platforms {
		line("platform", "%s", cmp.Or(p.Platform, "none"))
	}
	line("hosts", "%s", joined(s.Plan.Hosts, shownHost.text))
	line("credential", "%s", joined(s.Plan.Hosts, shownHost.credential))
	if s.Profile != "" {
		line("profile", "%s (%s)", s.Profile, s.Plan.ProfileReason)
	}
	line("verify", "%s", s.Plan.Verify)
	line("engine", "%s (%s)", s.Engine, s.EngineReason)
	line("fetch", "%s; present %s", s.Plan.Fetch.text(), progress.Size(s.Plan.Present))
	line("unpack", "%s into %s", s.Plan.Unpack.text(), s.Snapshotter)
	line("free", "content %s, snapshots %s: %s", s.Plan.Free.Content.text(), s.Plan.Free.Snapshots.text(), fits(s.Plan.Misfit))
	for _, d := range s.Plan.Damaged {
		line("damaged", "%s", d)
	}
}

// state is what becomes of the image record.
func (s shownPlan) state() string {
	switch {
	case s.Plan.Nothing:
		return "up to date"
	case s.PreviousDigest == "":
		return "new"
	case s.PreviousDigest != s.Digest:
		return "changed"
	case len(s.NewLabels) > 0:
		return "new labels"
	}
	return "the same, not whole"
}

func (t shownTotal) write(w io.Writer) {
	fmt.Fprintf(w, "total\n")
	fmt.Fprintf(w, "  images\t%d, of which %d up to date and %d failed\n", t.Images, t.Images-t.Changed-t.Failed, t.Failed)
	fmt.Fprintf(w, "  fetch\t%s; present %s\n", t.Fetch.text(), progress.Size(t.Present))
	fmt.Fprintf(w, "  unpack\t%s\n", t.Unpack.text())
	fmt.Fprintf(w, "  free\t%s\n", fits(t.Misfit))
}

func fits(misfit string) string {
	if misfit == "" {
		return "fits"
	}
	return "does not fit: " + misfit
}

func (f shownFetch) text() string {
	text := fmt.Sprintf("%s, %s", progress.Plural(f.Blobs, "blob"), progress.Size(f.Bytes))
	if f.Documents > 0 {
		text += fmt.Sprintf(", and %s, %s", progress.Plural(f.Documents, "document"), progress.Size(f.DocumentBytes))
	}
	if f.Others > 0 {
		text += fmt.Sprintf(", and %s of other platforms", progress.Plural(f.Others, "manifest"))
	}
	return text
}

func (u shownUnpack) text() string {
	about := "about "
	if u.Exact {
		about = ""
	}
	return fmt.Sprintf("%s, %s%s", progress.Plural(u.Layers, "layer"), about, progress.Size(u.Bytes))
}

func (s *shownSpace) text() string {
	switch {
	case s == nil:
		return "not known"
	case s.Reserve > 0:
		return fmt.Sprintf("%s, of which %s are to stay free", progress.Size(s.Bytes), progress.Size(s.Reserve))
	}
	return progress.Size(s.Bytes)
}

func joined[T any](all []T, text func(T) string) string {
	var parts []string
	for _, one := range all {
		if t := text(one); t != "" {
			parts = append(parts, t)
		}
	}
	return cmp.Or(strings.Join(parts, ", "), "none")
}

func (h shownHost) text() string {
	var may []string
	if h.Pull {
		may = append(may, "pull")
	}
	if h.Resolve {
		may = append(may, "resolve")
	}
	return fmt.Sprintf("%s (%s)", h.Host, strings.Join(may, ", "))
}

// credential is whose credential the host gets, empty if it gets none.
func (h shownHost) credential() string {
	switch {
	case h.Withheld != "":
		return h.Host + ": none, because " + h.Withheld
	case h.Credential != "":
		return h.Host + ": " + h.Credential
	}
	return ""
}
