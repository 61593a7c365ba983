package main

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"github.com/containerd-pull/containerd-pull/cmd/containerd-pull/internal/exit"
	"github.com/containerd-pull/containerd-pull/pkg/config/file"
	"github.com/containerd-pull/containerd-pull/pkg/printable"
	"github.com/containerd-pull/containerd-pull/pkg/progress"
	"github.com/containerd-pull/containerd-pull/pkg/progress/timeline"
	"github.com/containerd-pull/containerd-pull/pkg/store"
	"github.com/containerd-pull/containerd-pull/pkg/userfile"
)

type timelineOptions struct {
	streams streams
	output  string
}

func newTimelineCmd(s streams) *cobra.Command {
	o := &timelineOptions{streams: s}
	cmd := &cobra.Command{
		Use:                   "timeline [flags] EVENTS.json",
		Short:                 "Draw a pull from what --progress json wrote",
		DisableFlagsInUseLine: true,
		Args:                  oneStream,
		RunE:                  func(_ *cobra.Command, args []string) error { return runTimeline(o, args[0]) },
	}
	cmd.Flags().StringVarP(&o.output, "output", "o", "", "`file` to draw into, SVG or by extension HTML; without it SVG goes to stdout")
	return cmd
}

func runTimeline(o *timelineOptions, events string) error {
	draw, err := drawing(o.output)
	if err == nil {
		err = checkTimeline("--output", o.output)
	}
	if err != nil {
		return err
	}
	t, err := readTimeline(o.streams.in, events)
	if err != nil {
		return err
	}
	if o.output == "" {
		_, err := o.streams.out.Write(draw(t))
		return exit.AsOutput(err)
	}
	return writeTimeline(o.output, draw(t))
}

// readTimeline reads a saved stream of events.
func readTimeline(in io.Reader, path string) (*timeline.Timeline, error) {
	name := "the events on stdin"
	if path != "-" {
		f, err := os.Open(path)
		if err != nil {
			return nil, exit.AsUsage(err)
		}
		defer f.Close()
		if info, err := f.Stat(); err == nil && info.IsDir() {
			return nil, exit.Usagef("%s is a folder: want the file of events of one pull", path)
		}
		in, name = f, path
	}
	t := &timeline.Timeline{}
	if err := progress.ReadEvents(in, t.Apply); err != nil {
		return nil, &streamError{fmt.Errorf("%s: %w", name, err)}
	}
	return t, nil
}

// streamError is the error for a saved stream of events that cannot be read.
type streamError struct{ err error }

func (e *streamError) Error() string { return e.err.Error() }
func (e *streamError) Unwrap() error { return e.err }

// Hint describes a stream of events.
func (e *streamError) Hint() string {
	return "the events are what " + programName + " --progress json REF writes to stderr, one JSON object per line"
}

// drawing returns the function that draws into a file of that name. Without a
// name it draws SVG.
func drawing(path string) (func(*timeline.Timeline) []byte, error) {
	switch ext := strings.ToLower(filepath.Ext(path)); ext {
	case ".svg":
		return (*timeline.Timeline).SVG, nil
	case ".html", ".htm":
		return (*timeline.Timeline).HTML, nil
	}
	if path == "" {
		return (*timeline.Timeline).SVG, nil
	}
	return nil, &exit.UsageError{
		Err:    fmt.Errorf("drawing a timeline into %s: its name does not say as what", path),
		Remedy: "name a file that ends in .svg or .html",
	}
}

// checkTimeline reports before any work what would prevent a picture from being
// written. Its folder has to exist.
func checkTimeline(flag, path string) error {
	if path == "" {
		return nil
	}
	err := userfile.CheckWrite(path)
	switch {
	case errors.Is(err, unix.EISDIR):
		return exit.Usagef("%s: %s is a folder", flag, path)
	case errors.Is(err, fs.ErrNotExist):
		return &exit.UsageError{
			Err:    fmt.Errorf("%s: there is no folder %s", flag, filepath.Dir(path)),
			Remedy: "mkdir -p " + filepath.Dir(path),
		}
	case err != nil:
		return exit.Usagef("%s: folder %s: %w", flag, filepath.Dir(path), file.Reason(err))
	}
	return nil
}

// writeTimeline writes a picture as a whole or not at all.
func writeTimeline(path string, picture []byte) error {
	err := userfile.Write(path, picture, 0o644)
	if err == nil || store.IsStorage(err) {
		return err
	}
	return exit.AsOutput(err)
}

// timelineFile is the picture of a call that is under way, and the file that it
// goes to. It is nil for a call without --timeline.
type timelineFile struct {
	path string
	draw func(*timeline.Timeline) []byte
	fold timeline.Timeline
}

// newTimeline returns the picture that the call asks for, nil for none.
func newTimeline(path string) (*timelineFile, error) {
	if path == "" {
		return nil, nil
	}
	draw, err := drawing(path)
	if err != nil {
		return nil, err
	}
	if err := checkTimeline("--timeline", path); err != nil {
		return nil, err
	}
	return &timelineFile{path: path, draw: draw}, nil
}

// watch returns a sink that adds each event to the picture and passes it on.
func (t *timelineFile) watch(sink progress.Sink) progress.Sink {
	if t == nil {
		return sink
	}
	return func(e progress.Event) {
		t.fold.Apply(e)
		sink(e)
	}
}

// write draws the picture, also of a pull that failed with err. If that fails,
// too, the pull's failure is returned and the picture's is written to out.
func (t *timelineFile) write(out io.Writer, err error) error {
	if t == nil {
		return err
	}
	drawn := writeTimeline(t.path, t.draw(&t.fold))
	if err == nil || drawn == nil {
		return cmp.Or(err, drawn)
	}
	fmt.Fprintf(out, "%s: %s\n", programName, printable.Line(drawn.Error()))
	return err
}
