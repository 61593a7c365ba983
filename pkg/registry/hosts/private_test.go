package hosts

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestRule7HostsOfAnotherAreReadOnce has a folder of another user, who puts something
// endless in the place of each file once it was judged. containerd is given what was
// judged, whether files are named from the folder or from the root, and in the same order.
func TestRule7HostsOfAnotherAreReadOnce(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root")
	}
	dir := t.TempDir()
	files := map[string]string{"ca.pem": "ca", "sub/cl.pem": "cert", "cl.key": "key"}
	files[hostsFile] = fmt.Sprintf("server = 'https://c.example'\n[host.'https://b.example']\nca = 'ca.pem'\n[host.'https://a.example']\nclient = [[%q, 'cl.key']]\n", filepath.Join(dir, "sub/cl.pem"))
	if err := os.Mkdir(filepath.Join(dir, "sub"), 0o755); err != nil {
		t.Fatal(err)
	}
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	f := folder{path: dir}
	if own, done, err := f.private(); err != nil || own != dir {
		t.Fatalf("got %q and %v, want root's own folder read in its place", own, err)
	} else {
		done()
	}
	if err := os.Chown(dir, 4242, 4242); err != nil {
		t.Fatal(err)
	}
	private, done, err := f.private()
	if err != nil {
		t.Fatal(err)
	}
	for name := range files {
		at := filepath.Join(dir, name)
		if err := errors.Join(os.Remove(at), os.Symlink("/dev/zero", at)); err != nil {
			t.Fatal(err)
		}
	}
	text, err := os.ReadFile(filepath.Join(private, hostsFile))
	if err != nil || strings.Contains(string(text), dir) || strings.Index(string(text), "b.example") > strings.Index(string(text), "a.example") {
		t.Errorf("got %s and %v, want the hosts in their order and no name outside", text, err)
	}
	var read []string
	for _, name := range namedIn(text) {
		data, err := os.ReadFile(filepath.Join(private, name))
		if err != nil {
			t.Error(err)
		}
		read = append(read, string(data))
	}
	if len(read) != 3 || !strings.Contains(strings.Join(read, " "), "cert key") || !strings.Contains(strings.Join(read, " "), "ca") {
		t.Errorf("got %q, want what was judged", read)
	}
	path, err := os.Readlink(private)
	if err != nil {
		t.Fatal(err)
	}
	done()
	if _, err := os.Stat(path); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("got %v, want the copy gone", err)
	}
}

// TestHostsOfAnotherThatAreMissing: what cannot be copied is an error, since containerd
// would look for it by its name.
func TestHostsOfAnotherThatAreMissing(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root")
	}
	for _, line := range []string{"ca = '/nowhere/ca.pem'", `ca = "\u002fetc/hostname"`} {
		dir := t.TempDir()
		if err := errors.Join(os.WriteFile(filepath.Join(dir, hostsFile), []byte(line), 0o644), os.Chown(dir, 4242, 4242)); err != nil {
			t.Fatal(err)
		}
		private, _, err := folder{path: dir}.private()
		if err == nil || !strings.Contains(err.Error(), "hosts.toml names /") {
			t.Errorf("%s: got %q and %v, want the name of the file", line, private, err)
		}
	}
}
