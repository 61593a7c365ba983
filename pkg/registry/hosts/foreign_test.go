package hosts_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/containerd-pull/containerd-pull/pkg/registry/hosts"
	"github.com/containerd-pull/containerd-pull/pkg/userfile"
)

// other is a user that root does not believe.
const other = 4242

// TestM6HostsOfOthers: of the folders that are searched by default, one counts only
// if no other user can have written it or a file in it. In a folder that was named,
// what others can write is an error.
func TestM6HostsOfOthers(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root")
	}
	const text = "[host.'https://mirror.example.com']\nca = 'ca.pem'\nclient = [['cl.pem', 'cl.key']]\n"
	for name, c := range map[string]struct {
		name   string // of the file or folder that is changed
		uid    int
		mode   uint32
		counts bool // if it was found
		named  bool // if it was named
	}{
		"all is root's":             {"r.example.com/hosts.toml", 0, 0o644, true, true},
		"another's file":            {"r.example.com/hosts.toml", other, 0o644, false, true},
		"a file for all":            {"r.example.com/hosts.toml", 0, 0o666, false, false},
		"a file for the group":      {"r.example.com/hosts.toml", 0, 0o664, false, false},
		"another's folder":          {"r.example.com", other, 0o755, false, true},
		"another's certs.d":         {".", other, 0o755, false, true},
		"a folder for all":          {"r.example.com", 0, 0o777, false, false},
		"a sticky folder":           {"r.example.com", 0, 0o1777, true, true},
		"another's CA":              {"r.example.com/ca.pem", other, 0o644, false, true},
		"a CA for all":              {"r.example.com/ca.pem", 0, 0o666, false, false},
		"another's client's key":    {"r.example.com/cl.key", other, 0o600, false, true},
		"another's unrelated files": {"r.example.com/readme", other, 0o666, true, true},
	} {
		t.Run(name, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "certs.d")
			ca, cert, key := certificates(t)
			at := func(name string) string { return filepath.Join(dir, "r.example.com", name) }
			for name, content := range map[string]string{"hosts.toml": text, "ca.pem": ca, "cl.pem": cert, "cl.key": key, "readme": ""} {
				writeFile(t, at(name), content)
			}
			path := filepath.Join(dir, c.name)
			if err := errors.Join(os.Chown(path, c.uid, c.uid), unix.Chmod(path, c.mode)); err != nil {
				t.Fatal(err)
			}
			wantFound(t, dir, path, c.counts)
			wantNamed(t, dir, c.named)
		})
	}
}

// wantFound looks for the hosts in a folder that is searched by default.
func wantFound(t *testing.T, dir, path string, counts bool) {
	t.Helper()
	var warned []string
	f, err := hosts.New(hosts.Options{Dirs: []string{dir}, DirsFound: true, Warn: func(m string) { warned = append(warned, m) }})
	if err != nil {
		t.Fatal(err)
	}
	for range 2 { // warnings come once
		list, err := f.Find(t.Context(), "r.example.com")
		if err != nil || (len(list) == 2) != counts {
			t.Errorf("found: got %d hosts and %v, want the folder to count: %v", len(list), err, counts)
		}
	}
	if counts != (len(warned) == 0) || !counts && (len(warned) != 1 || !strings.Contains(warned[0], path)) {
		t.Errorf("found: got warnings %q, want one about %s: %v", warned, path, !counts)
	}
}

func wantNamed(t *testing.T, dir string, counts bool) {
	t.Helper()
	f, err := hosts.New(hosts.Options{Dirs: []string{dir}})
	if err != nil {
		t.Fatal(err)
	}
	list, err := f.Find(t.Context(), "r.example.com")
	if _, foreign := errors.AsType[*userfile.Foreign](err); foreign == counts || (len(list) == 2) != counts {
		t.Errorf("named: got %d hosts and %v, want the folder to count: %v", len(list), err, counts)
	}
}

// TestRule7EndlessHostsFiles has a device and a pipe in the place of each file that
// a hosts directory may hold.
func TestRule7EndlessHostsFiles(t *testing.T) {
	for _, file := range []string{"hosts.toml", "ca.pem", "cl.key", "x.crt", "x.cert"} {
		for _, found := range []bool{true, false} {
			dir := t.TempDir()
			at := func(name string) string { return filepath.Join(dir, "r.example.com", name) }
			if strings.HasSuffix(file, ".pem") || strings.HasSuffix(file, ".key") {
				writeFile(t, at("hosts.toml"), "ca = 'ca.pem'\nclient = [['cl.pem', 'cl.key']]\n")
			} else if err := os.Mkdir(filepath.Join(dir, "r.example.com"), 0o755); err != nil {
				t.Fatal(err)
			}
			if err := os.Symlink("/dev/zero", at(file)); err != nil {
				t.Fatal(err)
			}
			f, err := hosts.New(hosts.Options{Dirs: []string{dir}, DirsFound: found})
			if err != nil {
				t.Fatal(err)
			}
			start := time.Now()
			if list, err := f.Find(t.Context(), "r.example.com"); err == nil {
				t.Errorf("%s, found %v: got %d hosts, want an error", file, found, len(list))
			}
			if os.Remove(at(file)) == nil && unix.Mkfifo(at(file), 0o600) == nil {
				if _, err := f.Find(t.Context(), "r.example.com"); err == nil || time.Since(start) > 5*time.Second {
					t.Errorf("%s as a pipe: got %v after %s, want an error at once", file, err, time.Since(start))
				}
			}
		}
	}
}
