package display_test

import (
	"errors"
	"flag"
	"io"
	"os"
	"sync"
	"testing"

	"github.com/containerd-pull/containerd-pull/pkg/progress/display"
)

func TestMain(m *testing.M) {
	if name := os.Getenv(sceneVariable); name != "" {
		os.Exit(playScene(name))
	}
	flag.Bool("docs", false, "write the pictures of the documentation, see .ci/picture")
	flag.Parse()
	os.Exit(m.Run())
}

// sampled is how many of n a test tries: with -short a tenth, as all of them take
// more than half a second.
func sampled(n int) int {
	if testing.Short() {
		return n / 10
	}
	return n
}

// env looks names up in a map.
func env(vars map[string]string) func(string) string {
	return func(name string) string { return vars[name] }
}

// start starts a display that is closed with the test.
func start(t *testing.T, o display.Options) *display.Display {
	t.Helper()
	d, err := display.New(o)
	if err != nil {
		t.Fatalf("starting a display: %v", err)
	}
	t.Cleanup(func() { d.Close() })
	return d
}

// finish closes d, which must succeed.
func finish(t *testing.T, d *display.Display) {
	t.Helper()
	if err := d.Close(); err != nil {
		t.Fatalf("closing the display: %v", err)
	}
}

// errBroken is what a broken output reports.
var errBroken = errors.New("broken output")

type brokenOutput struct{ writes int }

func (b *brokenOutput) Write([]byte) (int, error) {
	b.writes++
	return 0, errBroken
}

// blockedOutput takes nothing until it is released. It says when the first write
// has begun.
type blockedOutput struct {
	blocked, release chan struct{}
	once             sync.Once
	io.Writer
}

func (b *blockedOutput) Write(p []byte) (int, error) {
	b.once.Do(func() { close(b.blocked) })
	<-b.release
	return b.Writer.Write(p)
}
