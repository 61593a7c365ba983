package timeline

import (
	"bytes"
	"cmp"
	"encoding/xml"
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/containerd-pull/containerd-pull/pkg/printable"
	"github.com/containerd-pull/containerd-pull/pkg/progress"
)

// The layout, in the units of the picture.
const (
	pictureWidth = 1000.0
	margin       = 24.0
	plotLeft     = 256.0
	plotRight    = 856.0
	chartHeight  = 48.0
	maxRows      = 2000 // of blobs; what is more is counted in a line
)

// SVG draws the timeline: one row per image and per blob, phases in colours,
// with totals, hosts and a legend. The picture needs no other file, adapts to
// light and dark, and is well-formed whatever the events hold.
func (t *Timeline) SVG() []byte {
	t.mu.Lock()
	defer t.mu.Unlock()
	p := t.newPicture()
	p.draw()
	return p.document()
}

// picture is a drawing in progress, from the top down.
type picture struct {
	*Timeline
	axis   axis
	behind bytes.Buffer // what everything else is drawn over
	body   bytes.Buffer
	y      float64
	height float64 // of the row of a blob
}

func (t *Timeline) newPicture() *picture {
	rows := len(t.lanes)
	p := &picture{Timeline: t, height: 26}
	switch {
	case rows > 150:
		p.height = 12
	case rows > 50:
		p.height = 17
	}
	total := max(t.end.Sub(t.start), time.Millisecond)
	p.axis = axis{start: t.start, total: total, left: plotLeft, width: plotRight - plotLeft}
	return p
}

func (p *picture) draw() {
	p.heading()
	p.totals()
	p.failures()
	p.legend()
	p.chart()
	top := p.y
	p.rows()
	p.grid(top)
	p.footer()
}

// document puts the head before what was drawn, now that its height is known.
func (p *picture) document() []byte {
	var b bytes.Buffer
	height := p.y + margin
	fmt.Fprintf(&b, `<svg xmlns="http://www.w3.org/2000/svg" class="tl" viewBox="0 0 %g %.0f" width="%g" height="%.0f" role="img">`+"\n",
		pictureWidth, height, pictureWidth, height)
	fmt.Fprintf(&b, "<title>%s</title>\n<style>\n%s</style>\n", escape(p.name()+": timeline of the pull"), timelineStyle)
	b.WriteString(patterns)
	fmt.Fprintf(&b, `<rect class="page" width="%g" height="%.0f" rx="10"/>`+"\n", pictureWidth, height)
	b.Write(p.behind.Bytes())
	b.Write(p.body.Bytes())
	b.WriteString("</svg>\n")
	return b.Bytes()
}

// patterns fill the bars of time that is spent waiting.
const patterns = `<defs>
<pattern id="tl-wait" width="6" height="6" patternUnits="userSpaceOnUse" patternTransform="rotate(45)"><rect class="wait-a" width="6" height="6"/><rect class="wait-b" width="2" height="6"/></pattern>
<pattern id="tl-retry" width="6" height="6" patternUnits="userSpaceOnUse" patternTransform="rotate(45)"><rect class="retry-a" width="6" height="6"/><rect class="retry-b" width="2.5" height="6"/></pattern>
</defs>
`

func (p *picture) printf(format string, args ...any) { fmt.Fprintf(&p.body, format, args...) }

// text writes s at a place, in classes.
func (p *picture) text(x, y float64, class, s string) {
	p.printf(`<text x="%.1f" y="%.1f" class="%s">%s</text>`+"\n", x, y, class, escape(s))
}

// rect is a rectangle with round corners, at least wide enough to be seen.
func (p *picture) rect(x, y, width, height float64, class string, more string) {
	p.printf(`<rect x="%.1f" y="%.1f" width="%.1f" height="%.1f" rx="1.5" class="%s"%s/>`, x, y, max(width, 1.5), height, class, more)
}

// escape makes foreign text fit for XML.
func escape(s string) string {
	var b strings.Builder
	_ = xml.EscapeText(&b, []byte(printable.Line(s))) // a Builder takes everything
	return b.String()
}

// shorten cuts s to n characters. It keeps the end, by which images differ.
func shorten(s string, n int) string {
	s = printable.Line(s)
	if over := utf8.RuneCountInString(s) - n; over > 0 {
		return "…" + string([]rune(s)[over+1:])
	}
	return s
}

// name is the title of the picture.
func (t *Timeline) name() string {
	switch images := t.state.Images; len(images) {
	case 0:
		return "no image"
	case 1:
		return printable.Line(images[0].Ref)
	default:
		return progress.Plural(len(images), "image")
	}
}

// outcome is how the call ended, and the class of its badge.
func (t *Timeline) outcome() (text, class string) {
	totals := t.state.Totals()
	done := 0
	for _, img := range t.state.Images {
		if img.Outcome != "" {
			done++
		}
	}
	switch n := len(t.state.Images); {
	case totals.Failed > 0 && n > 1:
		return fmt.Sprintf("%d of %d failed", totals.Failed, n), "bad"
	case totals.Failed > 0:
		return string(progress.Failed), "bad"
	case done < n || n == 0:
		return "not finished", "bad"
	case n > 1:
		return "pulled", "good"
	}
	return string(t.state.Images[0].Outcome), "good"
}

func (p *picture) heading() {
	p.y = margin + 22
	outcome, class := p.outcome()
	name := shorten(p.name(), 66)
	p.text(margin, p.y, "title", name)
	width := float64(len(outcome))*6.6 + 20
	p.printf(`<rect x="%.1f" y="%.1f" width="%.1f" height="22" rx="11" class="badge %s"/>`, pictureWidth-margin-width, p.y-17, width, class)
	p.text(pictureWidth-margin-width/2, p.y-2, "badge-text "+class, outcome)
	p.y += 20
	p.text(margin, p.y, "dim", p.subtitle())
}

// subtitle is when the call began, its engines and, of a single image, the digest.
func (p *picture) subtitle() string {
	var parts []string
	if !p.start.IsZero() {
		parts = append(parts, p.start.UTC().Format("2006-01-02 15:04:05 UTC"))
	}
	if engine := p.engine(); engine != "" {
		parts = append(parts, "engine "+printable.Line(engine))
	}
	if images := p.state.Images; len(images) == 1 && images[0].Digest != "" {
		parts = append(parts, printable.Short(images[0].Digest.String(), 71))
	}
	return strings.Join(parts, "  ·  ")
}

// engine names all engines that were at work.
func (t *Timeline) engine() string {
	var all []string
	for _, img := range t.state.Images {
		if img.Engine != "" && !slices.Contains(all, img.Engine) {
			all = append(all, img.Engine)
		}
	}
	if len(all) == 0 {
		return t.state.Engine
	}
	return strings.Join(all, ", ")
}

// duration is how long the call took, or is known to have taken.
func (t *Timeline) duration() time.Duration {
	if t.took > 0 {
		return t.took
	}
	return t.end.Sub(t.start)
}

// total is one sum of the call.
type total struct{ name, value string }

func (t *Timeline) sums() []total {
	sum, took := t.state.Totals(), t.duration()
	var unpacked int64
	for _, l := range t.lanes {
		unpacked += l.inflated
	}
	all := []total{
		{"time", progress.Duration(took)},
		{"fetched", progress.Size(sum.BytesFetched)},
	}
	if rate := progress.MeanSpeed(sum.BytesFetched, took); rate != "" {
		all = append(all, total{"rate", rate})
	}
	return append(all,
		total{"reused", progress.Size(sum.BytesReused)},
		total{"unpacked", progress.Size(unpacked)},
		total{"layers", fmt.Sprintf("%d/%d", sum.LayersDone, sum.Layers)},
		total{"retries", fmt.Sprint(t.state.Retries)})
}

func (p *picture) totals() {
	p.y += 18
	all := p.sums()
	const gap = 8.0
	width := (pictureWidth - 2*margin - gap*float64(len(all)-1)) / float64(len(all))
	for i, s := range all {
		x := margin + float64(i)*(width+gap)
		p.printf(`<rect x="%.1f" y="%.1f" width="%.1f" height="52" rx="7" class="tile"/>`, x, p.y, width)
		p.text(x+12, p.y+20, "dim", s.name)
		class := "value"
		if s.name == "retries" && p.state.Retries > 0 {
			class += " warn"
		}
		p.text(x+12, p.y+41, class, s.value)
	}
	p.y += 52
}

// failures writes why images failed.
func (p *picture) failures() {
	for _, img := range p.state.Images {
		if img.Outcome != progress.Failed {
			continue
		}
		lines := wrap(cmp.Or(p.causes[img.Ref], "failed"), 125, 4)
		height := float64(len(lines))*16 + 14
		p.y += 12
		p.printf(`<rect x="%.1f" y="%.1f" width="%.1f" height="%.1f" rx="7" class="alarm"/>`, margin, p.y, pictureWidth-2*margin, height)
		for i, line := range lines {
			p.text(margin+12, p.y+20+float64(i)*16, "alarm-text", line)
		}
		p.y += height
	}
}

// wrap breaks s into at most most lines of at most n characters.
func wrap(s string, n, most int) []string {
	var lines []string
	for _, word := range strings.Fields(s) {
		last := len(lines) - 1
		switch {
		case last >= 0 && utf8.RuneCountInString(lines[last])+1+utf8.RuneCountInString(word) <= n:
			lines[last] += " " + word
		case len(lines) < most:
			lines = append(lines, printable.Short(word, n))
		default:
			lines[last] = printable.Short(lines[last]+" …", n)
			return lines
		}
	}
	return lines
}

func (p *picture) legend() {
	p.y += 30
	x := margin
	for _, entry := range []struct {
		class, name string
		width       float64
	}{
		{"wait", "wait", 58}, {"resolve", "resolve", 76}, {"fetch", "fetch", 64}, {"inflate", "inflate", 72},
		{"apply", "apply", 66}, {"commit", "commit", 76}, {"retrying", "retry", 64},
	} {
		p.rect(x, p.y-10, 14, 10, entry.class, "")
		p.text(x+20, p.y-1, "dim", entry.name)
		x += entry.width + 14
	}
	p.text(pictureWidth-margin, p.y-1, "dim end", "where inflate and apply overlap, the stronger one works more")
}

// chart draws when bytes came, and from which hosts.
func (p *picture) chart() {
	p.y += 20
	bottom := p.y + chartHeight
	peak := int64(1)
	for _, n := range p.flow.bytes {
		peak = max(peak, n)
	}
	p.text(margin, p.y+14, "label", "bytes fetched")
	for i, h := range p.shares(2) {
		p.text(margin, p.y+30+16*float64(i), "dim", printable.Short(h, 32))
	}
	p.printf(`<rect x="%.1f" y="%.1f" width="%.1f" height="%.1f" class="chart"/>`, plotLeft, p.y, plotRight-plotLeft, chartHeight)
	if len(p.flow.bytes) > 0 {
		p.area(bottom, float64(peak))
	}
	p.y = bottom
}

// area is the curve of the chart. It has steps, as no more is known.
func (p *picture) area(bottom, peak float64) {
	var path strings.Builder
	fmt.Fprintf(&path, "M%.1f %.1f", plotLeft, bottom)
	for i, n := range p.flow.bytes {
		from := p.start.Add(time.Duration(i) * p.flow.step)
		y := bottom - (chartHeight-4)*float64(n)/peak
		fmt.Fprintf(&path, "L%.1f %.1fH%.1f", p.axis.x(from), y, p.axis.x(from.Add(p.flow.step)))
	}
	fmt.Fprintf(&path, "V%.1fZ", bottom)
	p.printf(`<path d="%s" class="flow"/>`+"\n", path.String())
}

// shares is how much came from each of the first n hosts.
func (t *Timeline) shares(n int) []string {
	var all []string
	for _, h := range t.hosts[:min(n, len(t.hosts))] {
		all = append(all, fmt.Sprintf("%s %s", printable.Line(h.name), progress.Size(h.bytes)))
	}
	return all
}

// grid draws the ticks behind everything from top to here, and their labels at
// both ends.
func (p *picture) grid(top float64) {
	for _, at := range p.axis.ticks() {
		x := p.axis.x(p.start.Add(at))
		fmt.Fprintf(&p.behind, `<path d="M%.1f %.1fV%.1f" class="grid"/>`, x, top+18, p.y+4)
		p.text(x, top+13, "tick", p.axis.label(at))
		p.text(x, p.y+17, "tick", p.axis.label(at))
	}
	p.text(pictureWidth-margin-72, top+13, "tick end", "fetch")
	p.text(pictureWidth-margin, top+13, "tick end", "rate")
	p.y += 22
}

// footer lists the hosts, if there are many, and the warnings.
func (p *picture) footer() {
	var lines []string
	if len(p.hosts) > 2 {
		lines = append(lines, "hosts: "+strings.Join(p.shares(len(p.hosts)), ", "))
	}
	for _, note := range p.notes {
		lines = append(lines, "warning: "+note)
	}
	for _, line := range lines {
		for _, part := range wrap(line, 125, 3) {
			p.y += 16
			p.text(margin, p.y, "dim", part)
		}
	}
}
