package testdaemon_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/containerd-pull/containerd-pull/pkg/internal/pulltest"
	"github.com/containerd-pull/containerd-pull/pkg/internal/pulltest/testdaemon"
	"github.com/containerd-pull/containerd-pull/pkg/internal/pulltest/testregistry"
	"github.com/containerd-pull/containerd-pull/pkg/internal/pulltest/tree"
)

// eachDaemon runs the test against every containerd there is.
func eachDaemon(t *testing.T, test func(t *testing.T, d *testdaemon.Daemon)) {
	t.Helper()
	for _, version := range testdaemon.Versions() {
		t.Run(version, func(t *testing.T) {
			t.Parallel()
			test(t, testdaemon.Start(t, testdaemon.Options{Version: version}))
		})
	}
}

func TestDaemonIsTheVersionAskedFor(t *testing.T) {
	eachDaemon(t, func(t *testing.T, d *testdaemon.Daemon) {
		_, server, _ := strings.Cut(d.Ctr(t, "version"), "Server:")
		if !strings.Contains(server, "Version:") || !strings.Contains(server, " "+d.Version+".") && !strings.Contains(server, "v"+d.Version+".") {
			t.Errorf("got server %s, want version %s", server, d.Version)
		}
	})
}

func TestDaemonPullsFromTheRegistry(t *testing.T) {
	img := pulltest.SmallImage(pulltest.Gzip)
	eachDaemon(t, func(t *testing.T, d *testdaemon.Daemon) {
		r := testregistry.Start(t, testregistry.Options{})
		d.Ctr(t, "images", "pull", "--plain-http", testregistry.Push(t, r, "team/small:1", img))
		if got := len(r.BlobGets()); got != 4 {
			t.Errorf("got GETs of %d blobs, want the config and three layers", got)
		}
		isSmall(t, d.SnapshotTree(t, "default", "overlayfs", img.ChainIDs()[2].String()))
	})
}

// isSmall wants the tree of the small image.
func isSmall(t *testing.T, files []tree.Entry) {
	t.Helper()
	if e := tree.Find(t, files, "/etc/release"); e.Size != int64(len("small 2\n")) {
		t.Errorf("got %+v, want the release of the last layer", e)
	}
	if e := tree.Find(t, files, "/usr/bin/su"); e.Mode&syscall.S_ISUID == 0 {
		t.Errorf("got mode %o, want set-uid", e.Mode)
	}
	if e := tree.Find(t, files, "/usr/bin/tool2"); e.LinkedTo != "/usr/bin/tool" || e.Links != 2 {
		t.Errorf("got %+v, want a hard link", e)
	}
	if e := tree.Find(t, files, "/usr/bin/serve"); e.Xattrs["security.capability"] == "" || e.Xattrs["user.origin"] != "pulltest" {
		t.Errorf("got %+v, want capabilities and an xattr", e)
	}
	for _, e := range files {
		if e.Path == "/opt/gone" || e.Path == "/var/lib/old" {
			t.Errorf("got %s, want it hidden", e.Path)
		}
	}
}

func TestDaemonKeepsItsRoot(t *testing.T) {
	eachDaemon(t, func(t *testing.T, d *testdaemon.Daemon) {
		d.Ctr(t, "namespaces", "create", "kept")
		first := d.PID()
		if err := d.Restart(t.Context()); err != nil {
			t.Fatal(err)
		}
		if err := d.Kill(); err != nil {
			t.Fatal(err)
		}
		if _, err := d.RunCtr(t.Context(), "--connect-timeout", "200ms", "version"); err == nil {
			t.Error("got an answer from a killed daemon, want an error")
		}
		if err := d.Start(t.Context()); err != nil {
			t.Fatal(err)
		}
		if got := d.Ctr(t, "namespaces", "list", "--quiet"); !strings.Contains(got, "kept") || d.PID() == first {
			t.Errorf("got namespaces %q and process %d, want the one created before and a new process", got, d.PID())
		}
	})
}

func TestDaemonCollectsGarbage(t *testing.T) {
	r := testregistry.Start(t, testregistry.Options{})
	ref := testregistry.Push(t, r, "team/small:1", pulltest.SmallImage(pulltest.Zstd))
	t.Run("daemons", func(t *testing.T) {
		eachDaemon(t, func(t *testing.T, d *testdaemon.Daemon) {
			ctr := func(args ...string) string { return d.Ctr(t, append([]string{"--namespace", "gc"}, args...)...) }
			ctr("images", "pull", "--plain-http", ref)
			if got := strings.Fields(ctr("content", "list", "--quiet")); len(got) != 5 {
				t.Errorf("got content %v, want manifest, config and three layers", got)
			}
			ctr("images", "remove", ref)
			if err := d.Collect(t.Context(), "gc"); err != nil {
				t.Fatal(err)
			}
			if got := ctr("content", "list", "--quiet"); got != "" {
				t.Errorf("got content %q after the collection, want none", got)
			}
		})
	})
}

func busybox(t *testing.T) string {
	t.Helper()
	pulltest.Need(t, pulltest.Program("runc"), pulltest.Contents("busybox.tar.gz"))
	r := testregistry.Start(t, testregistry.Options{})
	return testregistry.Push(t, r, "team/busybox:1", pulltest.BusyboxImage(t))
}

func TestDaemonRunsABusybox(t *testing.T) {
	ref := busybox(t)
	t.Run("daemons", func(t *testing.T) {
		eachDaemon(t, func(t *testing.T, d *testdaemon.Daemon) {
			d.Ctr(t, "images", "pull", "--plain-http", ref)
			got, err := d.RunContainer(t.Context(), "default", nil, ref)
			if want := "busybox runs\n"; err != nil || got != want {
				t.Errorf("got %q and %v from the container, want %q", got, err, want)
			}
		})
	})
}

func TestCloseEndsWhatRuns(t *testing.T) {
	pulltest.Need(t, pulltest.Root, pulltest.Tools("2.4/containerd"))
	ref := busybox(t)
	for name, before := range map[string]func(*testdaemon.Daemon) error{
		"a living daemon": func(*testdaemon.Daemon) error { return nil },
		"a killed daemon": (*testdaemon.Daemon).Kill,
	} {
		t.Run(name, func(t *testing.T) {
			d, err := testdaemon.New(t.Context(), testdaemon.Options{})
			if err != nil {
				t.Fatal(err)
			}
			id := filepath.Base(d.State[:len(d.State)-len("/state")]) // unique, as its folder is
			_, pullErr := d.RunCtr(t.Context(), "images", "pull", "--plain-http", ref)
			_, runErr := d.RunCtr(t.Context(), "run", "--detach", ref, id, "/bin/sleep", "1000", id)
			alive := running(t, id)
			if err := errors.Join(pullErr, runErr, before(d), d.Close()); err != nil {
				t.Fatal(err)
			}
			if len(alive) < 2 {
				t.Errorf("got processes %q before Close, want at least a shim and the container", alive)
			}
			if left := running(t, id); len(left) != 0 {
				t.Errorf("got processes %q after Close, want none", left)
			}
			if _, err := os.Stat(d.State); !os.IsNotExist(err) {
				t.Errorf("got %v for the state folder, want it gone", err)
			}
		})
	}
}

// running lists the command lines that hold word, except of zombies, which have
// none.
func running(t *testing.T, word string) []string {
	t.Helper()
	var lines []string
	names, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range names {
		line, err := os.ReadFile(path)
		if err == nil && strings.Contains(string(line), word) {
			lines = append(lines, string(line))
		}
	}
	return lines
}

func TestDaemonThatCannotStartSaysWhy(t *testing.T) {
	pulltest.Need(t, pulltest.Root, pulltest.Tools("2.4/containerd"))
	d, err := testdaemon.New(t.Context(), testdaemon.Options{Config: "this is no TOML"})
	if err == nil {
		t.Fatalf("got a daemon %+v, want an error", d)
	}
	if !strings.Contains(err.Error(), "config.toml") {
		t.Errorf("got %v, want the daemon's own words on its configuration", err)
	}
}

func TestDistributionServesWhatIsPushed(t *testing.T) {
	d := testregistry.StartDistribution(t, testregistry.DistributionOptions{})
	img := pulltest.MultiPlatform(pulltest.Gzip)
	if err := d.Push(t.Context(), "team/multi:1", img); err != nil {
		t.Fatal(err)
	}
	daemon := testdaemon.Start(t, testdaemon.Options{})
	daemon.Ctr(t, "images", "pull", "--plain-http", "--platform", "linux/arm64", d.Ref("team/multi:1"))
	if got := daemon.Ctr(t, "images", "list"); !strings.Contains(got, img.Desc.Digest.String()) {
		t.Errorf("got images %s, want the index %s", got, img.Desc.Digest)
	}
}
