package main

import (
	"context"
	"fmt"
	"io"
	"math"
	"os"
	"runtime/debug"
	"sync"

	"github.com/sirupsen/logrus"

	"github.com/containerd-pull/containerd-pull/cmd/containerd-pull/internal/enter"
	"github.com/containerd-pull/containerd-pull/cmd/containerd-pull/internal/exit"
	"github.com/containerd-pull/containerd-pull/pkg/batch"
	"github.com/containerd-pull/containerd-pull/pkg/config"
	"github.com/containerd-pull/containerd-pull/pkg/printable"
	"github.com/containerd-pull/containerd-pull/pkg/progress"
	"github.com/containerd-pull/containerd-pull/pkg/progress/display"
	"github.com/containerd-pull/containerd-pull/pkg/registry/credential"
	"github.com/containerd-pull/containerd-pull/pkg/source"
	"github.com/containerd-pull/containerd-pull/pkg/store"
)

// options is what every command with settings has.
type options struct {
	streams streams
	caller  config.Caller
	flags   *config.Flags
}

// resolve reads the settings and resolves them for ref, which is zero if the
// command has no reference.
func (o options) resolve(ref source.Ref) (*config.Settings, *config.Config, error) {
	settings, err := config.Load(o.caller, o.flags)
	if err != nil {
		return nil, nil, exit.AsUsage(err)
	}
	cfg, err := settings.Resolve(ref)
	return settings, cfg, exit.AsUsage(err)
}

// resolveFor is resolve for an image by its name, which the settings may complete.
func (o options) resolveFor(name string) (*config.Settings, source.Ref, *config.Config, error) {
	settings, err := config.Load(o.caller, o.flags)
	if err != nil {
		return nil, source.Ref{}, nil, exit.AsUsage(err)
	}
	ref, err := settings.Ref(name)
	if err != nil {
		return nil, ref, nil, exit.AsUsage(err)
	}
	cfg, err := settings.Resolve(ref)
	return settings, ref, cfg, exit.AsUsage(err)
}

// warn writes what may surprise but ends no command.
func (o options) warn(messages ...string) {
	for _, m := range messages {
		fmt.Fprintf(o.streams.err, "%s: warning: %s\n", programName, printable.Line(m))
	}
}

// sharedCredentials is what the Finders of a command without a display share.
func (o options) sharedCredentials() *credential.Shared {
	return &credential.Shared{Warn: func(_ source.Ref, message string) { o.warn(message) }}
}

// session is what a command on images needs: the settings, the display, and
// the store and registries, which parts opens.
type session struct {
	options
	settings *config.Settings
	call     *config.Config   // of what concerns the whole call
	refs     []source.Ref     // of the images that are named, in their order
	each     []*config.Config // of refs
	parts    *batch.Parts
	display  *display.Display // nil before startDisplay
	undo     []func()
}

// openSession resolves the settings for the images that are named and enters the
// namespaces of the store. The context that it returns ends with --timeout. The caller
// closes the session.
func openSession(ctx context.Context, o options, names []string) (context.Context, *session, error) {
	s := &session{options: o}
	var err error
	if s.settings, err = config.Load(o.caller, o.flags); err != nil {
		return ctx, nil, exit.AsUsage(err)
	}
	if s.refs, err = imageRefs(s.settings, names); err != nil {
		return ctx, nil, exit.AsUsage(err)
	}
	if s.call, s.each, err = s.settings.ResolveAll(s.refs); err != nil {
		return ctx, nil, exit.AsUsage(err)
	}
	return s.enter(ctx)
}

// enter enters the namespaces of the store, as the settings of s name it.
func (s *session) enter(ctx context.Context) (context.Context, *session, error) {
	o := s.options
	if err := enter.Rootless(o.caller, s.configs()...); err != nil {
		return ctx, nil, err
	}
	if err := enter.Own(o.caller, s.configs()...); err != nil {
		return ctx, nil, err
	}
	ctx, cancel := withTimeout(ctx, s.call)
	s.undo = append(s.undo, cancel, routeLogs(o.streams.err, s.call))
	s.parts = &batch.Parts{Caller: o.caller, UserAgent: userAgent()}
	return ctx, s, nil
}

func (s *session) close() {
	for i := len(s.undo) - 1; i >= 0; i-- {
		s.undo[i]()
	}
}

// configs returns the configurations of the references, or that of the call if
// it names none.
func (s *session) configs() []*config.Config {
	if len(s.each) == 0 {
		return []*config.Config{s.call}
	}
	return s.each
}

// imageRefs parses the names of images, completed as the settings say. The name of a
// record need not be a reference; it gets the zero Ref then.
func imageRefs(settings *config.Settings, names []string) ([]source.Ref, error) {
	refs := make([]source.Ref, len(names))
	for i, name := range names {
		ref, err := settings.Ref(name)
		if _, wrong := source.ParseRef(name); wrong != nil {
			continue
		}
		if err != nil {
			return nil, err
		}
		refs[i] = ref
	}
	return refs, nil
}

// refWarnings lists what may surprise in the settings for the images of the session.
func (s *session) refWarnings() []string {
	all := s.settings.Warnings()
	for i, ref := range s.refs {
		if ref.Domain != "" { // a record whose name is no reference has none
			all = append(all, s.each[i].Warnings(ref)...)
		}
	}
	return all
}

// startDisplay starts to show events and logs on stderr. endDisplay ends it.
func (s *session) startDisplay() error {
	var err error
	s.display, err = display.New(display.Options{
		Mode:     s.call.Progress,
		Out:      s.streams.err,
		Quiet:    s.call.Quiet,
		Env:      s.caller.Getenv,
		Classify: exit.Describe,
	})
	if err != nil {
		return exit.AsUsage(err)
	}
	out := s.display.Writer()
	s.undo = append(s.undo, routeLogs(out, s.call))
	s.parts.Progress = progress.Tee(gcTuner(s.caller), s.display.Sink())
	s.parts.Pause = s.display.Pause
	if s.call.HTTPDump {
		s.parts.Dump = out
	}
	if s.call.HTTPTrace {
		s.parts.Trace = out
	}
	return nil
}

// endDisplay closes the display, so that it does not mix with the result on a
// terminal. It returns err, or else why the display could not be written.
func (s *session) endDisplay(err error) error {
	if cerr := s.display.Close(); err == nil {
		return exit.AsOutput(cerr)
	}
	return err
}

// existingStore opens a store, but does not create a root that does not exist. With
// looking, nothing in a root is changed.
func (s *session) existingStore(ctx context.Context, o store.Options, looking bool) (*store.Store, error) {
	if o.Root != "" {
		if _, err := os.Stat(o.Root); err != nil {
			return nil, exit.Usagef("--root: %w", err)
		}
	}
	if looking {
		return s.parts.Look(ctx, o)
	}
	return s.parts.Store(ctx, o)
}

func withTimeout(ctx context.Context, cfg *config.Config) (context.Context, context.CancelFunc) {
	if cfg.Timeout == 0 {
		return context.WithCancel(ctx)
	}
	return context.WithTimeoutCause(ctx, cfg.Timeout, &exit.TimeoutError{After: cfg.Timeout.String()})
}

// routeLogs sends the logs of containerd's packages to w. The returned function
// undoes it.
func routeLogs(w io.Writer, cfg *config.Config) func() {
	logger := logrus.StandardLogger()
	out, level, formatter := logger.Out, logger.GetLevel(), logger.Formatter
	logger.SetOutput(w)
	logger.SetFormatter(&logrus.TextFormatter{DisableColors: true, FullTimestamp: true})
	logger.SetLevel(logLevel(cfg))
	return func() {
		logger.SetOutput(out)
		logger.SetFormatter(formatter)
		logger.SetLevel(level)
	}
}

// logLevel returns the level of logs to show. Warnings of containerd's packages
// are left out: they concern the set-up of those packages, and whatever concerns
// the user is an event.
func logLevel(cfg *config.Config) logrus.Level {
	if cfg.Debug {
		return logrus.DebugLevel
	}
	return logrus.ErrorLevel
}

// GOGC and GOMEMLIMIT. Read-only commands are short-lived, so they rarely
// collect, unless what registries send takes much memory. During a pull the heap
// is mostly large pointer-free buffers, which are cheap to scan, and as many of
// them as the pull may have: a limit would only have it collect all the time.
const (
	gogcIdle   = 800 // percent: the first collection is at 32 MiB
	gogcPull   = 50
	memoryIdle = 128 << 20 // bytes
	memoryPull = math.MaxInt64
)

// gcTuner sets GOGC and GOMEMLIMIT to those of a pull once the first layer starts,
// unless the environment sets them.
func gcTuner(caller config.Caller) progress.Sink {
	begin := sync.OnceFunc(func() {
		if caller.Getenv("GOGC") == "" {
			debug.SetGCPercent(gogcPull)
		}
		if caller.Getenv("GOMEMLIMIT") == "" {
			debug.SetMemoryLimit(memoryPull)
		}
	})
	return func(e progress.Event) {
		if e.Kind == progress.FetchStart || e.Kind == progress.UnpackStart {
			begin()
		}
	}
}
