package pulltest

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// ToolsDir is the folder that .ci/setup fills: .ci/tools of the module that
// holds the working directory.
func toolsDir() (string, error) {
	dir, err := os.Getwd()
	if err != nil {
		return "", fmt.Errorf("finding the tools: %w", err)
	}
	for {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return filepath.Join(dir, ".ci", "tools"), nil
		}
		parent := filepath.Dir(dir)
		if parent == dir {
			return "", errors.New("finding the tools: no go.mod above the working directory")
		}
		dir = parent
	}
}

// Nerdctl is the Tool that .ci/setup builds by itself, because its version
// changes with the project's modules.
const Nerdctl = "nerdctl"

// Tool is the path of a program that .ci/setup built: containerd of version
// 2.4 is Tool("2.4/containerd"), distribution's registry Tool("registry").
func Tool(name string) (string, error) {
	if name == Nerdctl {
		return prepared("nerdctl", name)
	}
	return prepared("bin", name)
}

// Content is the path of an archive that .ci/setup prepared, debian.tar.gz for
// example.
func Content(name string) (string, error) { return prepared("content", name) }

func prepared(kind, name string) (string, error) {
	tools, err := toolsDir()
	if err != nil {
		return "", err
	}
	path := filepath.Join(tools, kind, name)
	if _, err := os.Stat(path); err != nil {
		return "", fmt.Errorf("finding %s, which .ci/setup prepares: %w", name, err)
	}
	return path, nil
}

// Requirement says why something that a test needs is not there, or nil.
type Requirement func() error

// Long skips a test of more than half a second if the tests run with -short.
func Long(t testing.TB) {
	t.Helper()
	if testing.Short() {
		t.Skip("takes more than half a second, which is left out with -short")
	}
}

// Need skips the test if a requirement is not met. Where CI is set, a skip
// would hide what was not tested, so the test fails instead. With -short it
// skips the test always: short tests need nothing but Go.
func Need(t testing.TB, needs ...Requirement) {
	t.Helper()
	if testing.Short() {
		t.Skip("needs more than Go, which is left out with -short")
	}
	for _, need := range needs {
		err := need()
		switch {
		case err == nil:
		case os.Getenv("CI") != "":
			t.Fatalf("needed under CI: %v", err)
		default:
			t.Skipf("needed: %v", err)
		}
	}
}

// Root is the requirement to be uid 0 with what that usually allows.
func Root() error {
	if os.Geteuid() != 0 {
		return errors.New("not running as root")
	}
	return nil
}

// Program is the requirement of a program on PATH, runc for example.
func Program(name string) Requirement {
	return func() error {
		_, err := exec.LookPath(name)
		return err
	}
}

// Tools is the requirement of programs that .ci/setup builds.
func Tools(names ...string) Requirement { return all(Tool, names) }

// Contents is the requirement of archives that .ci/setup prepares.
func Contents(names ...string) Requirement { return all(Content, names) }

func all(find func(string) (string, error), names []string) Requirement {
	return func() error {
		for _, name := range names {
			if _, err := find(name); err != nil {
				return err
			}
		}
		return nil
	}
}
