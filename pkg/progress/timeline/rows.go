package timeline

import (
	"fmt"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/containerd-pull/containerd-pull/pkg/progress"
)

// rows draws the lanes, each image before its blobs.
func (p *picture) rows() {
	p.y += 24
	drawn, left := 0, 0
	for _, img := range p.state.Images {
		if l := p.byBlob[blobName{ref: img.Ref}]; l != nil {
			p.imageRow(l)
		}
		for _, b := range img.Blobs {
			l := p.byBlob[blobName{img.Ref, b.Digest}]
			switch {
			case l == nil:
			case drawn == maxRows:
				left++
			default:
				p.blobRow(l)
				drawn++
			}
		}
	}
	if left > 0 {
		p.y += 20
		p.text(margin, p.y-6, "dim", fmt.Sprintf("and %s more", progress.Plural(left, "blob")))
	}
}

// row is the ground of a lane, which shows its explanation below a pointer.
func (p *picture) row(height float64, explanation []string) {
	p.printf(`<g class="row"><title>%s</title><rect x="%.1f" y="%.1f" width="%.1f" height="%.1f" class="ground"/>`+"\n",
		escapeLines(explanation), margin-6, p.y, pictureWidth-2*margin+12, height)
}

// escapeLines is escape for several lines, which it keeps apart.
func escapeLines(lines []string) string {
	var escaped []string
	for _, line := range lines {
		escaped = append(escaped, escape(line))
	}
	return strings.Join(escaped, "&#10;")
}

// imageRow is a lane of an image: its name, when it was resolved, and when its
// record was written.
func (p *picture) imageRow(l *lane) {
	const height = 26.0
	p.row(height, p.explainImage(l))
	middle := p.y + height/2
	p.label(middle+4, shorten(l.ref, 36))
	from, to := p.extent(l)
	if to.After(from) {
		p.printf(`<path d="M%.1f %.1fH%.1f" class="extent"/>`, p.axis.x(from), middle, p.axis.x(to))
	}
	for _, s := range l.spans {
		p.bar(s, s.from, middle-4, 8, classOf(s.phase), "")
	}
	p.waits(l, middle-4, 8)
	p.marks(l, middle)
	if l.image.Outcome == progress.Failed {
		p.cross(p.axis.x(to), middle)
	}
	if !from.IsZero() {
		p.text(pictureWidth-margin, middle+4, "dim end", progress.Duration(to.Sub(from)))
	}
	p.printf("</g>\n")
	p.y += height
}

// label writes the name of an image. Since the font is not known, a long name is
// condensed to the width that there is.
func (p *picture) label(y float64, name string) {
	fit := ""
	if utf8.RuneCountInString(name) > 26 {
		fit = fmt.Sprintf(` textLength="%.0f" lengthAdjust="spacingAndGlyphs"`, plotLeft-12-margin)
	}
	p.printf(`<text x="%.1f" y="%.1f" class="label"%s>%s</text>`+"\n", margin, y, fit, escape(name))
}

// extent is the time that an image took: from its first event to the end of its
// last span.
func (p *picture) extent(l *lane) (from, to time.Time) {
	from, to = l.first, l.first
	if len(l.spans) > 0 {
		from = l.spans[0].from
	}
	for _, other := range p.byRef[l.ref] {
		for _, s := range other.spans {
			to = later(to, p.ended(s))
		}
	}
	if l.image.Outcome == progress.Failed || l.image.Outcome == "" {
		to = later(to, l.ended)
	}
	return from, later(from, to)
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// ended is when a span was over, or the end of the picture.
func (p *picture) ended(s span) time.Time {
	if s.to.IsZero() {
		return p.end
	}
	return s.to
}

// blobRow is a lane of a blob. Fetching is drawn above inflating and applying,
// since they go on at the same time; every other phase has the whole height.
func (p *picture) blobRow(l *lane) {
	p.row(p.height, p.explainBlob(l))
	h := p.height - 4
	top := p.y + 2
	p.names(l, top+h/2)
	band := h * 0.42
	for _, s := range l.spans {
		switch s.phase {
		case progress.Fetch:
			if !s.asked.IsZero() {
				p.bar(span{to: s.from}, s.asked, top, band, "fetch lead", "")
			}
			p.bar(s, s.from, top, band, "fetch", "")
		case unpacking:
			if l.isStarved(s) {
				p.bar(s, s.from, top, band, "fetch lead", "")
			} else {
				p.unpackBars(s, top+band, h-band)
			}
		case progress.Wait:
			p.bar(s, s.from, top+h/2-h/8, h/4, "wait", "")
		default:
			p.bar(s, s.from, top, h, classOf(s.phase), "")
		}
	}
	if from, to := l.idle(); to.After(from) {
		p.bar(span{to: to}, from, top+h/2-h/8, h/4, "wait", "")
	}
	if l.blob.Present && len(l.spans) == 0 {
		p.printf(`<circle cx="%.1f" cy="%.1f" r="%.1f" class="there"/>`, p.axis.x(l.first), top+h/2, h/4)
	}
	p.waits(l, top, band)
	p.marks(l, top+band/2)
	p.ending(l, top+h/2)
	p.printf("</g>\n")
	p.y += p.height
}

// names are what stands left and right of a lane.
func (p *picture) names(l *lane, middle float64) {
	small := ""
	if p.height < 16 {
		small = " small"
	}
	p.text(margin, middle+4, "dim"+small, string(l.blob.Kind))
	p.text(margin+62, middle+4, "mono"+small, progress.ShortDigest(l.digest))
	p.text(plotLeft-12, middle+4, "dim end"+small, progress.Size(l.blob.Size))
	p.verdict(l, middle+4, small)
}

// verdict is how long the fetch took and how fast it was, else the state of the
// blob.
func (p *picture) verdict(l *lane, y float64, small string) {
	s := l.last(progress.Fetch)
	switch {
	case l.failed, l.isStopped():
		p.text(pictureWidth-margin, y, "bad-text end"+small, l.state())
	case s == nil || s.to.IsZero():
		p.text(pictureWidth-margin, y, "dim end"+small, l.state())
	default:
		took := s.to.Sub(s.since())
		p.text(pictureWidth-margin-72, y, "dim end"+small, progress.Duration(took))
		p.text(pictureWidth-margin, y, "dim end"+small, progress.Speed(progress.Average(max(l.blob.Size-l.blob.Resumed, 0), took)))
	}
}

// state is the state of the blob in the end.
func (l *lane) state() string {
	switch {
	case l.failed:
		return string(progress.Failed)
	case l.isStopped():
		return "stopped"
	}
	return string(l.blob.Status())
}

// isStopped reports whether the end of the call cut something of the lane off.
func (l *lane) isStopped() bool {
	for _, s := range l.spans {
		if s.cut && !s.to.Before(l.ended) {
			return true
		}
	}
	return false
}

// since is when the span began, with the time until an answer came.
func (s span) since() time.Time {
	if s.asked.IsZero() {
		return s.from
	}
	return s.asked
}

// idle is the time between the unpack of a layer and its commit, for which the
// layers below it were not ready.
func (l *lane) idle() (from, to time.Time) {
	unpack, commit := l.last(unpacking), l.last(progress.Commit)
	if unpack == nil || commit == nil || unpack.to.IsZero() {
		return from, from
	}
	return unpack.to, commit.from
}

// bar draws a span, or its rest from another moment on.
func (p *picture) bar(s span, from time.Time, y, height float64, class, more string) {
	x := p.axis.x(from)
	p.rect(x, y, p.axis.x(p.ended(s))-x, height, class, more)
}

// unpackBars shows inflate above apply, each as strong as it was busy. Without
// these times a daemon did the work, and the whole span is shown as an apply.
func (p *picture) unpackBars(s span, y, height float64) {
	if s.inflate == 0 {
		p.bar(s, s.from, y, height, "apply", strength(s, max(s.apply, s.to.Sub(s.from))))
		return
	}
	p.bar(s, s.from, y, height/2, "inflate", strength(s, s.inflate))
	p.bar(s, s.from, y+height/2, height/2, "apply", strength(s, s.apply))
}

func strength(s span, busy time.Duration) string {
	part := 1.0
	if all := s.to.Sub(s.from); all > 0 {
		part = min(float64(busy)/float64(all), 1)
	}
	return fmt.Sprintf(` fill-opacity="%.2f"`, 0.3+0.7*part)
}

// waits hatches the times before retries.
func (p *picture) waits(l *lane, y, height float64) {
	for _, m := range l.marks {
		if m.wait > 0 {
			x := p.axis.x(m.at)
			width := p.axis.x(m.at.Add(m.wait)) - x
			p.rect(x, y, width, height, "page", "") // because the bar below did not go on meanwhile
			p.rect(x, y, width, height, "retrying", "")
		}
	}
}

// marks draws a diamond for each retry and a ring for each host that was given
// up.
func (p *picture) marks(l *lane, y float64) {
	r := min(p.height/4, 5)
	for _, m := range l.marks {
		x := p.axis.x(m.at)
		if m.label == markRetry {
			p.printf(`<path d="M%.1f %.1fl%.1f %.1fl%.1f %.1fl%.1f %.1fz" class="mark"><title>%s</title></path>`,
				x, y-r, r, r, -r, r, -r, -r, escape(m.text))
		} else {
			p.printf(`<circle cx="%.1f" cy="%.1f" r="%.1f" class="ring"><title>%s</title></circle>`, x, y, r-1, escape(m.text))
		}
	}
}

// ending marks the lane that the pull failed at with a cross, and those that were
// stopped with it with a bar.
func (p *picture) ending(l *lane, y float64) {
	if !l.failed && !l.isStopped() {
		return
	}
	x := p.axis.x(l.ended)
	if l.failed {
		p.cross(x, y)
	} else {
		p.printf(`<path d="M%.1f %.1fV%.1f" class="cross"/>`, x, y-p.height/2+4, y+p.height/2-4)
	}
}

func (p *picture) cross(x, y float64) {
	r := min(p.height/4, 5)
	p.printf(`<path d="M%.1f %.1fl%.1f %.1fm0 %.1fl%.1f %.1f" class="cross"/>`, x-r, y-r, 2*r, 2*r, -2*r, -2*r, 2*r)
}

func classOf(p progress.Phase) string {
	switch p {
	case progress.Resolve, progress.Commit, progress.Wait:
		return string(p)
	}
	return "wait"
}

// explainImage and explainBlob are the texts below a pointer over the row.
func (p *picture) explainImage(l *lane) []string {
	lines := []string{l.ref}
	if l.image.Digest != "" {
		lines = append(lines, l.image.Digest.String())
	}
	if l.image.Outcome != "" {
		lines = append(lines, string(l.image.Outcome))
	}
	for _, phase := range []progress.Phase{progress.Resolve, progress.Commit} {
		if d := l.busy(phase); d > 0 {
			lines = append(lines, fmt.Sprintf("%s %s", phase, progress.Duration(d)))
		}
	}
	return append(lines, l.explainMarks()...)
}

func (p *picture) explainBlob(l *lane) []string {
	lines := []string{
		fmt.Sprintf("%s %s, %s", l.blob.Kind, l.digest, progress.Size(l.blob.Size)),
	}
	if l.blob.Host != "" {
		lines = append(lines, "from "+l.blob.Host)
	}
	for _, phase := range []progress.Phase{progress.Wait, progress.Fetch, progress.Inflate, progress.Apply, progress.Commit} {
		if d := l.busy(phase); d > 0 {
			lines = append(lines, fmt.Sprintf("%s %s", phase, progress.Duration(d)))
		}
	}
	lines = append(lines, l.state())
	return append(lines, l.explainMarks()...)
}

func (l *lane) explainMarks() []string {
	var lines []string
	for _, m := range l.marks {
		lines = append(lines, m.text)
	}
	if l.dropped > 0 {
		lines = append(lines, fmt.Sprintf("and %d more", l.dropped))
	}
	return lines
}
