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
	for name, text := range programs {
		if err := WriteProgram(filepath.Join(dir, name), text, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// WriteProgram is os.WriteFile for what may be run right afterwards. A fork
// while a program is open for writing would keep it from being run (ETXTBSY).
func WriteProgram(path, text string, mode os.FileMode) error {
	syscall.ForkLock.RLock()
	defer syscall.ForkLock.RUnlock()
	return os.WriteFile(path, []byte(text), mode)
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
