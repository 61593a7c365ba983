package exit

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/containerd/errdefs"

	"github.com/containerd-pull/containerd-pull/pkg/batch"
	"github.com/containerd-pull/containerd-pull/pkg/config"
	"github.com/containerd-pull/containerd-pull/pkg/config/file"
	"github.com/containerd-pull/containerd-pull/pkg/failure"
	"github.com/containerd-pull/containerd-pull/pkg/pull"
	"github.com/containerd-pull/containerd-pull/pkg/source"
	"github.com/containerd-pull/containerd-pull/pkg/store"
	"github.com/containerd-pull/containerd-pull/pkg/trust"
)

func asked(class error) error {
	return &pull.Error{Stage: pull.StageResolve, Err: &source.Error{Host: "example.com", Err: fmt.Errorf("asking: %w", class)}}
}

func TestClassify(t *testing.T) {
	stopped := func(s os.Signal) error { return fmt.Errorf("fetching: %w", &SignalError{s}) }
	for _, tc := range []struct {
		name string
		err  error
		code int
	}{
		{"anything", errors.New("x"), 1},
		{"output", AsOutput(syscall.EPIPE), 1},
		{"output on a full disk", AsOutput(fmt.Errorf("writing progress: %w", syscall.ENOSPC)), 1},
		{"usage", Usagef("x"), 2},
		{"a bad file", AsUsage(&file.Error{File: "f", Err: errors.New("x")}), 2},
		{"a file that cannot be read", AsUsage(&file.Error{File: "f", Err: fs.ErrPermission}), 2},
		{"no daemon", fmt.Errorf("dialling: %w", store.ErrUnavailable), 3},
		{"daemon gone", fmt.Errorf("writing: %w", errdefs.ErrUnavailable), 3},
		{"not found", asked(errdefs.ErrNotFound), 4},
		{"no platform", fmt.Errorf("no image: %w", errdefs.ErrNotFound), 4},
		{"unauthenticated", asked(errdefs.ErrUnauthenticated), 5},
		{"forbidden", asked(errdefs.ErrPermissionDenied), 5},
		{"rate limit", asked(errdefs.ErrResourceExhausted), 6},
		{"network", asked(errdefs.ErrUnavailable), 7},
		{"time-out", fmt.Errorf("fetching: %w", &TimeoutError{"1s"}), 7},
		{"a bill", asked(source.ErrPolicy), 11},
		{"digest", asked(errdefs.ErrDataLoss), 8},
		{"damage that verify found", ErrDamage, 8},
		{"damage, and storage that fails", errors.Join(ErrDamage, syscall.EIO), 10},
		{"diff ID", fmt.Errorf("unpacking: %w", errdefs.ErrDataLoss), 8},
		{"hosts directory", &pull.Error{Stage: pull.StageResolve, Err: fmt.Errorf("reading: %w", errdefs.ErrFailedPrecondition)}, 2},
		{"malformed", asked(errdefs.ErrInvalidArgument), 9},
		{"media type", fmt.Errorf("unpacking: %w", errdefs.ErrNotImplemented), 9},
		{"no space", &fs.PathError{Op: "write", Path: "x", Err: syscall.ENOSPC}, 10},
		{"quota", fmt.Errorf("x: %w", syscall.EDQUOT), 10},
		{"read-only", fmt.Errorf("x: %w", syscall.EROFS), 10},
		{"I/O", fmt.Errorf("x: %w", syscall.EIO), 10},
		{"refused", &pull.Error{Stage: pull.StageVerify, Err: &trust.Refusal{Verifier: "bindir", Reason: "no"}}, 11},
		{"a signal while a verifier is asked", errors.Join(&trust.Refusal{}, stopped(os.Interrupt)), 130},
		{"busy", fmt.Errorf("opening: %w", store.ErrBusy), 12},
		{"partial", &batch.PartialError{Failed: 1, Of: 2}, 20},
		{"SIGINT", stopped(os.Interrupt), 130},
		{"SIGTERM", stopped(syscall.SIGTERM), 143},
		{"SIGHUP", stopped(syscall.SIGHUP), 143},
		{"a signal wins over storage", errors.Join(syscall.ENOSPC, stopped(os.Interrupt)), 130},
		{"storage wins over the network", errors.Join(asked(errdefs.ErrUnavailable), syscall.ENOSPC), 10},
	} {
		if got := classify(tc.err).code; got != tc.code {
			t.Errorf("code of %s (%v): got %d, want %d", tc.name, tc.err, got, tc.code)
		}
	}
}

// missing is the failure of a pull whose name leads nowhere.
func missing(e source.Error) error {
	e.Err = failure.New(errdefs.ErrNotFound, "404 Not Found")
	return &pull.Error{Stage: pull.StageResolve, Err: &e}
}

// TestN6ReasonIsNotGuessed: reason is API and says nothing that the registry left open.
func TestN6ReasonIsNotGuessed(t *testing.T) {
	for want, err := range map[string]error{
		"tag":          missing(source.Error{Missing: source.MissingTag}),
		"repository":   missing(source.Error{Missing: source.MissingRepository}),
		"digest":       missing(source.Error{Op: "blob"}),
		"":             missing(source.Error{Op: "resolve", Code: "MANIFEST_UNKNOWN"}),
		"platform":     &pull.NoPlatform{},
		"image":        failure.New(errdefs.ErrNotFound, "no image"),
		"payment":      &source.Error{Status: 402, Err: source.ErrPolicy},
		"precondition": &source.Error{Status: 412, Err: source.ErrPolicy},
		"legal":        &source.Error{Status: 451, Err: source.ErrPolicy},
	} {
		if got := Describe(err).Reason; got != want {
			t.Errorf("%v: got reason %q, want %q", err, got, want)
		}
	}
}

func TestHints(t *testing.T) {
	anna := config.Caller{Lookup: func(string) (string, bool) { return "", false }}
	sudo := config.Caller{Lookup: func(name string) (string, bool) { return "anna", name == "SUDO_USER" }}
	if got := HintFor(asked(failure.New(source.ErrNoCredential, "401")), sudo); !strings.Contains(got, "not those of anna") {
		t.Errorf("hint under sudo: got %q, want one about the user's own credentials", got)
	}
	for _, tc := range []struct {
		err  error
		want string
	}{
		{&UsageError{errors.New("x"), "do this"}, "do this"},
		{AsUsage(&file.Error{Err: errors.New("x"), Remedy: "chmod 600 f"}), "chmod 600 f"},
		{AsUsage(&config.UnknownProfile{Name: "a", Nearest: "b"}), `did you mean "b"?`},
		{AsUsage(&config.UnknownProfile{Name: "a", Known: []string{"x", "y"}}), "there are: x, y"},
		{AsUsage(&config.UnknownProfile{Name: "a"}), "no configuration file defines a profile"},
		{AsOutput(syscall.ENOSPC), "what the command had to do is done; only its output is lost"},
		{&fs.PathError{Op: "write", Path: "x", Err: syscall.EROFS}, "the file system is mounted read-only: mount it so that it can be written"},
		{missing(source.Error{Ref: "r.example.com/app:bas", Missing: source.MissingTag, Tags: []string{"base", "other"}}), "did you mean r.example.com/app:base?"},
		{missing(source.Error{Ref: "r.example.com/app:v9", Missing: source.MissingTag, Tags: []string{"other"}}), "the repository exists; see its tags with: containerd-pull r.example.com/app:<TAB>"},
		{store.ErrBusy, "stop the containerd that runs on this root, or pull through it with --address"},
	} {
		if got := HintFor(tc.err, anna); got != tc.want {
			t.Errorf("hint for %v: got %q, want %q", tc.err, got, tc.want)
		}
	}
}

// TestSecondSignal sends two signals to a command that waits for an answer.
func TestSecondSignal(t *testing.T) {
	exited := make(chan int, 1)
	ctx, stop := CatchSignals(t.Context(), func(code int) { exited <- code })
	defer stop()
	if err := syscall.Kill(os.Getpid(), syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	<-ctx.Done()
	if err := syscall.Kill(os.Getpid(), syscall.SIGINT); err != nil {
		t.Fatal(err)
	}
	select {
	case got := <-exited:
		if got != 143 {
			t.Errorf("code of the second signal: got %d, want that of the first, 143", got)
		}
	case <-time.After(5 * time.Second):
		t.Error("the second signal did not end the process")
	}
}

// TestFailureIsHarmless: text of a daemon or a host cannot control the terminal
// on which a failure is shown.
func TestFailureIsHarmless(t *testing.T) {
	var out strings.Builder
	Write(&out, &UsageError{errors.New("the daemon says: \x1b[2J\rdone\u202e"), "a hint"}, config.Caller{Lookup: func(string) (string, bool) { return "", false }})
	if got, want := out.String(), Program+`: the daemon says: \x1b[2J\rdone\u202e`+"\nhint: a hint\n"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}
