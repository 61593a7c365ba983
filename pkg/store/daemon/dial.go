// Package daemon is the store.Backend of a running containerd: what it takes to talk
// to one over its restarts, to write blobs into it fast, and to prove that this
// process sees the daemon's files.
//
// It decides nothing about a pull; pkg/store says what a Backend is for. Read Dial
// first, then attach.go for what happens when the daemon goes away, sender.go and
// inplace.go for the two ways of a blob.
package daemon

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	contentapi "github.com/containerd/containerd/api/services/content/v1"
	introspectionapi "github.com/containerd/containerd/api/services/introspection/v1"
	containerd "github.com/containerd/containerd/v2/client"
	"github.com/containerd/containerd/v2/core/snapshots"
	"github.com/containerd/containerd/v2/defaults"
	"github.com/containerd/containerd/v2/pkg/dialer"
	"github.com/containerd/containerd/v2/pkg/namespaces"
	"github.com/containerd/errdefs"
	"golang.org/x/sync/errgroup"
	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/containerd-pull/containerd-pull/pkg/failure"
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
	if err := knock(ctx, o); err != nil {
		return nil, errors.Join(err, d.Close())
	}
	if _, err := d.resolve(ctx); err != nil {
		return nil, errors.Join(err, d.Close())
	}
	d.parts.Snapshotter = d.client.SnapshotService(d.parts.Name)
	return store.New(d), nil
}

// newDaemon prepares the connection; nothing is asked yet.
func newDaemon(o store.Options) (*daemon, error) {
	c, client, err := newClient(o)
	if err != nil {
		return nil, err
	}
	d := &daemon{connection: c, client: client, blobs: contentapi.NewContentClient(c.conn)}
	d.parts = store.Parts{
		Content: &contentStore{
			Store: client.ContentStore(), client: d.blobs, buffers: &sync.Pool{},
			site: func() *site { return d.traits.Load().site }, committed: d.givenBack,
		},
		Images:     client.ImageService(),
		Containers: client.ContainerService(),
		Leases:     client.LeasesService(),
		Applier:    applier{client.DiffService()},
		Namespace:  o.Namespace,
		Hasher:     multibuffer.New(),
	}
	c.choose = func(ctx context.Context) error {
		ctx = namespaces.WithNamespace(ctx, o.Namespace)
		return d.introspect(ctx, cmp.Or(d.parts.Name, o.Snapshotter))
	}
	return d, nil
}

func newClient(o store.Options) (*connection, *containerd.Client, error) {
	c, err := connect(o.Address, o.ConnectTimeout)
	if err != nil {
		return nil, nil, unreachable(o.Address, err)
	}
	client, err := containerd.NewWithConn(c.conn)
	if err != nil {
		return nil, nil, errors.Join(err, c.conn.Close())
	}
	return c, client, nil
}

// connect makes the connection as containerd's own client does, but returns
// sooner to a daemon that restarts, and keeps a connection that is idle.
func connect(address string, timeout time.Duration) (*connection, error) {
	c := &connection{address: address, timeout: timeout}
	dial := func(ctx context.Context, address string) (net.Conn, error) {
		c.dials.Add(1)
		conn, err := dialer.ContextDialer(ctx, address)
		if err == nil {
			c.peer.Store(new(peerOf(conn)))
		}
		return conn, err
	}
	retry := backoff.Config{BaseDelay: firstRetry, Multiplier: 1.6, Jitter: 0.2, MaxDelay: time.Second}
	var err error
	c.conn, err = grpc.NewClient(dialer.DialAddress(address),
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithConnectParams(grpc.ConnectParams{Backoff: retry, MinConnectTimeout: timeout}),
		grpc.WithContextDialer(dial),
		grpc.WithIdleTimeout(0),
		grpc.WithUnaryInterceptor(diagnoseCall),
		grpc.WithStreamInterceptor(diagnoseStream),
		grpc.WithDefaultCallOptions(
			grpc.MaxCallRecvMsgSize(defaults.DefaultMaxRecvMsgSize),
			grpc.MaxCallSendMsgSize(defaults.DefaultMaxSendMsgSize)))
	return c, err
}

// knock finds out at once what gRPC would only report as a time-out: no socket, no
// permission, no process that listens.
func knock(ctx context.Context, o store.Options) error {
	d := net.Dialer{Timeout: o.ConnectTimeout}
	conn, err := d.DialContext(ctx, "unix", o.Address)
	if err == nil {
		return conn.Close()
	}
	if cause := context.Cause(ctx); cause != nil {
		return cause
	}
	var sys *os.SyscallError
	if errors.As(err, &sys) {
		err = sys.Err
	}
	return unreachable(o.Address, err)
}

// unreachable is the error for a socket that cannot be used, with what is to be
// done about that.
func unreachable(address string, err error) error {
	return failure.New(store.ErrUnavailable, "connecting to containerd at %s: %w", address, err).WithHint("%s", socketHint(err))
}

func socketHint(err error) string {
	switch {
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, syscall.ENOTDIR):
		return "there is no such socket: start containerd (systemctl start containerd), or name its socket with --address; --root DIR pulls without a daemon"
	case errors.Is(err, fs.ErrPermission):
		return "this user may not open the socket: use sudo, or a rootless containerd and its socket"
	case errors.Is(err, syscall.ECONNREFUSED):
		return "no process listens at the socket: containerd is starting, or has ended (systemctl status containerd)"
	}
	return "--address names the socket of containerd, --root DIR pulls without a daemon"
}

// mute is the error for a containerd that has the connection and does not answer.
func mute(format string, args ...any) error {
	return failure.New(store.ErrUnavailable, format, args...).
		WithHint("containerd is starting, busy or hangs: see systemctl status containerd; --connect-timeout waits longer")
}

func asUnavailable(address string, err error) error {
	if errdefs.IsUnavailable(err) || errdefs.IsDeadlineExceeded(err) || errors.Is(err, context.DeadlineExceeded) {
		return mute("talking to containerd at %s: %w", address, err)
	}
	return err
}

// introspect finds the snapshotter and learns what else the daemon has: one call
// lists all plugins that matter. Whether this process sees the files of its
// snapshots is left to be proven.
func (d *daemon) introspect(ctx context.Context, name string) error {
	var answer *introspectionapi.PluginsResponse
	g, asking := errgroup.WithContext(ctx)
	g.Go(func() (err error) {
		if name == "" {
			name, err = namespaceDefault(asking, d.client, d.parts.Namespace)
		}
		return err
	})
	g.Go(func() (err error) {
		answer, err = d.client.IntrospectionService().Plugins(asking, "type=="+pluginSnapshots, "type=="+pluginContent, "type=="+pluginVerifiers,
			"type=="+pluginServices+",id=="+serviceDiff, "type=="+pluginServices+",id=="+serviceTransfer)
		if err != nil {
			err = fmt.Errorf("listing containerd's plugins: %w", err)
		}
		return err
	})
	if err := g.Wait(); err != nil {
		return err
	}
	sn, err := snapshotter(ofType(answer.Plugins, pluginSnapshots), name)
	if err != nil {
		return err
	}
	t := newTraits(ctx, answer.Plugins, sn, *d.peer.Load(), d.address)
	d.sites = append(d.sites, t.site)
	d.traits.Store(t)
	if d.parts.Name == "" {
		d.parts.Name = name
	}
	return nil
}

func newTraits(ctx context.Context, plugins []*introspectionapi.Plugin, sn *introspectionapi.Plugin, p peer, address string) *traits {
	s := &site{barred: p.trusted(address), snapshots: sn.Exports[exportRoot]}
	for _, p := range ofType(plugins, pluginContent) {
		s.content = p.Exports[exportRoot]
	}
	if s.snapshots == "" && s.content != "" { // as from native of containerd 1.6
		s.snapshots = path.Join(path.Dir(s.content), pluginSnapshots+"."+sn.ID)
	}
	return &traits{
		Traits: store.Traits{
			Applies:   serves(plugins, serviceDiff),
			Rebase:    slices.Contains(sn.Capabilities, snapshots.RebaseCap),
			Verifiers: verifiersOf(ctx, plugins, p.pid, s.barred),
		},
		pid: p.pid, transfers: serves(plugins, serviceTransfer), site: s,
	}
}

func ofType(all []*introspectionapi.Plugin, kind string) []*introspectionapi.Plugin {
	return slices.DeleteFunc(slices.Clone(all), func(p *introspectionapi.Plugin) bool { return p.Type != kind })
}

// serves reports whether the daemon's API has a service. A service that could not
// be started is listed as well, with its error.
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
	return nil, failure.New(errdefs.ErrInvalidArgument, "containerd has no usable snapshotter %q%s; it has: %s", name,
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
