package display

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/charmbracelet/x/ansi"

	"github.com/containerd-pull/containerd-pull/pkg/printable"
	"github.com/containerd-pull/containerd-pull/pkg/progress"
)

// view lays out the rows of one frame. It depends on nothing but its fields
// and the state.
type view struct {
	width, height int // that may be used
	now           time.Time
	color         bool
	unicode       bool // bars may be drawn with more than ASCII
}

// group is an image with those of its blobs that get a row.
type group struct {
	image *progress.Image
	blobs []*progress.BlobState
}

// rows returns the rows of the region, none if no image is being pulled or the
// screen has no room for any.
func (v view) rows(s *progress.State) []string {
	groups := pending(s)
	if len(groups) == 0 || v.width < 1 || v.height < 1 {
		return nil
	}
	shown, folded := fold(groups, v.height-1)
	cols := v.columns(shown)
	var rows []string
	for _, g := range shown {
		rows = append(rows, v.header(g.image))
		for _, b := range g.blobs {
			rows = append(rows, v.blob(b, cols))
		}
	}
	if folded != "" {
		rows = append(rows, v.paint(faint, ansi.Truncate(folded, v.width, "…")))
	}
	rows = append(rows, v.total(s))
	return rows[max(0, len(rows)-v.height):]
}

// calm is how many blobs have a row each whatever they do. Of more, those that are
// worked on have one.
const calm = 12

// pending returns the images that are not over, with every layer and every
// other blob that is being worked on.
func pending(s *progress.State) []group {
	var groups []group
	for _, img := range s.Images {
		if img.Outcome != "" {
			continue
		}
		g := group{image: img}
		for _, b := range img.Blobs {
			if b.Kind == progress.Layer || b.IsActive() {
				g.blobs = append(g.blobs, b)
			}
		}
		groups = append(groups, g)
	}
	return groups
}

// fold chooses what gets rows, at most height of them, and counts the rest in a text.
// Images that are worked on come first.
func fold(groups []group, height int) (shown []group, folded string) {
	blobs := 0
	for _, g := range groups {
		blobs += len(g.blobs)
	}
	if blobs <= calm && len(groups)+blobs <= height {
		return groups, ""
	}
	height-- // one row counts what is left out
	hidden := 0
	var rest []*progress.BlobState
	for _, g := range byUrgency(groups) {
		if kept, left := g.active(height - 1); height > 0 && (len(kept.blobs) > 0 || len(shown) == 0 || len(g.blobs) == 0) {
			shown, rest = append(shown, kept), append(rest, left...)
			height -= 1 + len(kept.blobs)
			continue
		}
		hidden++
		rest = append(rest, g.blobs...)
	}
	return shown, foldText(hidden, rest)
}

// byUrgency puts those images first that are worked on, and those last whose blobs
// all wait.
func byUrgency(groups []group) []group {
	return slices.SortedStableFunc(slices.Values(groups), func(a, b group) int { return cmp.Compare(a.urgency(), b.urgency()) })
}

func (g group) urgency() int {
	switch {
	case slices.ContainsFunc(g.blobs, (*progress.BlobState).IsActive):
		return 0
	case len(g.blobs) == 0: // its target is being asked for
		return 1
	}
	return 2
}

// active is the image with those of its blobs that are worked on, at most n, and the
// others.
func (g group) active(n int) (kept group, rest []*progress.BlobState) {
	kept.image = g.image
	for _, b := range g.blobs {
		if b.IsActive() && len(kept.blobs) < n {
			kept.blobs = append(kept.blobs, b)
		} else {
			rest = append(rest, b)
		}
	}
	return kept, rest
}

// foldText counts what has no row of its own: "+ 2 images, 92 layers: 32
// waiting, 60 done".
func foldText(images int, blobs []*progress.BlobState) string {
	counts := map[progress.Status]int{}
	for _, b := range blobs {
		counts[b.Status()]++
	}
	var parts []string
	for _, status := range []progress.Status{progress.Fetching, progress.Unpacking, progress.Verifying, progress.Silent, progress.Retrying, progress.Queued, progress.Waiting, progress.Done, progress.Held} {
		if counts[status] > 0 {
			parts = append(parts, fmt.Sprintf("%d %s", counts[status], status))
		}
	}
	var of []string
	if images > 0 {
		of = append(of, progress.Plural(images, "image"))
	}
	if len(blobs) > 0 {
		of = append(of, progress.Plural(len(blobs), "layer")+": "+strings.Join(parts, ", "))
	}
	if of == nil {
		return ""
	}
	return "+ " + strings.Join(of, ", ")
}

// The widths of columns, in cells. A narrow screen has only those that it has
// room for.
const (
	statusWidth = len(progress.Unpacking)
	bytesWidth  = len("999.9/999.9 MB")
	rateWidth   = len("999.9 MB/s")
	minBar      = 10
	maxBar      = 30
	minHost     = 8
	wide        = 60 // from here on blobs are indented below their image
)

// columns are the widths of the variable columns; 0 leaves one out.
type columns struct{ indent, rate, bar, host int }

// columns divides the width. As the screen gets wider, first the rate appears,
// then the bar, then the host.
func (v view) columns(groups []group) columns {
	var c columns
	if v.width >= wide {
		c.indent = 2
	}
	left := v.width - c.indent - progress.ShortLength - 1 - statusWidth - 1 - bytesWidth
	if left >= 1+rateWidth {
		c.rate = rateWidth
		left -= 1 + rateWidth
	}
	if left < 1+minBar {
		return c
	}
	want := widestHost(groups)
	c.bar = min(max(left-1-1-want, minBar), maxBar)
	left -= 1 + c.bar
	if left > min(minHost, want) {
		c.host = min(want, left-1)
	}
	return c
}

func widestHost(groups []group) int {
	widest := 0
	for _, g := range groups {
		for _, b := range g.blobs {
			widest = max(widest, ansi.StringWidth(printable.Line(b.Host)))
		}
	}
	return widest
}

// header is the row of an image. Where it is too long, the digest is left out
// first, then the begin of the name, because the registry in front distinguishes
// images less than the repository at the end.
func (v view) header(img *progress.Image) string {
	text := "resolving"
	if img.Digest != "" {
		text = progress.ShortDigest(img.Digest)
	}
	if trouble := v.trouble(img.Trouble); trouble != "" {
		text = trouble
	}
	name := printable.Line(img.Ref)
	over := ansi.StringWidth(name) - v.width
	if over > 0 {
		name = ansi.TruncateLeft(name, over+1, "…")
	}
	if over+1+len(text) > 0 {
		return v.paint(bold, name)
	}
	return v.paint(bold, name) + " " + v.paint(faint, text)
}

// blob is the row of a blob.
func (v view) blob(b *progress.BlobState, c columns) string {
	amount, perSecond := b.Amount(v.now)
	cells := []string{strings.Repeat(" ", c.indent) + progress.ShortDigest(b.Digest)}
	cells = append(cells, v.work(b, amount, c)...)
	if c.rate > 0 {
		cells = append(cells, padLeft(v.rate(b, perSecond), c.rate))
	}
	if c.host > 0 && b.IsActive() {
		cells = append(cells, v.paint(faint, ansi.Truncate(printable.Line(b.Host), c.host, "…")))
	}
	return ansi.Truncate(strings.TrimRight(strings.Join(cells, " "), " "), v.width, "")
}

// work is the part of a row that says what is done and how far it has come. Words
// that are longer than their column take the place of the bar, or where that is not
// enough, of the amount as well.
func (v view) work(b *progress.BlobState, amount progress.Bytes, c columns) []string {
	status := cmp.Or(printable.Line(b.Trouble.Text(v.now)), string(b.Status()))
	color := hue(b.Status())
	room := statusWidth
	if c.bar > 0 {
		room += 1 + c.bar
	}
	bytes := padLeft(amount.String(), bytesWidth)
	over := ansi.StringWidth(status) - statusWidth
	switch {
	case over <= 0 && c.bar == 0:
		return []string{v.paint(color, pad(status, statusWidth)), bytes}
	case over <= 0:
		return []string{v.paint(color, pad(status, statusWidth)), v.bar(b, c.bar), bytes}
	case c.bar-over >= minBar:
		return []string{v.paint(color, status), v.bar(b, c.bar-over), bytes}
	case ansi.StringWidth(status) <= room:
		return []string{v.paint(color, pad(status, room)), bytes}
	}
	room += 1 + bytesWidth
	return []string{v.paint(color, pad(ansi.Truncate(status, room, "…"), room))}
}

// rate is the speed of a blob that is being worked on, or when the next try begins.
func (v view) rate(b *progress.BlobState, perSecond float64) string {
	switch b.Status() {
	case progress.Fetching, progress.Unpacking, progress.Verifying:
		return progress.Speed(perSecond)
	case progress.Retrying:
		return v.soon(b.Trouble)
	}
	return ""
}

// soon says when the next try begins, empty once it has.
func (v view) soon(t progress.Trouble) string {
	left := t.Left(v.now)
	if left <= 0 {
		return ""
	}
	return "in " + max(left.Round(time.Second), time.Second).String()
}

// trouble is why the target of an image does not come.
func (v view) trouble(t progress.Trouble) string {
	text := printable.Line(t.Text(v.now))
	if in := v.soon(t); in != "" {
		text += fmt.Sprintf(", try %d %s", t.Attempt, in)
	}
	return text
}

// bar draws how much of a blob is done into width cells, of which the unpack of a layer
// is the second half. For what is not worked on, and without a total, it stays blank.
func (v view) bar(b *progress.BlobState, width int) string {
	s, part := b.Status(), b.Part()
	if part < 0 || !b.IsActive() && s != progress.Queued {
		return strings.Repeat(" ", width)
	}
	if v.unicode {
		return v.line(s, part, width)
	}
	inner := width - 2
	n := int(float64(inner) * part)
	mark := "="
	if s == progress.Unpacking {
		mark = "#"
	}
	return v.paint(hue(s), "["+strings.Repeat(mark, n)+strings.Repeat(" ", inner-n)+"]")
}

// line is a bar of line-drawing characters, which grows by half a cell.
func (v view) line(s progress.Status, part float64, width int) string {
	halves := int(float64(2*width) * part)
	full, rest := strings.Repeat("━", halves/2), width-halves/2
	if halves%2 == 1 {
		full += "╸"
		rest--
	}
	return v.paint(hue(s), full) + v.paint(faint, strings.Repeat("─", rest))
}

// total is the last row: what the call has done and when it will be over. What
// does not fit is left out from the right.
func (v view) total(s *progress.State) string {
	t := s.Totals()
	parts := []string{progress.Size(t.Size)}
	if t.Fetched < t.Size {
		parts = []string{progress.Bytes{Done: t.Fetched, Total: t.Size}.String(), progress.Speed(s.Rate(v.now))}
	}
	if part := t.Part(); part >= 0 {
		parts = append(parts, fmt.Sprintf("%d %%", int(100*part)))
	}
	if eta := s.ETA(v.now); eta > 0 {
		parts = append(parts, "ETA "+max(eta.Round(time.Second), time.Second).String())
	}
	if t.Layers > 0 {
		parts = append(parts, fmt.Sprintf("%d/%d layers", t.LayersDone, t.Layers))
	}
	if s.Retries > 0 {
		parts = append(parts, progress.Plural(s.Retries, "retry"))
	}
	for _, lead := range []string{"total  ", ""} {
		if text := lead + strings.Join(parts, "  "); len(text) <= v.width {
			return v.paint(bold, text)
		}
	}
	for len(parts) > 1 && len(strings.Join(parts, " ")) > v.width {
		parts = parts[:len(parts)-1]
	}
	return v.paint(bold, ansi.Truncate(strings.Join(parts, " "), v.width, ""))
}

func pad(s string, width int) string { return s + strings.Repeat(" ", max(0, width-len(s))) }

func padLeft(s string, width int) string { return strings.Repeat(" ", max(0, width-len(s))) + s }

// The attributes that a display uses. plainText is none, and ends the others.
const (
	plainText = ansi.AttrReset
	bold      = ansi.AttrBold
	faint     = ansi.AttrFaint
	green     = ansi.AttrGreenForegroundColor
	yellow    = ansi.AttrYellowForegroundColor
	cyan      = ansi.AttrCyanForegroundColor
	blue      = ansi.AttrBlueForegroundColor
)

func hue(s progress.Status) ansi.Attr {
	switch s {
	case progress.Fetching, progress.Verifying:
		return cyan
	case progress.Unpacking, progress.Queued:
		return blue
	case progress.Retrying, progress.Silent:
		return yellow
	case progress.Done, progress.Held:
		return green
	}
	return plainText
}

// paint gives s an attribute if colour is wanted.
func (v view) paint(a ansi.Attr, s string) string {
	if !v.color || a == plainText || strings.TrimSpace(s) == "" {
		return s
	}
	return ansi.SGR(a) + s + ansi.SGR(plainText)
}
