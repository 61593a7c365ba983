// Package testdaemon starts real containerd daemons for tests, of the versions
// that .ci/setup provides, each with a root, a state folder and sockets of its
// own. Read daemon.go for their life and cleanup.go for its end.
package testdaemon

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	snapshotsapi "github.com/containerd/containerd/api/services/snapshots/v1"
	versionapi "github.com/containerd/containerd/api/services/version/v1"
	"github.com/containerd/containerd/v2/core/snapshots"
	"github.com/containerd/containerd/v2/core/snapshots/proxy"
	"github.com/containerd/containerd/v2/pkg/namespaces"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/protobuf/types/known/emptypb"

	"github.com/containerd-pull/containerd-pull/pkg/internal/pulltest"
	"github.com/containerd-pull/containerd-pull/pkg/internal/pulltest/process"
	"github.com/containerd-pull/containerd-pull/pkg/internal/pulltest/tree"
)

// Versions lists the containerd daemons that .ci/setup provides, newest
// first.
func Versions() []string { return []string{"2.4", "1.7", "1.6"} }

// Options says which containerd to start and where.
type Options struct {
	Version string // one of Versions, the newest if empty
	// Root is the daemon's root folder: a new one, removed at the end, if
	// empty. A root that was baked before must be given by its owner.
	Root string
	// Disabled are the URIs of plugins that are switched off besides those that
	// always are, such as io.containerd.service.v1.diff-service.
	Disabled []string
	// Imports are files that the daemon's configuration imports.
	Imports []string
	// Config is TOML that is appended to the daemon's configuration.
	Config string
	// Env is added to the daemon's environment.
	Env []string
}

// Daemon is a containerd in a process of its own, with state and sockets of
// its own. CRI, NRI and the snapshotters that need devices are off.
type Daemon struct {
	Version string
	Root    string // content, snapshots and metadata
	State   string // sockets and running containers
	Address string // path of the gRPC socket
	opts    Options
	dir     string // temporary folder around the rest
	bin     string // folder of the daemon's programs
	process *process.Process
}

// New starts a daemon and waits until it answers. The caller closes it.
func New(ctx context.Context, o Options) (*Daemon, error) {
	if o.Version == "" {
		o.Version = Versions()[0]
	}
	program, err := pulltest.Tool(o.Version + "/containerd")
	if err != nil {
		return nil, err
	}
	// The path of a socket has room for 107 bytes, less than a test's own
	// temporary folder may need.
	dir, err := os.MkdirTemp("", "ctd")
	if err != nil {
		return nil, fmt.Errorf("starting containerd: %w", err)
	}
	d := &Daemon{
		Version: o.Version, Root: o.Root, State: filepath.Join(dir, "state"),
		Address: filepath.Join(dir, "containerd.sock"),
		opts:    o, dir: dir, bin: filepath.Dir(program),
	}
	if d.Root == "" {
		d.Root = filepath.Join(dir, "root")
	}
	if err := d.Start(ctx); err != nil {
		return nil, errors.Join(err, d.Close())
	}
	return d, nil
}

// Start starts the daemon again after Stop or Kill, on the same root.
func (d *Daemon) Start(ctx context.Context) error {
	config := d.ConfigFile()
	if err := os.WriteFile(config, []byte(d.config()), 0o644); err != nil {
		return fmt.Errorf("configuring containerd: %w", err)
	}
	if err := os.WriteFile(filepath.Join(d.dir, nerdctlFile), []byte(d.nerdctlConfig()), 0o644); err != nil {
		return fmt.Errorf("configuring nerdctl: %w", err)
	}
	// The daemon looks for its shim on PATH and would find that of another
	// version first.
	env := append([]string{"PATH=" + d.bin + string(os.PathListSeparator) + os.Getenv("PATH")}, d.opts.Env...)
	p, err := process.Start(filepath.Join(d.dir, "log"), env, filepath.Join(d.bin, "containerd"), "--config", config)
	if err != nil {
		return err
	}
	d.process = p
	return d.wait(ctx)
}

// config is version 2 of the format, which all daemons read.
func (d *Daemon) config() string {
	var b strings.Builder
	fmt.Fprintf(&b, "version = 2\nroot = %q\nstate = %q\n", d.Root, d.State)
	fmt.Fprintf(&b, "imports = [%s]\n", quoted(d.opts.Imports...))
	fmt.Fprintf(&b, "disabled_plugins = [%s]\n", quoted(append([]string{
		"io.containerd.grpc.v1.cri", "io.containerd.cri.v1.images", "io.containerd.cri.v1.runtime",
		"io.containerd.nri.v1.nri", "io.containerd.podsandbox.controller.v1.podsandbox",
		"io.containerd.snapshotter.v1.aufs", "io.containerd.snapshotter.v1.btrfs",
		"io.containerd.snapshotter.v1.devmapper", "io.containerd.snapshotter.v1.zfs",
		"io.containerd.snapshotter.v1.blockfile",
		"io.containerd.internal.v1.opt", "io.containerd.internal.v1.tracing",
		"io.containerd.tracing.processor.v1.otlp"}, d.opts.Disabled...)...))
	fmt.Fprintf(&b, "[grpc]\n  address = %q\n[ttrpc]\n  address = %q\n", d.Address, d.Address+".ttrpc")
	fmt.Fprintf(&b, "%s\n", d.opts.Config)
	return b.String()
}

func quoted(words ...string) string {
	all := make([]string, len(words))
	for i, w := range words {
		all[i] = fmt.Sprintf("%q", w)
	}
	return strings.Join(all, ", ")
}

// wait returns when the daemon serves, or why it never will.
func (d *Daemon) wait(ctx context.Context) error {
	conn, err := d.dial()
	if err != nil {
		return err
	}
	defer conn.Close()
	return d.process.Await(ctx, func(ctx context.Context) error {
		conn.ResetConnectBackoff()
		_, err := versionapi.NewVersionClient(conn).Version(ctx, &emptypb.Empty{})
		return err
	})
}

// dial connects when the first call is made.
func (d *Daemon) dial() (*grpc.ClientConn, error) {
	conn, err := grpc.NewClient("unix:"+d.Address, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		return nil, fmt.Errorf("connecting to containerd: %w", err)
	}
	return conn, nil
}

// Stop ends the daemon in its own time. Root, state and containers stay.
func (d *Daemon) Stop() error { return d.process.Stop() }

// Kill ends the daemon at once, as a crash would.
func (d *Daemon) Kill() error { return d.process.Kill() }

// Restart stops the daemon and starts it on the same root.
func (d *Daemon) Restart(ctx context.Context) error {
	if err := d.Stop(); err != nil {
		return err
	}
	return d.Start(ctx)
}

// PID is the daemon's process, of the latest start.
func (d *Daemon) PID() int { return d.process.PID() }

// ConfigFile is the configuration that the daemon was started with.
func (d *Daemon) ConfigFile() string { return filepath.Join(d.dir, "config.toml") }

// Log is everything the daemon wrote.
func (d *Daemon) Log() string { return process.Tail(filepath.Join(d.dir, "log"), 1<<20) }

// RunCtr runs the ctr of the daemon's version against it, with any flags, and
// returns its standard output. The error holds its standard error.
func (d *Daemon) RunCtr(ctx context.Context, args ...string) (string, error) {
	return d.runCtr(ctx, d.bin, args)
}

// RunNewCtr is RunCtr with the ctr of the newest version, whose commands tell
// more.
func (d *Daemon) RunNewCtr(ctx context.Context, args ...string) (string, error) {
	program, err := pulltest.Tool(Versions()[0] + "/ctr")
	if err != nil {
		return "", err
	}
	return d.runCtr(ctx, filepath.Dir(program), args)
}

func (d *Daemon) runCtr(ctx context.Context, bin string, args []string) (string, error) {
	return output(exec.CommandContext(ctx, filepath.Join(bin, "ctr"), append([]string{"--address", d.Address}, args...)...))
}

// RunNerdctl runs nerdctl against the daemon as RunCtr runs ctr. Registries may
// speak plain HTTP.
func (d *Daemon) RunNerdctl(ctx context.Context, args ...string) (string, error) {
	program, err := pulltest.Tool(pulltest.Nerdctl)
	if err != nil {
		return "", err
	}
	cmd := exec.CommandContext(ctx, program, args...)
	cmd.Env = append(os.Environ(), d.NerdctlEnv()...)
	return output(cmd)
}

// NerdctlEnv are the variables that lead nerdctl to the daemon, with a
// configuration that keeps its state and its networks out of the machine's
// folders.
func (d *Daemon) NerdctlEnv() []string {
	return []string{"NERDCTL_TOML=" + filepath.Join(d.dir, nerdctlFile), "DOCKER_CONFIG=" + d.dir}
}

const nerdctlFile = "nerdctl.toml"

// nerdctlConfig is nerdctl's configuration for the daemon.
func (d *Daemon) nerdctlConfig() string {
	return fmt.Sprintf("address = %q\ndata_root = %q\ncni_path = %q\ncni_netconfpath = %q\ncgroup_manager = \"cgroupfs\"\ninsecure_registry = true\n",
		d.Address, filepath.Join(d.dir, "nerdctl"), filepath.Join(d.dir, "cni"), filepath.Join(d.dir, "net.d"))
}

// output runs a program and returns its standard output. The error holds its
// standard error.
func output(cmd *exec.Cmd) (string, error) {
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		return stdout.String(), fmt.Errorf("running %s: %w: %s", strings.Join(cmd.Args, " "), err, &stderr)
	}
	return stdout.String(), nil
}

// RunContainer runs a container from an unpacked image to its end, with a name
// and a runc folder of its own, and returns what it wrote. Flags are those of
// ctr run; without a command the image's own runs.
func (d *Daemon) RunContainer(ctx context.Context, namespace string, flags []string, ref string, command ...string) (string, error) {
	args := []string{"--namespace", namespace, "run", "--rm", "--runc-root", filepath.Join(d.dir, "runc")}
	args = append(append(args, flags...), ref, "pulltest-"+strings.ToLower(rand.Text()))
	return d.RunCtr(ctx, append(args, command...)...)
}

// Collect makes the daemon run its garbage collection and waits for its end:
// a lease that is deleted synchronously triggers one.
func (d *Daemon) Collect(ctx context.Context, namespace string) error {
	const lease = "pulltest-collect"
	if _, err := d.RunCtr(ctx, "--namespace", namespace, "leases", "create", "--id", lease); err != nil {
		return err
	}
	_, err := d.RunCtr(ctx, "--namespace", namespace, "leases", "delete", "--sync", lease)
	return err
}

// Tree reads the tree of a committed snapshot, by a view that is removed again.
func (d *Daemon) Tree(ctx context.Context, namespace, snapshotter, name string) (entries []tree.Entry, err error) {
	conn, err := d.dial()
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	ctx = namespaces.WithNamespace(ctx, namespace)
	sn := proxy.NewSnapshotter(snapshotsapi.NewSnapshotsClient(conn), snapshotter)
	view := "pulltest-view-" + rand.Text()
	// The label keeps the view from a garbage collection meanwhile.
	keep := snapshots.WithLabels(map[string]string{"containerd.io/gc.root": "pulltest"})
	mounts, err := sn.View(ctx, view, name, keep)
	if err != nil {
		return nil, fmt.Errorf("viewing snapshot %s: %w", name, err)
	}
	defer func() { err = errors.Join(err, sn.Remove(ctx, view)) }()
	return tree.ReadMounted(ctx, mounts)
}

// Start starts a daemon that ends with the test, which is skipped where
// the daemon or root is missing. A failed test logs what the daemon wrote.
func Start(t testing.TB, o Options) *Daemon {
	t.Helper()
	if o.Version == "" {
		o.Version = Versions()[0]
	}
	pulltest.Need(t, pulltest.Root, pulltest.Tools(o.Version+"/containerd", o.Version+"/ctr"))
	d, err := New(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("containerd %s wrote:\n%s", d.Version, process.Tail(filepath.Join(d.dir, "log"), 60))
		}
		if err := d.Close(); err != nil {
			t.Errorf("closing containerd: %v", err)
		}
	})
	return d
}

// Ctr runs RunCtr and ends the test on its error.
func (d *Daemon) Ctr(t testing.TB, args ...string) string {
	t.Helper()
	out, err := d.RunCtr(t.Context(), args...)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// SnapshotTree runs Tree and ends the test on its error.
func (d *Daemon) SnapshotTree(t testing.TB, namespace, snapshotter, name string) []tree.Entry {
	t.Helper()
	files, err := d.Tree(t.Context(), namespace, snapshotter, name)
	if err != nil {
		t.Fatal(err)
	}
	return files
}
