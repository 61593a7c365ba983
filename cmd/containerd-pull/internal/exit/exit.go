// Package exit is how a call ends: the classes of Names with their exit codes, names
// and hints, the errors that only a command knows, and signals. The table is classes.
package exit

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/signal"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"text/tabwriter"

	"github.com/containerd/errdefs"
	"golang.org/x/sys/unix"

	"github.com/containerd-pull/containerd-pull/pkg/batch"
	"github.com/containerd-pull/containerd-pull/pkg/config"
	"github.com/containerd-pull/containerd-pull/pkg/config/value"
	"github.com/containerd-pull/containerd-pull/pkg/failure"
	"github.com/containerd-pull/containerd-pull/pkg/layer"
	"github.com/containerd-pull/containerd-pull/pkg/printable"
	"github.com/containerd-pull/containerd-pull/pkg/progress"
	"github.com/containerd-pull/containerd-pull/pkg/pull"
	"github.com/containerd-pull/containerd-pull/pkg/source"
	"github.com/containerd-pull/containerd-pull/pkg/store"
	"github.com/containerd-pull/containerd-pull/pkg/trust"
	"github.com/containerd-pull/containerd-pull/pkg/userfile"
)

// Program is the name of the program.
const Program = "containerd-pull"

// Classes that only a command knows.
var (
	// ErrDamage is the class of images that verify found not to be whole.
	ErrDamage = errors.New("damage was found")
	// ErrCredential is the class of a configured credential that cannot be had.
	ErrCredential = errors.New("a credential cannot be had")
)

// class is a sort of failure that the caller of the program may act upon. Codes
// and names are API.
type class struct {
	code int
	name string
	// when says in help what belongs to the class; empty in a row that only has
	// another hint than the one below it.
	when string
	// hint is what to do about it, unless the failure itself has a hint; empty if
	// the message says all there is.
	hint string
	// is recognizes the class, once all classes before it have been ruled out.
	is func(error) bool
}

// classes is the table of exit codes. The order is that of precedence: what
// stopped the call precedes what failed in it, full storage its consequences,
// and an answer of a registry the errors that follow from it.
func classes() []class {
	return []class{
		{130, "interrupted", "SIGINT", "run the same command again: it goes on from what was fetched", stoppedBy(os.Interrupt)},
		{143, "interrupted", "SIGTERM or SIGHUP", "run the same command again: it goes on from what was fetched", stoppedBy(syscall.SIGTERM, syscall.SIGHUP)},
		{20, "partial", "some of several pulls failed", "", isA[*batch.PartialError]},
		{1, "internal", "stdout or stderr could not be written, though all was done", "what the command had to do is done; only its output is lost", isA[*outputError]},
		{10, "storage", "", "use another file system for containerd's root", is(layer.ErrUnfit)},
		{10, "storage", "", "the file system is mounted read-only: mount it so that it can be written", is(syscall.EROFS)},
		{10, "storage", "", "the disk or its driver fails: see the log of the kernel (dmesg)", is(syscall.EIO)},
		{10, "storage", "no space or inodes, read-only, quota, I/O error, an attribute or owner that cannot be kept", "make room on the file system of that file (df -h and df -i show what it has, for containerd's root by removing images), and run the same command again", store.IsStorage},
		{10, "storage", "a root with links, or with folders that others can write or own", "", is(store.ErrUnsafe)},
		{2, "usage", "a folder that is no root, without --force-root", "", is(store.ErrForeign)},
		{2, "usage", "command line or configuration", "", either(isA[*UsageError], isA[*batch.ConfigError], isA[*userfile.Foreign])},
		{11, "policy", "", "a policy of the registry forbids this pull: ask the one who runs it", is(source.ErrPolicy)},
		{11, "policy", "refused by --verify, by a verifier of containerd's, or because one could not be asked; refused by a policy of the registry (402, 412, 451)", "containerd-pull config show tells the policy of this call; image verifiers of containerd hold under every policy", isA[*trust.Refusal]},
		{12, "busy", "the root is held by a daemon or by another pull", "stop the containerd that runs on this root, or pull through it with --address", is(store.ErrBusy)},
		{3, "daemon", "containerd cannot be reached", "--address names another socket, --root DIR pulls without a daemon", is(store.ErrUnavailable)},
		{6, "rate-limit", "the registry wants fewer requests", "come back later", fromRegistry(errdefs.IsResourceExhausted)},
		{5, "auth", "credentials missing, wrong or without the right", "containerd-pull hosts check REF shows which credential each host gets", either(is(ErrCredential), errdefs.IsUnauthorized, errdefs.IsPermissionDenied)},
		{4, "not-found", "repository, tag, digest or platform does not exist", "check the name and --platform", isLacking},
		{4, "not-found", "", "check the name, --namespace and --root", errdefs.IsNotFound}, // in the store
		{8, "integrity", "verify found damage", "", is(ErrDamage)},
		{8, "integrity", "digest, size or diff ID is wrong on every host", "the registry or something on the way to it serves wrong bytes: nothing was registered", fromRegistry(errdefs.IsDataLoss)},
		{8, "integrity", "a database of a root is lost or damaged", "nothing was registered", errdefs.IsDataLoss},
		{2, "usage", "a hosts directory that cannot be read, or an engine that cannot honour a setting", "containerd-pull config show tells where each setting comes from", errdefs.IsFailedPrecondition},
		{7, "network", "DNS, connection, TLS, 5xx, stall or time-out", "run the same command again when that has passed: it goes on from what is there", isNetwork},
		{9, "malformed", "not a registry, or an image that cannot be understood", "with --debug and --http-dump it can be seen what a registry sends", either(errdefs.IsInvalidArgument, errdefs.IsNotImplemented, errdefs.IsOutOfRange)},
		{3, "daemon", "containerd went away", "see containerd's log: journalctl -u containerd", errdefs.IsUnavailable},
		{1, "internal", "anything else", "", func(error) bool { return true }},
	}
}

// Names returns the names of the classes by their codes.
func Names() map[int]string {
	names := make(map[int]string)
	for _, c := range classes() {
		names[c.code] = c.name
	}
	return names
}

// Code returns the exit code of a failure.
func Code(err error) int { return classify(err).code }

// classify returns the class of a failure.
func classify(err error) class {
	all := classes()
	for _, c := range all {
		if c.is(err) {
			return c
		}
	}
	return all[len(all)-1]
}

// HintFor returns what to do about a failure: what its place knows, else its own
// hint, else that of its class. It calls the program as the user does.
func HintFor(err error, caller config.Caller) string {
	hint := hintOf(err, caller)
	if caller.Program == "" {
		return hint
	}
	return Renamer(caller.Program, "")(hint)
}

// Renamer returns a function that has a text call the program as the user calls it.
// What follows the program in a call begins with a match of next.
func Renamer(called, next string) func(string) string {
	call := regexp.MustCompile(`(^|[^\w./-])` + Program + `(\s` + next + `)`)
	to := "${1}" + strings.ReplaceAll(called, "$", "$$") + "${2}"
	return func(text string) string { return call.ReplaceAllString(text, to) }
}

func hintOf(err error, caller config.Caller) string {
	if errors.Is(err, source.ErrNoCredential) {
		return credentialHint(caller)
	}
	if hint := nearTags(err); hint != "" {
		return hint
	}
	if hint := failure.HintOf(err); hint != "" {
		return hint
	}
	return classify(err).hint
}

// credentialHint is what to do where a host wants a credential and there is none.
func credentialHint(caller config.Caller) string {
	if user := caller.Getenv("SUDO_USER"); user != "" {
		return fmt.Sprintf("sudo reads root's credentials, not those of %s: name a file with --authfile, or give a credential with --user", user)
	}
	return "check the name, because some registries answer this for images that do not exist; containerd-pull login or --user give a credential"
}

// nearTags names a tag that was probably meant, if the repository has one.
func nearTags(err error) string {
	asked, ok := errors.AsType[*source.Error](err)
	if !ok || asked.Missing != source.MissingTag {
		return ""
	}
	ref, err := source.ParseRef(asked.Ref)
	if err != nil {
		return ""
	}
	near := value.Nearest(ref.Tag, asked.Tags)
	if near == "" {
		return ""
	}
	return fmt.Sprintf("did you mean %s/%s:%s?", ref.TypedHost(), ref.Path, near)
}

// reasonOf refines a class in one word, as far as that is certain: what was not
// found, the image in the store or a part of it in the registry, and why a registry
// refuses.
func reasonOf(name string, err error) string {
	asked, ok := errors.AsType[*source.Error](err)
	switch {
	case name == "policy" && ok:
		return policyReason(asked.Status)
	case name != "not-found":
		return ""
	case isA[*pull.NoPlatform](err):
		return "platform"
	case ok:
		return asked.WhatIsMissing()
	}
	return "image"
}

func policyReason(status int) string {
	switch status {
	case http.StatusPaymentRequired:
		return "payment"
	case http.StatusUnavailableForLegalReasons:
		return "legal"
	case http.StatusPreconditionFailed:
		return "precondition"
	}
	return ""
}

type schemeError struct{ ref string }

func (e *schemeError) Error() string {
	return fmt.Sprintf("reference %q: images on IPFS cannot be pulled", e.ref)
}

func (e *schemeError) Unwrap() error { return errdefs.ErrNotImplemented }
func (e *schemeError) Hint() string  { return "nerdctl pull can fetch it" }

// UnknownScheme is the error for a reference that no registry can answer.
func UnknownScheme(ref string) error { return &schemeError{ref} }

// outputError is the error for a result that could not be written.
type outputError struct{ err error }

func (e *outputError) Error() string { return "writing the result: " + e.err.Error() }
func (e *outputError) Unwrap() error { return e.err }

// AsOutput marks err as that of a result that could not be written, unless it is nil.
func AsOutput(err error) error {
	if err == nil {
		return nil
	}
	return &outputError{err}
}

// TimeoutError is the cause of a context that ended because of --timeout.
type TimeoutError struct{ After string }

func (e *TimeoutError) Error() string { return "not done within --timeout " + e.After }

func isA[T error](err error) bool {
	_, ok := errors.AsType[T](err)
	return ok
}

func is(target error) func(error) bool {
	return func(err error) bool { return errors.Is(err, target) }
}

func either(fns ...func(error) bool) func(error) bool {
	return func(err error) bool {
		for _, fn := range fns {
			if fn(err) {
				return true
			}
		}
		return false
	}
}

func stoppedBy(signals ...os.Signal) func(error) bool {
	return func(err error) bool {
		stop, ok := errors.AsType[*SignalError](err)
		if !ok {
			return false
		}
		for _, s := range signals {
			if stop.Signal == s {
				return true
			}
		}
		return false
	}
}

func fromRegistry(fn func(error) bool) func(error) bool {
	return func(err error) bool { return isA[*source.Error](err) && fn(err) }
}

// isLacking reports whether a source answered that it does not have what was
// asked for.
func isLacking(err error) bool {
	return errdefs.IsNotFound(err) && either(isA[*pull.NoPlatform], isA[*source.Error])(err)
}

// isNetwork reports whether a registry could not be asked. A daemon that cannot
// be asked is another class.
func isNetwork(err error) bool {
	return isA[*TimeoutError](err) || errors.Is(err, context.DeadlineExceeded) ||
		fromRegistry(either(errdefs.IsUnavailable, errdefs.IsDeadlineExceeded))(err)
}

// Describe returns what JSON shows of a failure.
func Describe(err error) progress.Failure {
	c := classify(err)
	f := progress.Failure{Code: c.code, Class: c.name, Message: err.Error()}
	if p, ok := errors.AsType[*pull.Error](err); ok {
		f.Host, f.Digest = p.Host, p.Digest.String()
	}
	f.Reason = reasonOf(c.name, err)
	return f
}

// CodesText returns the table of exit codes for help.
func CodesText() string {
	var b strings.Builder
	w := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "0\t\tevery image is registered, complete, and unpacked as asked")
	for code := 1; code <= 143; code++ {
		var name string
		var when []string
		for _, c := range classes() {
			if c.code == code && c.when != "" {
				name, when = c.name, append(when, c.when)
			}
		}
		if name != "" {
			fmt.Fprintf(w, "%d\t%s\t%s\n", code, name, strings.Join(when, "; "))
		}
	}
	w.Flush()
	return b.String()
}

// reportedError is a failure that has been written to stderr already.
type reportedError struct{ error }

func (e *reportedError) Unwrap() error { return e.error }

// Reported marks a failure that has been written to stderr already.
func Reported(err error) error { return &reportedError{err} }

// IsReported reports whether a failure has been written to stderr already.
func IsReported(err error) bool { return isA[*reportedError](err) }

// IsFailure reports whether err is a failure: not the end by a signal, and not what
// --changed-exit-code asks for.
func IsFailure(err error) bool {
	return err != nil && !isA[*Changed](err) && !isA[*SignalError](err)
}

// Write writes a failure in one line, and a hint if there is one. Usage
// errors may have several lines. What a host or a daemon wrote is made harmless.
func Write(w io.Writer, err error, caller config.Caller) {
	fmt.Fprintf(w, "%s: %s\n", Program, printable.Text(err.Error()))
	if hint := HintFor(err, caller); hint != "" {
		fmt.Fprintf(w, "hint: %s\n", printable.Line(hint))
	}
}

// UsageError is the error for a command line or a configuration that cannot be
// followed.
type UsageError struct {
	Err    error
	Remedy string // empty for the hint of the class
}

func (e *UsageError) Error() string { return e.Err.Error() }
func (e *UsageError) Unwrap() error { return e.Err }

// Hint returns the remedy.
func (e *UsageError) Hint() string { return e.Remedy }

// Usagef makes a UsageError of a format.
func Usagef(format string, args ...any) error {
	return &UsageError{Err: fmt.Errorf(format, args...)}
}

// AsUsage makes err a UsageError, unless it is nil.
func AsUsage(err error) error {
	if err == nil {
		return nil
	}
	return &UsageError{Err: err}
}

// Changed is the result of a call that succeeded and changed something, if
// --changed-exit-code was given.
type Changed struct{ Code int }

func (e *Changed) Error() string { return "an image is new or has changed" }

// SignalError is the cause of a context that a signal ended.
type SignalError struct{ Signal os.Signal }

func (e *SignalError) Error() string {
	name := e.Signal.String()
	if s, ok := e.Signal.(syscall.Signal); ok {
		name = unix.SignalName(s)
	}
	return "interrupted by " + name
}

// CatchSignals returns a context that the first SIGINT, SIGTERM or SIGHUP
// cancels. The second one calls exit, so that the cleaning up can be cut short.
// The returned function ends the catching.
func CatchSignals(ctx context.Context, exit func(int)) (context.Context, func()) {
	ctx, cancel := context.WithCancelCause(ctx)
	caught := make(chan os.Signal, 2)
	signal.Notify(caught, os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	// A write to a closed pipe is reported as an error instead of ending the
	// process. Notify, unlike Ignore, is undone in child processes.
	pipe := make(chan os.Signal, 1)
	signal.Notify(pipe, syscall.SIGPIPE)

	var done sync.WaitGroup
	done.Go(func() {
		var first *SignalError
		for s := range caught {
			if first != nil {
				exit(classify(first).code)
			}
			first = &SignalError{s}
			cancel(first)
		}
	})
	return ctx, func() {
		signal.Stop(caught)
		signal.Stop(pipe)
		close(caught)
		done.Wait()
		cancel(nil)
	}
}
