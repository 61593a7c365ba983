//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/containerd-pull/containerd-pull/pkg/progress"
	"github.com/containerd-pull/containerd-pull/pkg/progress/display"
	"github.com/containerd-pull/containerd-pull/pkg/pull"
	"github.com/containerd-pull/containerd-pull/pkg/registry"
	"github.com/containerd-pull/containerd-pull/pkg/sample"
	"github.com/containerd-pull/containerd-pull/pkg/source"
	"github.com/containerd-pull/containerd-pull/pkg/store"
	"github.com/containerd-pull/containerd-pull/pkg/store/root"
)

// serveRate limits the registry, in bytes per second and blob: without it,
// loopback is too fast for progress to be visible.
const serveRate = 640 << 10

// story is the state of one run.
type story struct {
	options
	out    io.Writer
	errOut *os.File

	dir         string // holds everything
	snapshotter string
	registry    *sample.Registry
	ref         source.Ref
}

// tell runs the story and cleans up after it.
func tell(ctx context.Context, o options, out io.Writer, errOut *os.File) (err error) {
	dir, err := os.MkdirTemp("", "containerd-pull-quickstart-")
	if err != nil {
		return fmt.Errorf("making a folder: %w", err)
	}
	s := &story{options: o, out: out, errOut: errOut, dir: dir}
	defer func() { err = errors.Join(err, s.cleanUp()) }()
	if err := s.serveSample(); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.registry.Close()) }()
	if err := s.pullAndShow(ctx); err != nil {
		return err
	}
	s.next()
	if s.serve {
		<-ctx.Done()
	}
	return nil
}

func (s *story) root() string { return filepath.Join(s.dir, "root") }

func (s *story) printf(format string, args ...any) { fmt.Fprintf(s.out, format, args...) }

func (s *story) cleanUp() error {
	if s.keep {
		s.printf("\nKept: %s\n", s.dir)
		return nil
	}
	if err := os.RemoveAll(s.dir); err != nil {
		return fmt.Errorf("removing the temporary folder: %w", err)
	}
	return nil
}

// serveSample starts the registry with the sample image.
func (s *story) serveSample() (err error) {
	s.registry, err = sample.Serve(serveRate)
	if err != nil {
		return err
	}
	s.ref, err = source.ParseRef(s.registry.Ref())
	if err != nil {
		return errors.Join(err, s.registry.Close())
	}
	s.printf("A registry listens on %s. It has %s:%s for %s.\n", s.registry.Host(), s.ref.Path, s.ref.Tag,
		strings.Join(sample.Architectures(), ", "))
	return nil
}

// pullAndShow pulls the image, shows what is in the store then, and pulls it
// again.
func (s *story) pullAndShow(ctx context.Context) (err error) {
	var reason string
	s.snapshotter, reason, err = chooseSnapshotter(s.dir)
	if err != nil {
		return err
	}
	s.printf("Pulling it into %s: containerd's own layout, no daemon, snapshotter %s.\n", s.root(), s.snapshotter)
	s.note(reason)
	st, err := root.Open(ctx, store.Options{Root: s.root(), Snapshotter: s.snapshotter})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, st.Close()) }()
	res, err := s.pull(ctx, st)
	if err != nil {
		return err
	}
	if err := s.show(st.Context(ctx), st, res); err != nil {
		return err
	}
	s.printf("\nPulling it again: every blob and snapshot is there.\n")
	_, err = s.pull(ctx, st)
	return err
}

// note prints what differs from a run as root with overlayfs.
func (s *story) note(reason string) {
	if os.Getenv(namespaceMark) != "" {
		s.printf("Note: you may not mount, so this runs in a user namespace, where you are root; the files are yours.\n")
	}
	if reason != "" {
		s.printf("Note: %s.\n", reason)
	}
}

// pull pulls the image under a display of its own.
func (s *story) pull(ctx context.Context, st *store.Store) (res *pull.Result, err error) {
	shown, err := display.New(display.Options{Mode: s.progress, Out: s.errOut, Env: os.Getenv})
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, shown.Close()) }()
	reg, err := registry.New(registry.Options{UserAgent: "containerd-pull-quickstart", Progress: shown.Sink()})
	if err != nil {
		return nil, err
	}
	shown.Sink().Emit(progress.Event{Kind: progress.Start, Refs: []string{s.ref.Name}})
	p := &pull.Puller{Store: st, Source: reg, Progress: shown.Sink()}
	return p.Pull(ctx, pull.Request{Ref: s.ref})
}
