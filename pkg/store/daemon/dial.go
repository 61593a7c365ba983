package daemon

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	contentapi "github.com/containerd/containerd/api/services/content/v1"
	introspectionapi "github.com/containerd/containerd/api/services/introspection/v1"
	containerd "github.com/containerd/containerd/v2/client"
	"github.com/containerd/containerd/v2/core/diff"
	"github.com/containerd/containerd/v2/core/mount"
	"github.com/containerd/containerd/v2/core/snapshots"
	"github.com/containerd/containerd/v2/defaults"
	"github.com/containerd/containerd/v2/pkg/dialer"
	"github.com/containerd/containerd/v2/pkg/namespaces"
	"github.com/containerd/errdefs"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/containerd-pull/containerd-pull/pkg/internal/multibuffer"
	"github.com/containerd-pull/containerd-pull/pkg/store"
)

const (
	// firstRetry is the pause before a daemon that went away is asked again.
	firstRetry = 50 * time.Millisecond
	// labelSnapshotter on a namespace names its default snapshotter.
	labelSnapshotter = "containerd.io/defaults/snapshotter"
	pluginSnapshots  = "io.containerd.snapshotter.v1"
	pluginServices   = "io.containerd.grpc.v1"
	serviceDiff      = "diff"
	serviceTransfer  = "transfer"
	pluginContent    = "io.containerd.content.v1"
	// exportRoot is what plugins call their folder.
	exportRoot = "root"
)

// Dial connects to a running daemon. It fails with store.ErrUnavailable at once
// when no process listens, or when the daemon does not answer within
// o.ConnectTimeout, in which it may restart, and with errdefs.ErrInvalidArgument
// when the snapshotter is not one of the daemon's.
func Dial(ctx context.Context, o store.Options) (*store.Store, error) {
	o = o.WithDefaults()
	d, err := newDaemon(o)
	if err != nil {
		return nil, err
	}
	if _, err := knock(ctx, o); err != nil {
		return nil, errors.Join(err, d.Close())
	}
	if _, err := d.resolve(namespaces.WithNamespace(ctx, o.Namespace)); err != nil {
		return nil, errors.Join(err, d.Close())
	}
	d.parts.Snapshotter = d.client.SnapshotService(d.parts.Name)
	return store.New(d), nil
}

// daemon is a containerd, over all restarts of it.
type daemon struct {
	*connection
	client *containerd.Client
	parts  store.Parts // Name and Snapshotter as soon as it has answered once
	traits atomic.Pointer[traits]
	proof  proof
}

// traits are what is known of the daemon that answers now.
type traits struct {
	store.Traits
	pid       int // 0 if it cannot be seen
	transfers bool
	// The folders of blobs and of snapshots as the daemon says, "" if not known.
	contentRoot, snapshotRoot string
}

// newDaemon prepares the connection; nothing is asked yet.
func newDaemon(o store.Options) (*daemon, error) {
	c, client, err := newClient(o)
	if err != nil {
		return nil, err
	}
	d := &daemon{connection: c, client: client}
	d.parts = store.Parts{
		Content: &contentStore{
			Store: client.ContentStore(), client: contentapi.NewContentClient(c.conn), buffers: &sync.Pool{},
			root:   func() string { return d.traits.Load().contentRoot },
			shared: d.proof.holds,
		},
		Images:    client.ImageService(),
		Leases:    client.LeasesService(),
		Applier:   applier{client.DiffService()},
		Namespace: o.Namespace,
		Hasher:    multibuffer.New(),
	}
	c.choose = func(ctx context.Context) error {
		pid, err := knock(ctx, o)
		if err != nil {
			return err
		}
		return d.introspect(ctx, cmp.Or(d.parts.Name, o.Snapshotter), pid)
	}
	return d, nil
}

func newClient(o store.Options) (*connection, *containerd.Client, error) {
	c, err := connect(o.Address, o.ConnectTimeout)
	if err != nil {
		return nil, nil, fmt.Errorf("connecting to containerd at %s: %w: %w", o.Address, store.ErrUnavailable, err)
	}
	client, err := containerd.NewWithConn(c.conn)
	if err != nil {
		return nil, nil, errors.Join(err, c.conn.Close())
	}
	return c, client, nil
}

// Parts implements store.Backend.
func (d *daemon) Parts() store.Parts { return d.parts }

// Traits implements store.Backend.
func (d *daemon) Traits() store.Traits { return d.traits.Load().Traits }

// SyncsApplied implements store.Backend.
func (d *daemon) SyncsApplied(ctx context.Context) (bool, error) { return d.isVersion2(ctx) }

// isVersion2 reports whether the daemon is of version 2.0 or later.
func (d *daemon) isVersion2(ctx context.Context) (bool, error) {
	version, err := d.version(ctx)
	if err != nil {
		return false, fmt.Errorf("asking containerd for its version: %w", err)
	}
	return !strings.HasPrefix(strings.TrimPrefix(version, "v"), "1."), nil
}

// identity is what a daemon calls itself for as long as its root exists.
func (d *daemon) identity(ctx context.Context) (string, error) {
	server, err := d.client.Server(ctx)
	return server.UUID, err
}

func (d *daemon) version(ctx context.Context) (string, error) {
	v, err := d.client.Version(ctx)
	return v.Version, err
}

// Flush implements store.Backend. What a daemon has is its own to put on disk.
func (d *daemon) Flush() error { return nil }

// Close implements store.Backend.
func (d *daemon) Close() error { return d.client.Close() }

// applier is the daemon's diff service, which may be switched off.
type applier struct{ diff.Applier }

// Apply implements diff.Applier.
func (a applier) Apply(ctx context.Context, desc ocispec.Descriptor, mounts []mount.Mount, opts ...diff.ApplyOpt) (ocispec.Descriptor, error) {
	done, err := a.Applier.Apply(ctx, desc, mounts, opts...)
	if errdefs.IsNotImplemented(err) {
		err = fmt.Errorf("%w: %w", store.ErrNoApplier, err)
	}
	return done, err
}

// connect makes the connection as containerd's own client does, but comes back
// sooner to a daemon that restarts, and never leaves one that it does not need
// for a while.
func connect(address string, timeout time.Duration) (*connection, error) {
	l := &connection{address: address, timeout: timeout}
	dial := func(ctx context.Context, address string) (net.Conn, error) {
		l.dials.Add(1)
		return dialer.ContextDialer(ctx, address)
	}
	retry := backoff.Config{BaseDelay: firstRetry, Multiplier: 1.6, Jitter: 0.2, MaxDelay: time.Second}
	var err error
	l.conn, err = grpc.NewClient(dialer.DialAddress(address),
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithConnectParams(grpc.ConnectParams{Backoff: retry, MinConnectTimeout: timeout}),
		grpc.WithContextDialer(dial),
		grpc.WithIdleTimeout(0),
		grpc.WithDefaultCallOptions(
			grpc.MaxCallRecvMsgSize(defaults.DefaultMaxRecvMsgSize),
			grpc.MaxCallSendMsgSize(defaults.DefaultMaxSendMsgSize)))
	return l, err
}

// knock finds out at once what gRPC would only report as a time-out: no socket, no
// permission, no process that listens. It returns the process that listens, if it
// can be seen.
func knock(ctx context.Context, o store.Options) (pid int, err error) {
	d := net.Dialer{Timeout: o.ConnectTimeout}
	conn, err := d.DialContext(ctx, "unix", o.Address)
	if err == nil {
		return peer(conn), conn.Close()
	}
	if cause := context.Cause(ctx); cause != nil {
		return 0, cause
	}
	var sys *os.SyscallError
	if errors.As(err, &sys) {
		err = sys.Err
	}
	return 0, fmt.Errorf("connecting to containerd at %s: %w: %w", o.Address, store.ErrUnavailable, err)
}

func asUnavailable(address string, err error) error {
	if errdefs.IsUnavailable(err) || errdefs.IsDeadlineExceeded(err) || errors.Is(err, context.DeadlineExceeded) {
		return fmt.Errorf("talking to containerd at %s: %w: %w", address, store.ErrUnavailable, err)
	}
	return err
}

// introspect settles the snapshotter's name and learns what else the daemon
// has: one call lists all plugins that matter. Whether the files of its snapshots
// are the ones that this process sees is to be found out.
func (d *daemon) introspect(ctx context.Context, name string, pid int) error {
	if name == "" {
		var err error
		if name, err = namespaceDefault(ctx, d.client, d.parts.Namespace); err != nil {
			return err
		}
	}
	answer, err := d.client.IntrospectionService().Plugins(ctx, "type=="+pluginSnapshots, "type=="+pluginContent, "type=="+pluginVerifiers,
		"type=="+pluginServices+",id=="+serviceDiff, "type=="+pluginServices+",id=="+serviceTransfer)
	if err != nil {
		return fmt.Errorf("listing containerd's plugins: %w", err)
	}
	sn, err := snapshotter(ofType(answer.Plugins, pluginSnapshots), name)
	if err != nil {
		return err
	}
	d.traits.Store(newTraits(ctx, answer.Plugins, sn, pid))
	d.proof.reset()
	d.parts.Name = cmp.Or(d.parts.Name, name)
	return nil
}

func newTraits(ctx context.Context, plugins []*introspectionapi.Plugin, sn *introspectionapi.Plugin, pid int) *traits {
	t := &traits{
		Traits: store.Traits{
			Applies:   serves(plugins, serviceDiff),
			Rebase:    slices.Contains(sn.Capabilities, snapshots.RebaseCap),
			Verifiers: verifiersOf(ctx, plugins, pid),
		},
		pid: pid, transfers: serves(plugins, serviceTransfer), snapshotRoot: sn.Exports[exportRoot],
	}
	for _, p := range ofType(plugins, pluginContent) {
		t.contentRoot = p.Exports[exportRoot]
	}
	return t
}

func ofType(all []*introspectionapi.Plugin, kind string) []*introspectionapi.Plugin {
	return slices.DeleteFunc(slices.Clone(all), func(p *introspectionapi.Plugin) bool { return p.Type != kind })
}

// serves reports whether the daemon's API has a service. One that could not be
// started is listed as well, with the error.
func serves(all []*introspectionapi.Plugin, service string) bool {
	return slices.ContainsFunc(ofType(all, pluginServices), func(p *introspectionapi.Plugin) bool {
		return p.ID == service && p.InitErr == nil
	})
}

// snapshotter finds the snapshotter name among plugins.
func snapshotter(plugins []*introspectionapi.Plugin, name string) (*introspectionapi.Plugin, error) {
	var usable []string
	for _, p := range plugins {
		switch {
		case p.InitErr != nil:
		case p.ID == name:
			return p, nil
		default:
			usable = append(usable, p.ID)
		}
	}
	slices.Sort(usable)
	return nil, fmt.Errorf("snapshotter %q: %w%s; containerd has: %s", name, errdefs.ErrInvalidArgument,
		whyUnusable(plugins, name), strings.Join(usable, ", "))
}

func whyUnusable(plugins []*introspectionapi.Plugin, name string) string {
	for _, p := range plugins {
		if p.Type == pluginSnapshots && p.ID == name {
			return fmt.Sprintf(" (%s)", p.InitErr.GetMessage())
		}
	}
	return ""
}

// namespaceDefault reads the snapshotter that the namespace's label names.
func namespaceDefault(ctx context.Context, client *containerd.Client, ns string) (string, error) {
	labels, err := client.NamespaceService().Labels(ctx, ns)
	if err != nil && !errdefs.IsNotFound(err) {
		return "", fmt.Errorf("reading the labels of namespace %s: %w", ns, err)
	}
	if name := labels[labelSnapshotter]; name != "" {
		return name, nil
	}
	return store.Overlayfs, nil
}
