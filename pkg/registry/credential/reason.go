package credential

import (
	"errors"
	"fmt"
	"io/fs"
	"strings"

	"github.com/containerd/errdefs"

	"github.com/containerd-pull/containerd-pull/pkg/failure"
)

// maxReason bounds, in characters, what is repeated of a program.
const maxReason = 300

// reasonOf returns what a helper that failed says on its standard output, where the
// protocol has it say why. The same stream carries the secret of a helper that does
// not fail, so only what reads as a sentence is a reason: words, and nothing of a
// document in them.
func reasonOf(out []byte) string {
	words := strings.Fields(string(out))
	text := strings.Join(words, " ")
	if len(words) < 2 || strings.ContainsAny(text, "{}") || strings.Contains(strings.ToLower(text), `"secret"`) {
		return ""
	}
	return shortened(text)
}

// complaintOf returns what a program wrote to its standard error, unless it holds a
// document as the standard output does.
func complaintOf(out []byte) string {
	text := strings.Join(strings.Fields(string(out)), " ")
	if strings.Contains(strings.ToLower(text), `"secret"`) {
		return ""
	}
	return shortened(text)
}

func shortened(text string) string {
	runes := []rune(text)
	if len(runes) <= maxReason {
		return text
	}
	return string(runes[:maxReason-1]) + "…"
}

// unusable is the error of a source that is configured and gives no credential, with
// what to do about it.
func unusable(hint, format string, args ...any) error {
	return failure.New(errdefs.ErrUnauthenticated, format, args...).WithHint("%s", hint)
}

// fileHint is what to do about a file that cannot be read; setting is what names it.
func fileHint(err error, path, setting string) string {
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return fmt.Sprintf("there is no file %s: write it, or correct %s", path, setting)
	case errors.Is(err, fs.ErrPermission):
		return fmt.Sprintf("the user who pulls has to be allowed to read %s", path)
	}
	return fmt.Sprintf("correct the file %s, or %s that names it", path, setting)
}
