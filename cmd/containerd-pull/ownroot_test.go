package main

import (
	"archive/tar"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// becomeOrdinary is a script that runs as root in a mount namespace of its own. It
// gives the user a name and, with ranges, subordinate IDs, and becomes that user. In
// a changed root the kernel lets nothing make a user namespace.
const becomeOrdinary = `set -e
cd "$1"
(cat /etc/passwd; echo "ordinary:x:$2:$2::$1:/bin/sh") >passwd
echo "$3" >subuid
for f in passwd subuid; do mount --bind $f /etc/$f; done
mount --bind subuid /etc/subgid
root=/
if [ "$4" = jail ]; then mkdir jail; mount --rbind / jail; root=$1/jail; fi
dir=$1
shift 4
exec chroot $root sh -c 'cd "$1"; shift; exec "$@"' sh "$dir/home" setpriv --reuid 4242 --regid 4242 --clear-groups "$@"`

// ordinary is an ordinary user, with or without subordinate IDs.
type ordinary struct {
	t    *testing.T
	dir  string // holds the program and home
	subs string // line of /etc/subuid
	jail string // "jail" for a user who may make no namespace
	in   string // stdin of the program
}

func newOrdinary(t *testing.T, subs string) *ordinary {
	t.Helper()
	needRootAnd(t, "setpriv", "nsenter", "newuidmap", "newgidmap")
	dir, err := os.MkdirTemp("", "ordinary") // other users cannot enter t.TempDir
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	copyProgram(t, self, filepath.Join(dir, programName))
	home := filepath.Join(dir, "home")
	if err := errors.Join(os.Chmod(dir, 0o755), os.Mkdir(home, 0o755), os.Chown(home, rootlessUser, rootlessUser)); err != nil {
		t.Fatal(err)
	}
	return &ordinary{t: t, dir: dir, subs: subs}
}

// run runs the program in the user's home and wants the exit code. It returns
// stdout and stderr.
func (o *ordinary) run(code int, args ...string) (stdout, stderr string) {
	o.t.Helper()
	cmd := exec.Command("sh", append([]string{"-c", becomeOrdinary, "sh", o.dir, fmt.Sprint(rootlessUser), o.subs, o.jail, filepath.Join(o.dir, programName)}, args...)...)
	home := filepath.Join(o.dir, "home")
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + home, "TMPDIR=" + home, "GOCOVERDIR=" + home} // the last one for tests that count what they cover
	cmd.SysProcAttr = &syscall.SysProcAttr{Unshareflags: syscall.CLONE_NEWNS}
	var out, errOut bytes.Buffer
	cmd.Stdin, cmd.Stdout, cmd.Stderr = strings.NewReader(o.in), &out, &errOut
	err := cmd.Run()
	if exit := (*exec.ExitError)(nil); err != nil && !errors.As(err, &exit) {
		o.t.Fatal(err)
	}
	if got := cmd.ProcessState.ExitCode(); got != code {
		o.t.Errorf("%v: got exit code %d, want %d: %s", args, got, code, &errOut)
	}
	return out.String(), errOut.String()
}

// ownerOf finds a file of that name in the snapshots of a root and returns its
// owner.
func (o *ordinary) ownerOf(root, name string) uint32 {
	o.t.Helper()
	found, err := filepath.Glob(filepath.Join(o.dir, "home", root, "io.containerd.snapshotter.v1.*/snapshots/*/fs", name))
	if native, nerr := filepath.Glob(filepath.Join(o.dir, "home", root, "io.containerd.snapshotter.v1.native/snapshots/*", name)); nerr == nil {
		found = append(found, native...)
	}
	if err != nil || len(found) == 0 {
		o.t.Fatalf("got no file %s in a snapshot of %s: %v", name, root, err)
	}
	var st syscall.Stat_t
	if err := syscall.Lstat(found[0], &st); err != nil {
		o.t.Fatal(err)
	}
	return st.Uid
}

// TestN8OrdinaryUsersWithRoot: an ordinary user pulls into a root, looks at it and
// collects it. With subordinate IDs the files keep their owners, without they are
// the user's and a warning says so; --unpack=false needs neither.
func TestN8OrdinaryUsersWithRoot(t *testing.T) {
	ref := serveOwned(t)
	for _, tc := range []struct {
		name, subs string
		owner      uint32
		warns      string
	}{
		{"subordinate IDs", "ordinary:500000:65536", 500032, ""},
		{"by number", fmt.Sprint(rootlessUser, ":500000:65536"), 500032, ""},
		{"none", "another:500000:65536", rootlessUser, "warning: files are unpacked in a user namespace that knows your ID alone"},
		{"none that may be used", "ordinary:500000:0", rootlessUser, "their owners are lost"},
	} {
		for _, snapshotter := range []string{"overlayfs", "native"} {
			t.Run(tc.name+", "+snapshotter, func(t *testing.T) {
				o := newOrdinary(t, tc.subs)
				flags := []string{"--root", "r", "--snapshotter", snapshotter}
				sync := append(slices.Clone(flags), "--sync-fs")
				out, said := o.run(0, append(sync, "--progress", "plain", ref)...)
				if out != ref+"\n" || (tc.warns == "") != !strings.Contains(said, "warning") || !strings.Contains(said, tc.warns) {
					t.Errorf("got %q and %q, want the name and a warning with %q", out, said, tc.warns)
				}
				if got := o.ownerOf("r", "www"); got != tc.owner {
					t.Errorf("got owner %d, want %d", got, tc.owner)
				}
				if _, said := o.run(0, append([]string{"verify"}, flags...)...); !strings.Contains(said, "1 image whole") {
					t.Errorf("verify: got %q", said)
				}
				if _, said := o.run(0, append(flags, "--progress", "plain", ref)...); !strings.Contains(said, "up to date") {
					t.Errorf("pulling again: got %q", said)
				}
				o.run(0, append([]string{"gc"}, flags...)...)
				o.run(4, append(flags, "-q", ref+"none")...)
			})
		}
	}
}

// TestN8WithoutUnpacking: no namespace is made where none is needed.
func TestN8WithoutUnpacking(t *testing.T) {
	ref := serveOwned(t)
	o := newOrdinary(t, "another:1:1")
	out, said := o.run(0, "--root", "r", "--unpack=false", "--progress", "plain", ref)
	if out != ref+"\n" || strings.Contains(said, "warning") {
		t.Errorf("got %q and %q, want the name and no warning", out, said)
	}
	if _, said := o.run(2, "--root", "r", "--no-such-flag", ref); !strings.Contains(said, "no-such-flag") {
		t.Errorf("got %q, want a usage error", said)
	}
}

// TestListOnStdinInANamespace: the program that is executed again reads the list that
// the first one has read.
func TestListOnStdinInANamespace(t *testing.T) {
	ref := serveOwned(t)
	o := newOrdinary(t, "ordinary:500000:65536")
	o.in = "# one\n" + ref + " label=of=line\n"
	out, _ := o.run(0, "--root", "r", "-q", "-f", "-", "--format", "go-template={{.name}} {{.labels.of}}")
	if out != ref+" line\n" {
		t.Errorf("got %q, want the image of the list", out)
	}
	if got := o.ownerOf("r", "www"); got != 500032 {
		t.Errorf("got owner %d, want one of the namespace", got)
	}
}

// TestN8WithoutNamespaces: it is found out before the first byte that there can be
// none, and what to do.
func TestN8WithoutNamespaces(t *testing.T) {
	o := newOrdinary(t, "ordinary:500000:65536")
	o.jail = "jail"
	ref := serveOwned(t)
	out, said := o.run(10, "--root", "r", "--progress", "plain", ref)
	if out != "" || !strings.Contains(said, "an ordinary user unpacks in a user namespace: ") || !strings.Contains(said, "hint: run it as root, or allow user namespaces; --unpack=false only fetches") || strings.Contains(said, "resolved") {
		t.Errorf("got %q and %q, want the reason and the way out before anything is asked", out, said)
	}
}

// serveOwned serves an image of two layers: one with a file of another user than
// root, the other with a whiteout.
func serveOwned(t *testing.T) (ref string) {
	t.Helper()
	blobs := map[digest.Digest][]byte{}
	put := func(mediaType string, data []byte) ocispec.Descriptor {
		desc := ocispec.Descriptor{MediaType: mediaType, Digest: digest.FromBytes(data), Size: int64(len(data))}
		blobs[desc.Digest] = data
		return desc
	}
	encode := func(v any) []byte {
		data, err := json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		return data
	}
	config := ocispec.Image{Platform: ocispec.Platform{OS: "linux", Architecture: runtime.GOARCH}, RootFS: ocispec.RootFS{Type: "layers"}}
	manifest := ocispec.Manifest{Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispec.MediaTypeImageManifest}
	for _, files := range [][]tar.Header{{{Name: "www", Uid: 33, Gid: 33, Mode: 0o644}, {Name: "gone", Mode: 0o644}}, {{Name: ".wh.gone", Mode: 0o644}}} {
		layer := tarOf(t, files)
		manifest.Layers = append(manifest.Layers, put(ocispec.MediaTypeImageLayer, layer))
		config.RootFS.DiffIDs = append(config.RootFS.DiffIDs, digest.FromBytes(layer))
	}
	manifest.Config = put(ocispec.MediaTypeImageConfig, encode(config))
	target := put(ocispec.MediaTypeImageManifest, encode(manifest))
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		name := digest.Digest(path.Base(r.URL.Path))
		if strings.HasSuffix(r.URL.Path, "/manifests/1") {
			name = target.Digest
		}
		data, ok := blobs[name]
		if !ok {
			http.NotFound(w, r)
			return
		}
		w.Header().Set("Docker-Content-Digest", name.String())
		w.Header().Set("Content-Type", ocispec.MediaTypeImageManifest)
		http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(data))
	}))
	t.Cleanup(server.Close)
	return strings.TrimPrefix(server.URL, "http://") + "/team/app:1"
}

func tarOf(t *testing.T, files []tar.Header) []byte {
	t.Helper()
	var out bytes.Buffer
	w := tar.NewWriter(&out)
	for _, header := range files {
		if err := w.WriteHeader(&header); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}
