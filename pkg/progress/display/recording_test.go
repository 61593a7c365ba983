package display_test

import (
	"bytes"
	"encoding/xml"
	"flag"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/containerd-pull/containerd-pull/pkg/internal/pulltest"
	"github.com/containerd-pull/containerd-pull/pkg/internal/pulltest/testregistry"
	"github.com/containerd-pull/containerd-pull/pkg/progress/internal/scene"
)

// recorded is the image of the recordings. The registry of the test serves it
// under this name because it is the proxy of the program as well.
const recorded = "registry.example.com/shop/web:1.4"

// docs reports whether the recordings are to be written into docs, from a pull of
// the real image over a slow network. .ci/picture sets the flag.
func docs() bool { return flag.Lookup("docs").Value.String() == "true" }

// The program itself, on a terminal and with --timeline: what comes out are the
// pictures of the documentation.
func TestRecording(t *testing.T) {
	pulltest.Need(t, pulltest.Root, pulltest.Program("tmux"))
	dir := t.TempDir()
	program := filepath.Join(dir, "containerd-pull")
	if out, err := exec.Command("go", "build", "-o", program, "../../../cmd/containerd-pull").CombinedOutput(); err != nil {
		t.Fatalf("building the program: %v\n%s", err, out)
	}
	img := shopImage(t)
	source := testregistry.Start(t, testregistry.Options{Behave: hiccup(img)})
	testregistry.Push(t, source, "shop/web:1.4", img)

	m := newTmux(t, 100, 14, []string{"LC_ALL=C.UTF-8", "TERM=tmux-256color", "http_proxy=" + source.URL(), "DIR=" + dir},
		"sh", "-c", `printf '$ containerd-pull `+recorded+`\n'; "$DIR/containerd-pull" --root "$DIR/root" --plain-http --timeline "$DIR/pull.svg" `+recorded+`; echo "exit code $?"; sleep 60`)
	frames := m.record("exit code ")
	last := plainText(frames[len(frames)-1])
	if !strings.Contains(last, recorded+": new, ") || !strings.Contains(last, "exit code 0") {
		t.Fatalf("got the last screen\n%s\nwant the image pulled", last)
	}
	timeline, err := os.ReadFile(filepath.Join(dir, "pull.svg"))
	if err != nil {
		t.Fatal(err)
	}
	for name, picture := range map[string][]byte{"progress.svg": film(frames), "timeline.svg": timeline} {
		texts, err := scene.Texts(picture)
		if err != nil || !strings.Contains(strings.Join(texts, ""), recorded) {
			t.Errorf("%s: got a picture without the name of the image: %v", name, err)
		}
		if len(picture) > 100_000 {
			t.Errorf("%s: got %d bytes, want less than 100 kB", name, len(picture))
		}
		if docs() {
			if err := os.WriteFile(filepath.Join("../../../docs", name), picture, 0o644); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// shopImage is a small image, or for the documentation a real one.
func shopImage(t *testing.T) *pulltest.Image {
	t.Helper()
	if !docs() {
		return pulltest.SmallImage(pulltest.Gzip)
	}
	pulltest.Need(t, pulltest.Contents("debian.tar.gz", "npm.tar.gz", "busybox.tar.gz"))
	layers := pulltest.RealImage(t).Layers
	layers = append(layers[:2:2], append(pulltest.BusyboxImage(t).Layers, layers[2:]...)...)
	for i, size := range []int{9, 3, 14, 1} {
		text := strings.Repeat(fmt.Sprintf("%d. The quick brown fox jumps over the lazy dog. ", i), 10)
		var noise strings.Builder
		for n := uint64(size); noise.Len() < size*400_000; n = n*6364136223846793005 + 1442695040888963407 {
			fmt.Fprintf(&noise, "%x", n)
		}
		layers = append(layers, pulltest.NewLayer(pulltest.Gzip, pulltest.Regular(fmt.Sprintf("srv/%d", i), text+noise.String())))
	}
	return pulltest.NewImage(pulltest.Spec{Layers: layers})
}

// hiccup is a network that is far away and drops a connection.
func hiccup(img *pulltest.Image) testregistry.Behave {
	first := img.Layers[0].Digest.String()
	var asked atomic.Int64
	return func(req *http.Request) testregistry.Behaviour {
		b := testregistry.Behaviour{Delay: 60 * time.Millisecond}
		if docs() && strings.Contains(req.URL.Path, "/blobs/") {
			b.Rate = 3_500_000
			if strings.HasSuffix(req.URL.Path, first) && asked.Add(1) == 2 {
				b.Fault, b.After = testregistry.Reset, 1_000_000
			}
		}
		return b
	}
}

// frameTime is the time between two frames of a recording.
const frameTime = 200 * time.Millisecond

// record takes a frame whenever it is time, until one holds the text.
func (m *tmux) record(until string) []string {
	m.t.Helper()
	var frames []string
	for deadline := time.Now().Add(2 * time.Minute); time.Now().Before(deadline); time.Sleep(frameTime) {
		frame := strings.TrimRight(m.run("capture-pane", "-e", "-p"), "\n")
		if frame != "" {
			frames = append(frames, frame)
		}
		if strings.Contains(frame, until) {
			break
		}
	}
	if len(frames) == 0 {
		m.t.Fatal("got nothing on the screen")
	}
	return frames
}

var attribute = regexp.MustCompile("\x1b\\[([0-9;]*)m")

func plainText(frame string) string { return attribute.ReplaceAllString(frame, "") }

// The measures of a film, in its units.
const (
	cellWidth  = 8.0
	lineHeight = 19.0
	filmTop    = 46.0
	filmLeft   = 18.0
)

// film draws frames as an SVG that plays them. Rows that several frames have
// are drawn once. Where nothing moves, a frame from the middle is shown.
func film(frames []string) []byte {
	const hold = 15 // frames that the last one stays
	columns, rows := 0, 0
	for _, frame := range frames {
		lines := strings.Split(plainText(frame), "\n")
		rows = max(rows, len(lines))
		for _, line := range lines {
			columns = max(columns, utf8.RuneCountInString(line))
		}
	}
	width, height := 2*filmLeft+float64(columns)*cellWidth, filmTop+float64(rows)*lineHeight+8
	length := (time.Duration(len(frames)+hold) * frameTime).Seconds()
	share := 100 / float64(len(frames)+hold)
	var b bytes.Buffer
	fmt.Fprintf(&b, `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %.0f %.0f" width="%.0f" height="%.0f" role="img">
<!-- Made by .ci/picture: a recording of a terminal. -->
<title>containerd-pull pulls %s on a terminal</title>
<style>
text { font: 13px ui-monospace, SFMono-Regular, Menlo, Consolas, "DejaVu Sans Mono", monospace; fill: #d5deeb; }
.s1 { font-weight: 700; } .s2 { fill: #71809a; } .s32 { fill: #4fd6a4; } .s33 { fill: #f4c552; } .s34 { fill: #a98bfa; } .s36 { fill: #58b7ff; }
.f { visibility: hidden; animation: f %.1fs step-end infinite; } .p { visibility: visible; } .l { animation-name: l; }
@keyframes f { 0%% { visibility: visible; } %.3f%% { visibility: hidden; } }
@keyframes l { 0%% { visibility: visible; } %.3f%% { visibility: hidden; } }
@media (prefers-reduced-motion: reduce) { .f { animation: none; } }
</style>
<rect width="%.0f" height="%.0f" rx="9" fill="#0e1624"/>
<circle cx="20" cy="18" r="5.5" fill="#ff6159"/><circle cx="38" cy="18" r="5.5" fill="#ffbd2e"/><circle cx="56" cy="18" r="5.5" fill="#28c941"/>
`, width, height, width, height, recorded, length, share, share*(hold+1), width, height)
	b.WriteString(reel(frames, length))
	b.WriteString("</svg>\n")
	return b.Bytes()
}

// reel is the rows of all frames, and the frames that are made of them.
func reel(frames []string, length float64) string {
	var defs, uses strings.Builder
	var known []string
	for i, frame := range frames {
		class := "f"
		if i == len(frames)/2 {
			class += " p"
		}
		if i == len(frames)-1 {
			class += " l"
		}
		fmt.Fprintf(&uses, `<g class="%s" style="animation-delay:%.1fs">`, class, float64(i)*frameTime.Seconds()-length)
		for y, row := range spansOf(frame) {
			line := draw(row)
			if line == "" {
				continue
			}
			n := slices.Index(known, line)
			if n < 0 {
				n = len(known)
				known = append(known, line)
				fmt.Fprintf(&defs, "<text id=\"r%d\">%s</text>\n", n, line)
			}
			fmt.Fprintf(&uses, `<use href="#r%d" y="%g"/>`, n, filmTop+float64(y)*lineHeight+6)
		}
		uses.WriteString("</g>\n")
	}
	return "<defs>\n" + defs.String() + "</defs>\n" + uses.String()
}

// span is text in one style, from a column on.
type span struct {
	column      int
	text, class string
}

// spansOf reads the rows of a frame. What sets an attribute holds until it is
// set again, in later rows as well.
func spansOf(frame string) [][]span {
	var rows [][]span
	var style style
	for line := range strings.SplitSeq(frame, "\n") {
		var row []span
		column := 0
		for line != "" {
			text, code := line, ""
			if at := attribute.FindStringSubmatchIndex(line); at != nil {
				text, code, line = line[:at[0]], line[at[2]:at[3]], line[at[1]:]
			} else {
				line = ""
			}
			for _, at := range phrases.FindAllStringIndex(text, -1) {
				row = append(row, span{column + utf8.RuneCountInString(text[:at[0]]), text[at[0]:at[1]], style.class()})
			}
			column += utf8.RuneCountInString(text)
			if text != "" || code != "" || line != "" {
				style.set(code)
			}
		}
		rows = append(rows, row)
	}
	return rows
}

// phrases are words with single spaces between them, for SVG keeps no more than
// one.
var phrases = regexp.MustCompile(`[^ ]+( [^ ]+)*`)

// style is what SGR sequences have set: bold or faint, and a colour.
type style struct{ weight, colour string }

func (s *style) set(codes string) {
	for code := range strings.SplitSeq(codes, ";") {
		switch {
		case code == "" || code == "0":
			*s = style{}
		case code == "1" || code == "2":
			s.weight = code
		case len(code) == 2 && code[0] == '3':
			s.colour = strings.TrimSuffix(code, "9")
		}
	}
}

func (s style) class() string {
	var names []string
	for _, code := range []string{s.weight, s.colour} {
		if code != "" {
			names = append(names, "s"+code)
		}
	}
	return strings.Join(names, " ")
}

// draw writes the spans of a row. Each stands where its cells are, whatever the
// font.
func draw(row []span) string {
	var b strings.Builder
	for _, s := range row {
		cells := utf8.RuneCountInString(s.text)
		fmt.Fprintf(&b, `<tspan x="%g" textLength="%g"`, filmLeft+float64(s.column)*cellWidth, float64(cells)*cellWidth)
		if s.class != "" {
			fmt.Fprintf(&b, ` class="%s"`, s.class)
		}
		b.WriteString(">")
		_ = xml.EscapeText(&b, []byte(s.text)) // a Builder takes everything
		b.WriteString("</tspan>")
	}
	return b.String()
}
