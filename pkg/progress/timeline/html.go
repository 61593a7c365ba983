package timeline

import (
	"bytes"
	"fmt"

	"github.com/containerd-pull/containerd-pull/pkg/progress"
)

// HTML is SVG as a page of its own, with the figures behind the picture in a
// table below it.
func (t *Timeline) HTML() []byte {
	picture := t.SVG()
	t.mu.Lock()
	defer t.mu.Unlock()
	var b bytes.Buffer
	fmt.Fprintf(&b, "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n"+
		"<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n<title>%s</title>\n<style>\n%s</style>\n</head>\n<body>\n",
		escape(t.name()), pageStyle)
	b.WriteString("<div class=\"wide\">\n")
	b.Write(picture)
	b.WriteString("</div>\n<div class=\"wide\">\n<table>\n<tr>")
	for _, name := range []string{"image", "blob", "digest", "size", "host", string(progress.Wait), string(progress.Fetch), string(progress.Inflate), string(progress.Apply), string(progress.Commit), "retries", "state"} {
		fmt.Fprintf(&b, "<th>%s</th>", name)
	}
	b.WriteString("</tr>\n")
	for _, l := range t.lanes {
		if l.blob != nil {
			l.tableRow(&b)
		}
	}
	b.WriteString("</table>\n</div>\n</body>\n</html>\n")
	return b.Bytes()
}

const pageStyle = `:root { color-scheme: light dark; }
body { margin: 0 auto; padding: 16px; max-width: 1200px; font: 12px system-ui, sans-serif; }
.wide { overflow-x: auto; }
svg { width: 100%; min-width: 800px; height: auto; }
table { border-collapse: collapse; width: 100%; margin-top: 16px; font-variant-numeric: tabular-nums; }
th, td { padding: 3px 8px; text-align: left; border-bottom: 1px solid color-mix(in srgb, currentColor 15%, transparent); white-space: nowrap; }
td:nth-child(n+6):nth-child(-n+11), td:nth-child(4) { text-align: right; }
td:nth-child(1), td:nth-child(3), td:nth-child(5) { max-width: 11em; overflow: hidden; text-overflow: ellipsis; }
td:nth-child(3) { font-family: ui-monospace, monospace; user-select: all; }
@media (max-width: 800px) {
  body { padding: 8px; }
  td:nth-child(1), td:nth-child(3), td:nth-child(5) { max-width: none; }
}
`

func (l *lane) tableRow(b *bytes.Buffer) {
	cells := []string{l.ref, string(l.blob.Kind), l.digest.String(), progress.Size(l.blob.Size), l.blob.Host}
	for _, p := range []progress.Phase{progress.Wait, progress.Fetch, progress.Inflate, progress.Apply, progress.Commit} {
		text := ""
		if d := l.busy(p); d > 0 {
			text = progress.Duration(d)
		}
		cells = append(cells, text)
	}
	cells = append(cells, fmt.Sprint(l.retries()), l.state())
	b.WriteString("<tr>")
	for _, c := range cells {
		fmt.Fprintf(b, `<td title="%s">%s</td>`, escape(c), escape(c))
	}
	b.WriteString("</tr>\n")
}

func (l *lane) retries() int {
	n := l.dropped
	for _, m := range l.marks {
		if m.label == markRetry {
			n++
		}
	}
	return n
}
