package plugin_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/containerd-pull/containerd-pull/pkg/plugin"
	"github.com/containerd-pull/containerd-pull/pkg/userfile"
)

// TestL10ShimLeadsToRootsFiles: root's nerdctl is linked to no file that another
// user can replace: neither it, nor a folder or link on the way.
func TestL10ShimLeadsToRootsFiles(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root")
	}
	for name, c := range map[string]struct {
		target string
		spoil  func(dir string) error
		ok     bool
	}{
		"root's":                 {"opt/program", nil, true},
		"a link to root's":       {"bin/link", nil, true},
		"another's":              {"opt/program", chown("opt/program"), false},
		"in another's folder":    {"opt/program", chown("opt"), false},
		"a link to another's":    {"bin/link", chown("opt/program"), false},
		"another's folder":       {"bin/link", chown("bin"), false},
		"for all":                {"opt/program", chmod("opt/program", 0o777), false},
		"for the group":          {"opt/program", chmod("opt/program", 0o775), false},
		"in a folder for all":    {"opt/program", chmod("opt", 0o777), false},
		"in a sticky folder":     {"opt/program", chmod("opt", 0o777|os.ModeSticky), true},
		"another's in a sticky":  {"opt/program", join(chmod("opt", 0o777|os.ModeSticky), chown("opt/program")), false},
		"another's link in it":   {"bin/link", join(chmod("bin", 0o777|os.ModeSticky), chown("bin/link")), false},
		"a program that is gone": {"opt/none", nil, false},
	} {
		dir := t.TempDir()
		at := func(name string) string { return filepath.Join(dir, name) }
		err := errors.Join(os.Mkdir(at("opt"), 0o755), os.Mkdir(at("bin"), 0o755), os.Mkdir(at("sbin"), 0o755),
			os.WriteFile(at("opt/program"), nil, 0o755), os.Symlink("../opt/program", at("bin/link")))
		if c.spoil != nil {
			err = errors.Join(err, c.spoil(dir))
		}
		if err != nil {
			t.Fatal(err)
		}
		file, err := plugin.Program{Path: at("opt/program")}.Install(at("sbin"), at(c.target))
		_, there := os.Lstat(file)
		if (err == nil) != c.ok || (there == nil) != c.ok {
			t.Errorf("%s: got %v, and the shim: %v; want it made: %v", name, err, there, c.ok)
		}
		if _, foreign := errors.AsType[*userfile.Foreign](err); !c.ok && c.target != "opt/none" {
			unsafe, ok := errors.AsType[*plugin.TargetError](err)
			if !foreign || !ok || !strings.Contains(unsafe.Hint(), "sudo install") {
				t.Errorf("%s: got %v, want what is to blame and a remedy", name, err)
			}
		}
	}
}

func chown(name string) func(dir string) error {
	return func(dir string) error { return os.Lchown(filepath.Join(dir, name), 4242, 4242) }
}

func chmod(name string, mode os.FileMode) func(dir string) error {
	return func(dir string) error { return os.Chmod(filepath.Join(dir, name), mode) }
}

func join(all ...func(string) error) func(string) error {
	return func(dir string) error {
		var err error
		for _, one := range all {
			err = errors.Join(err, one(dir))
		}
		return err
	}
}
