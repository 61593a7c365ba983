package pulltest

import (
	"os"
	"path/filepath"
	"syscall"
	"testing"
)

// Verifiers makes a folder of image-verifier programs for the test, by name and
// text of a shell script. Each must begin with its interpreter.
func Verifiers(t testing.TB, programs map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	// Whoever forks while a program is open for writing keeps it from being
	// run (ETXTBSY).
	syscall.ForkLock.RLock()
	defer syscall.ForkLock.RUnlock()
	for name, text := range programs {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// Verdict is the text of a verifier program that allows everything, or nothing,
// for a reason.
func Verdict(allow bool, reason string) string {
	code := "1"
	if allow {
		code = "0"
	}
	return "#!/bin/sh\ncat >/dev/null\necho '" + reason + "'\nexit " + code + "\n"
}
