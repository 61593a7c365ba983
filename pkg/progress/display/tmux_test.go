package display_test

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/containerd-pull/containerd-pull/pkg/internal/pulltest"
	"github.com/containerd-pull/containerd-pull/pkg/progress"
	"github.com/containerd-pull/containerd-pull/pkg/progress/display"
	"github.com/containerd-pull/containerd-pull/pkg/progress/internal/scene"
)

// The tests of this file show displays on a real terminal: tmux. The display
// runs in a process of its own, which is this program again; sceneVariable names
// what it shows.
const sceneVariable = "PROGRESS_TEST_SCENE"

// scenes are what a display shows. A scene that does not finish its display
// stays on the screen.
func scenes() map[string]func(*display.Display) {
	return map[string]func(*display.Display){
		"halfway": func(d *display.Display) {
			fmt.Fprintln(d.Writer(), "before")
			halfway(d.Sink())
		},
		"many layers": func(d *display.Display) {
			scene.Play(d.Sink(), scene.Opening()...)
			scene.Play(d.Sink(), scene.Planned(300)...)
			for i := range 100 {
				scene.Play(d.Sink(), scene.Of(scene.Nth(i), progress.Event{Kind: progress.Present, Bytes: progress.Bytes{Total: 10 * scene.MB}})...)
			}
			scene.Play(d.Sink(), scene.Of(scene.Nth(200), progress.Event{Kind: progress.FetchStart, Blob: progress.Layer, Bytes: progress.Bytes{Total: 10 * scene.MB}, Host: scene.Hub})...)
		},
		"log": func(d *display.Display) {
			scene.Play(d.Sink(), scene.Opening()...)
			for i := range 30 {
				scene.Play(d.Sink(), scene.Of(scene.Nth(i), progress.Event{Kind: progress.FetchStart, Blob: progress.Layer, Bytes: progress.Bytes{Total: 10 * scene.MB}, Host: scene.Hub})...)
				fmt.Fprintf(d.Writer(), "line %d %s\n", i, strings.Repeat("long ", 30))
				soon()
			}
		},
		"several": func(d *display.Display) {
			refs := []string{scene.Debian, "quay.io/app:v1", "quay.io/app:v2"}
			d.Sink().Emit(progress.Event{Kind: progress.Start, Refs: refs})
			for i, ref := range refs {
				scene.Play(d.Sink(),
					progress.Event{Kind: progress.Resolved, Ref: ref, Digest: scene.Nth(90 + i)},
					progress.Event{Kind: progress.FetchStart, Ref: ref, Digest: scene.Nth(i), Blob: progress.Layer, Bytes: progress.Bytes{Total: scene.MB}, Host: "quay.io"})
			}
			soon()
			d.Sink().Emit(progress.Event{Kind: progress.Error, Ref: refs[0], Err: scene.Reset()})
			fmt.Fprintln(d.Writer(), "containerd-pull: pulling debian: reset")
			d.Sink().Emit(progress.Event{Kind: progress.Registered, Ref: refs[1], Digest: scene.Nth(91), Traffic: progress.Traffic{Fetched: scene.MB}, Duration: time.Second})
			soon()
		},
		"finished": func(d *display.Display) {
			halfway(d.Sink())
			d.Sink().Emit(progress.Event{Kind: progress.Registered, Ref: scene.Debian, Digest: scene.Index, Changed: true, Traffic: progress.Traffic{Fetched: 48487936}, Duration: 6134 * time.Millisecond})
			d.Close()
			fmt.Println(scene.Debian)
		},
	}
}

// playScene is this program as a display.
func playScene(name string) int {
	d, err := display.New(display.Options{Out: os.Stderr, Env: os.Getenv})
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	scenes()[name](d)
	time.Sleep(time.Minute) // or until tmux goes
	return 0
}

// tmux is a terminal without a screen.
type tmux struct {
	t      *testing.T
	socket string
}

// startTmux shows a scene on a terminal of the given size.
func startTmux(t *testing.T, width, height int, scene string, env ...string) *tmux {
	t.Helper()
	program, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	return newTmux(t, width, height, append([]string{"LC_ALL=C", "NO_COLOR=", sceneVariable + "=" + scene}, env...), program)
}

// newTmux runs a command on a terminal of the given size.
func newTmux(t *testing.T, width, height int, env []string, command ...string) *tmux {
	t.Helper()
	pulltest.Need(t, pulltest.Program("tmux"))
	m := &tmux{t, filepath.Join(t.TempDir(), "tmux")}
	t.Cleanup(func() { m.run("kill-server") })
	args := []string{"-f", "/dev/null", "new-session", "-d", "-x", fmt.Sprint(width), "-y", fmt.Sprint(height)}
	for _, e := range env {
		args = append(args, "-e", e)
	}
	m.run(append(args, command...)...)
	m.run("set-option", "-g", "status", "off")
	m.run("resize-window", "-x", fmt.Sprint(width), "-y", fmt.Sprint(height)) // over the row of the status, which is off now
	return m
}

func (m *tmux) run(args ...string) string {
	m.t.Helper()
	cmd := exec.Command("tmux", append([]string{"-u", "-S", m.socket}, args...)...)
	out, err := cmd.Output()
	if err != nil {
		exit, _ := errors.AsType[*exec.ExitError](err)
		m.t.Fatalf("tmux %v: %v: %s", args, err, exit.Stderr)
	}
	return string(out)
}

// screen returns everything that was ever shown.
func (m *tmux) screen() string {
	m.t.Helper()
	text := regexp.MustCompile(`(?m) +$`).ReplaceAllString(m.run("capture-pane", "-p", "-S", "-"), "")
	return strings.TrimRight(text, "\n") + "\n"
}

// await returns the screen once it is as wanted, or as it is after 20 s.
func (m *tmux) await(want string) string {
	m.t.Helper()
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(50 * time.Millisecond) {
		got := withoutRates(m.screen())
		if got == want || time.Now().After(deadline) {
			return got
		}
	}
}

func (m *tmux) expect(want string) {
	m.t.Helper()
	want = withoutRates(strings.TrimPrefix(want, "\n"))
	if diff := cmp.Diff(want, m.await(want)); diff != "" {
		m.t.Errorf("got another screen (-want +got):\n%s", diff)
	}
}

// expectRows waits for the last rows of the screen, without what depends on how
// long ago the last byte came. Above them may be remains, because tmux folds rows
// up to 250 ms before the program learns of another width.
func (m *tmux) expectRows(want string) {
	m.t.Helper()
	stem := func(screen string) string {
		return regexp.MustCompile(`(?m)(MB|retrying) .*`).ReplaceAllString(screen, "$1")
	}
	want = stem(want)
	var got string
	for deadline := time.Now().Add(10 * time.Second); !strings.HasSuffix(got, want) && time.Now().Before(deadline); time.Sleep(50 * time.Millisecond) {
		got = stem(m.screen())
	}
	if !strings.HasSuffix(got, want) {
		m.t.Errorf("got other rows (-want +got):\n%s", cmp.Diff(want, got))
	}
}

// halfwayAt are the rows of halfway at each width.
func halfwayAt(width int) string {
	return "before\n" + strings.TrimPrefix(frames()[width], "\n")
}

func TestTmux(t *testing.T) {
	for width := range frames() {
		t.Run(fmt.Sprint(width), func(t *testing.T) {
			t.Parallel()
			startTmux(t, width, 24, "halfway").expect(halfwayAt(width))
		})
	}
	t.Run("resize", func(t *testing.T) {
		t.Parallel()
		m := startTmux(t, 160, 24, "halfway")
		m.expect(halfwayAt(160))
		for _, width := range []int{40, 80, 40, 160} {
			m.run("resize-window", "-x", fmt.Sprint(width), "-y", "24")
			m.expectRows(strings.TrimPrefix(halfwayAt(width), "before\n"))
		}
	})
	t.Run("many layers", func(t *testing.T) {
		t.Parallel()
		startTmux(t, 80, 8, "many layers").expect(`
docker.io/library/debian:latest 3f1d6c17773a
  020000000000 fetching  [        ]    0.0/10.0 MB      0 B/s registry-1.docke…
+ 299 layers: 199 waiting, 100 present
total  0.0/2.0 GB  0 B/s  0 %  100/300 layers
`)
	})
	t.Run("log lines", func(t *testing.T) {
		t.Parallel()
		want := ""
		for i := range 30 {
			want += fmt.Sprintf("line %d %s\n", i, strings.Repeat("long ", 30))
		}
		m := startTmux(t, 160, 12, "log")
		first := regexp.MustCompile(` +\n`).ReplaceAllString(want, "\n")
		var got string
		for deadline := time.Now().Add(20 * time.Second); !strings.HasPrefix(got, first) && time.Now().Before(deadline); time.Sleep(50 * time.Millisecond) {
			got = m.screen()
		}
		rest, found := strings.CutPrefix(got, first)
		if !found || strings.Count(rest, "\n") != 11 || !strings.HasPrefix(rest, scene.Debian) {
			t.Errorf("got other lines, or torn ones:\n%s", got)
		}
	})
	t.Run("several images and a failure", func(t *testing.T) {
		t.Parallel()
		startTmux(t, 100, 24, "several").expect(`
containerd-pull: pulling debian: reset
quay.io/app:v1: up to date, 1.0 MB fetched, 0 B reused, 1.0s, 1.0 MB/s
quay.io/app:v2 009200000000
  000200000000 fetching  [                            ]     0.0/1.0 MB      0 B/s quay.io
total  0.0/3.0 MB  0 B/s  0 %  0/3 layers
`)
	})
	t.Run("finished", func(t *testing.T) {
		t.Parallel()
		m := startTmux(t, 100, 24, "finished")
		m.expect(`
docker.io/library/debian:latest: new, 48.5 MB fetched, 0 B reused, 6.1s, 7.9 MB/s
docker.io/library/debian:latest
`)
		const modes = "cursor #{cursor_flag}, wrap #{wrap_flag}, alternate screen #{alternate_on}"
		if got, want := strings.TrimSpace(m.run("display-message", "-p", modes)), "cursor 1, wrap 1, alternate screen 0"; got != want {
			t.Errorf("got the terminal left with %s, want %s", got, want)
		}
	})
	t.Run("lines", func(t *testing.T) {
		t.Parallel()
		m := startTmux(t, 80, 24, "halfway", "LC_ALL=C.UTF-8")
		var got string
		for deadline := time.Now().Add(20 * time.Second); !strings.Contains(got, "retrying (reset)") && time.Now().Before(deadline); time.Sleep(50 * time.Millisecond) {
			got = m.screen()
		}
		if want := "  000300000000 fetching  ━━────────    4.0/10.0 MB"; !strings.Contains(got, want) {
			t.Errorf("got no row %q:\n%s", want, got)
		}
	})
}
