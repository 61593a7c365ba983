package hosts

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
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
	dir, names := certificatesFolder(t)
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
	for _, name := range names {
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
	if want := []string{"cert", "key", "ca"}; !slices.Equal(read, want) {
		t.Errorf("got %q, want what was judged, %q", read, want)
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

// certificatesFolder makes a folder whose hosts.toml names a certificate authority, a
// certificate by its whole path, and a key. It returns the names of all the files.
func certificatesFolder(t *testing.T) (dir string, names []string) {
	t.Helper()
	dir = t.TempDir()
	files := map[string]string{"ca.pem": "ca", "sub/cl.pem": "cert", "cl.key": "key"}
	files[hostsFile] = fmt.Sprintf("server = 'https://c.example'\n[host.'https://b.example']\nca = 'ca.pem'\n[host.'https://a.example']\nclient = [[%q, 'cl.key']]\n", filepath.Join(dir, "sub/cl.pem"))
	if err := os.Mkdir(filepath.Join(dir, "sub"), 0o755); err != nil {
		t.Fatal(err)
	}
	for name, text := range files {
		names = append(names, name)
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return dir, names
}

// TestHostsOfAnotherKeepTheirNames has files whose names are those that others get in the
// copy: each is still what its line names.
func TestHostsOfAnotherKeepTheirNames(t *testing.T) {
	for _, names := range [][]string{{"0.pem", "1.pem", "2.pem"}, {"0/a", "1/a", "2/a"}, {"2/a", "0/a", "1/a"}} {
		dir := t.TempDir()
		files := map[string][]byte{hostsFile: fmt.Appendf(nil, "ca = %q\nclient = [%q, '%s']\n", names[0], names[1], names[2])}
		for _, name := range names {
			files[name] = []byte(name)
		}
		for range 20 { // the order of a map differs
			to := t.TempDir()
			if err := (folder{path: dir}).copyTo(to, files); err != nil {
				t.Fatalf("%q: %v", names, err)
			}
			text, err := os.ReadFile(filepath.Join(to, hostsFile))
			if err != nil {
				t.Fatal(err)
			}
			var read []string
			for _, name := range namedIn(text) {
				data, err := os.ReadFile(filepath.Join(to, name))
				if err != nil {
					t.Error(err)
				}
				read = append(read, string(data))
			}
			if !slices.Equal(read, names) {
				t.Fatalf("got the files %q by %s, want %q", read, text, names)
			}
		}
	}
}

// TestHostsOfAnotherThatAreMissing: what cannot be copied is an error, since containerd
// would look for it by its name.
func TestHostsOfAnotherThatAreMissing(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root")
	}
	for line, name := range map[string]string{
		"ca = '/nowhere/ca.pem'":            "/nowhere/ca.pem",
		`ca = "\u002fetc/hostname"`:         "/etc/hostname",
		"ca = ['there.pem', '0.pem']":       "0.pem", // another file may be it in the copy
		"ca = ['0/there.pem', 'a.pem']":     "0/there.pem",
		`ca = ['there.pem', "'a.pem'"]`:     "'a.pem'",
		`ca = ['there.pem', "'there.pem'"]`: "'there.pem'",
	} {
		dir := t.TempDir()
		if err := errors.Join(os.WriteFile(filepath.Join(dir, hostsFile), []byte(line), 0o644),
			os.WriteFile(filepath.Join(dir, "there.pem"), nil, 0o644), os.Chown(dir, 4242, 4242)); err != nil {
			t.Fatal(err)
		}
		private, _, err := folder{path: dir}.private()
		if err == nil || !strings.Contains(err.Error(), "hosts.toml names "+name) {
			t.Errorf("%s: got %q and %v, want the name of the file", line, private, err)
		}
	}
}
