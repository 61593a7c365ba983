package timeline_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"html"
	"image"
	"image/color"
	"image/png"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/containerd-pull/containerd-pull/pkg/internal/pulltest"
	"github.com/containerd-pull/containerd-pull/pkg/progress"
	"github.com/containerd-pull/containerd-pull/pkg/progress/internal/scene"
)

// browser runs Debian's chromium without a screen on a file and returns what it
// prints.
func browser(t *testing.T, file string, args ...string) []byte {
	t.Helper()
	args = append([]string{
		"--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--hide-scrollbars", "--force-device-scale-factor=1",
		"--user-data-dir=" + t.TempDir(),
	}, append(args, "file://"+file)...)
	var stdout, stderr bytes.Buffer
	cmd := exec.CommandContext(t.Context(), "chromium", args...)
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		t.Fatalf("running chromium: %v\n%s", err, &stderr)
	}
	return stdout.Bytes()
}

// saved writes a picture into a file of its own.
func saved(t *testing.T, name string, picture []byte) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(file, picture, 0o644); err != nil {
		t.Fatal(err)
	}
	return file
}

// screenshot renders a picture in its own size.
func screenshot(t *testing.T, name string, picture []byte, args ...string) image.Image {
	t.Helper()
	size := regexp.MustCompile(`width="(\d+)" height="(\d+)"`).FindSubmatch(picture)
	if size == nil {
		t.Fatal("got a picture without a size")
	}
	shot := filepath.Join(t.TempDir(), "shot.png")
	browser(t, saved(t, name, picture), append(args, "--screenshot="+shot, fmt.Sprintf("--window-size=%s,%s", size[1], size[2]))...)
	f, err := os.Open(shot)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	img, err := png.Decode(f)
	if err != nil {
		t.Fatal(err)
	}
	return img
}

// pixels counts the pixels of a colour, as "#2f7bea".
func pixels(img image.Image, hex string) int {
	var want color.RGBA
	if _, err := fmt.Sscanf(hex, "#%02x%02x%02x", &want.R, &want.G, &want.B); err != nil {
		panic(err)
	}
	n := 0
	for y := img.Bounds().Min.Y; y < img.Bounds().Max.Y; y++ {
		for x := img.Bounds().Min.X; x < img.Bounds().Max.X; x++ {
			r, g, b, _ := img.At(x, y).RGBA()
			if uint8(r>>8) == want.R && uint8(g>>8) == want.G && uint8(b>>8) == want.B {
				n++
			}
		}
	}
	return n
}

// palette reads the colours from the picture: first those for light, then those
// for dark surroundings.
func palette(t *testing.T, picture []byte, dark bool) map[string]string {
	t.Helper()
	colours := map[string]string{}
	light, inDark, found := bytes.Cut(picture, []byte("prefers-color-scheme: dark"))
	if !found {
		t.Fatal("got no colours for dark surroundings")
	}
	part := light
	if dark {
		part = inDark
	}
	for _, m := range regexp.MustCompile(`--([a-z0-9-]+): (#[0-9a-f]{6})`).FindAllSubmatch(part, -1) {
		colours[string(m[1])] = string(m[2])
	}
	return colours
}

// A browser shows every phase in its colour, by day and by night, as a picture
// and within a page.
func TestTimelineInBrowser(t *testing.T) {
	pulltest.Need(t, pulltest.Program("chromium"))
	tl := drawn(finished()...)
	picture := tl.SVG()
	for _, tt := range []struct {
		name string
		dark bool
		args []string
	}{
		{"light", false, []string{"--blink-settings=preferredColorScheme=1"}},
		{"dark", true, []string{"--blink-settings=preferredColorScheme=0"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			img := screenshot(t, "pull.svg", picture, tt.args...)
			colours := palette(t, picture, tt.dark)
			// A solid bar is about 10 high; a quarter of a second is 40 wide.
			for name, least := range map[string]int{"page": 100_000, "tile": 10_000, "resolve": 500, "fetch": 5000, "apply": 1200, "commit": 1000, "wait": 300, "retry": 100, "good": 100} {
				if got := pixels(img, colours[name]); got < least {
					t.Errorf("got %d pixels of %s (%s), want at least %d", got, name, colours[name], least)
				}
			}
		})
	}
	t.Run("page", func(t *testing.T) {
		page := string(browser(t, saved(t, "pull.html", tl.HTML()), "--dump-dom"))
		if rows := strings.Count(page, "<tr>"); rows != 7 {
			t.Errorf("got %d rows in the table, want a head and 6 blobs:\n%s", rows, page)
		}
		if !strings.Contains(page, "</svg>") {
			t.Error("got no picture in the page")
		}
	})
	t.Run("broken", func(t *testing.T) { // the control: chromium reports what is not well-formed
		page := string(browser(t, saved(t, "pull.svg", picture[:len(picture)/2]), "--dump-dom"))
		if !strings.Contains(page, "parsererror") {
			t.Error("got no error about half a picture")
		}
		if page = string(browser(t, saved(t, "pull.svg", picture), "--dump-dom")); strings.Contains(page, "parsererror") {
			t.Error("got an error about a whole picture")
		}
	})
}

// box is where a text is, in the units of the picture.
type box struct {
	Text, Class         string
	X, Y, Width, Height float64
}

func (b box) overlaps(c box) bool {
	const touch = 1.0
	return b.X+b.Width > c.X+touch && c.X+c.Width > b.X+touch && b.Y+b.Height > c.Y+4 && c.Y+c.Height > b.Y+4 // boxes are higher than letters
}

const measure = `<script>
const boxes = [...document.querySelectorAll("svg text")].map(e => { const b = e.getBBox();
  return {Text: e.textContent, Class: e.className.baseVal, X: b.x, Y: b.y, Width: b.width, Height: b.height}; });
document.body.innerHTML = "<pre>" + JSON.stringify(boxes).replace(/&/g, "&amp;").replace(/</g, "&lt;") + "</pre>";
</script>`

// No text covers another or leaves the picture, whatever the pull was like.
func TestTimelineLayout(t *testing.T) {
	pulltest.Need(t, pulltest.Program("chromium"))
	long := "registry.internal.example.com:5000/team/" + strings.Repeat("very-long-name/", 12) + "app@" + string(scene.Index)
	var wordy []progress.Event
	for i, ref := range []string{long, "quay.io/a:v1"} {
		wordy = append(wordy,
			scene.At(100*i, progress.Event{Kind: progress.Resolved, Ref: ref, Digest: scene.Index, Host: long}),
			scene.At(100*i+5, progress.Event{Kind: progress.FetchStart, Ref: ref, Digest: scene.Nth(i), Blob: progress.Manifest, Bytes: progress.Bytes{Total: 999_900_000}, Host: long}),
			scene.At(100*i+99_000, progress.Event{Kind: progress.FetchDone, Ref: ref, Digest: scene.Nth(i), Blob: progress.Manifest, Bytes: progress.Bytes{Total: 999_900_000}, Host: fmt.Sprint(i) + long}),
			scene.At(100*i+99_900, progress.Event{Kind: progress.Error, Ref: ref, Err: fmt.Errorf("%s: %s", long, strings.Repeat("nothing works ", 60))}))
	}
	wordy = append(wordy, scene.At(99_999, progress.Event{Kind: progress.Warning, Message: strings.Repeat("too slow, ", 50)}))
	many := []progress.Event{}
	for i := range 300 {
		many = append(many, scene.Of(scene.Nth(i),
			scene.At(0, progress.Event{Kind: progress.FetchStart, Blob: progress.Manifest, Bytes: progress.Bytes{Total: 999_900_000}, Host: scene.Hub}),
			scene.At(940+i, progress.Event{Kind: progress.FetchDone, Bytes: progress.Bytes{Total: 999_900_000}}))...)
	}
	for name, events := range map[string][]progress.Event{"finished": finished(), "interrupted": interrupted(), "wordy": wordy, "many layers": many, "nothing": nil} {
		t.Run(name, func(t *testing.T) {
			picture := drawn(events...).SVG()
			page := append([]byte("<!DOCTYPE html><meta charset=utf-8><body>"), append(picture, measure...)...)
			dom := browser(t, saved(t, "page.html", page), "--dump-dom")
			found := regexp.MustCompile(`(?s)<pre>(.*)</pre>`).FindSubmatch(dom)
			if found == nil {
				t.Fatalf("got no measures: %s", dom)
			}
			var boxes []box
			if err := json.Unmarshal([]byte(html.UnescapeString(string(found[1]))), &boxes); err != nil {
				t.Fatal(err)
			}
			if len(boxes) < 20 {
				t.Errorf("got %d texts, want all of the picture", len(boxes))
			}
			for i, b := range boxes {
				if b.X < 0 || b.X+b.Width > 1000 {
					t.Errorf("got %q out of the picture: %v to %v", b.Text, b.X, b.X+b.Width)
				}
				if b.Class == "label" && b.X+b.Width > 256 {
					t.Errorf("got the name %q over the bars: to %v", b.Text, b.X+b.Width)
				}
				for _, c := range boxes[:i] {
					if b.overlaps(c) {
						t.Errorf("got %q over %q", b.Text, c.Text)
					}
				}
			}
		})
	}
}
