package store

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
	"time"

	contentapi "github.com/containerd/containerd/api/services/content/v1"
	introspectionapi "github.com/containerd/containerd/api/services/introspection/v1"
	containerd "github.com/containerd/containerd/v2/client"
	"github.com/containerd/containerd/v2/defaults"
	"github.com/containerd/containerd/v2/pkg/dialer"
	"github.com/containerd/errdefs"
	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/containerd-pull/containerd-pull/pkg/internal/multibuffer"
)

const (
	defaultConnectTimeout = 10 * time.Second
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

// Dial connects to a running daemon. It fails with ErrUnavailable at once when
// nobody listens, or when the daemon does not answer within o.ConnectTimeout,
// in which it may restart, and with errdefs.ErrInvalidArgument when the
// snapshotter is not one of the daemon's.
func Dial(ctx context.Context, o Options) (*Store, error) {
	address := socketPath(o.Address)
	timeout := o.ConnectTimeout
	if timeout == 0 {
		timeout = defaultConnectTimeout
	}
	l, err := connect(address, timeout)
	if err != nil {
		return nil, fmt.Errorf("connecting to containerd at %s: %w: %w", address, ErrUnavailable, err)
	}
	client, err := containerd.NewWithConn(l.conn)
	if err != nil {
		return nil, errors.Join(err, l.conn.Close())
	}
	s := &Store{
		Images:    client.ImageService(),
		Leases:    client.LeasesService(),
		Applier:   client.DiffService(),
		Namespace: namespaceOr(o.Namespace),
		Hasher:    multibuffer.New(),
		daemon:    &daemon{connection: l, client: client},
	}
	s.Content = &daemonContent{
		Store: client.ContentStore(), client: contentapi.NewContentClient(l.conn), buffers: &sync.Pool{},
		root:   func() string { return s.traits.Load().contentRoot },
		shared: s.sharing.isProven,
	}
	l.choose = func(ctx context.Context) error {
		pid, err := knock(ctx, address, timeout)
		if err != nil {
			return err
		}
		return s.introspect(s.Context(ctx), client, cmp.Or(s.Name, o.Snapshotter), pid)
	}
	if _, err := knock(ctx, address, timeout); err != nil {
		return nil, errors.Join(err, client.Close())
	}
	if _, err := l.resolve(ctx); err != nil {
		return nil, errors.Join(err, client.Close())
	}
	s.Snapshotter = client.SnapshotService(s.Name)
	return s, nil
}

// daemon is a containerd, over all restarts of it.
type daemon struct {
	*connection
	client *containerd.Client
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

func (d *daemon) close() error { return d.client.Close() }

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

func namespaceOr(ns string) string {
	if ns == "" {
		return defaultNamespace
	}
	return ns
}

func socketPath(address string) string {
	if address == "" {
		return defaults.DefaultAddress
	}
	return strings.TrimPrefix(address, "unix://")
}

// knock tells at once what gRPC would only say as a time-out: no socket, no
// permission, nobody listening. It returns the process that listens, if it can
// be seen.
func knock(ctx context.Context, address string, timeout time.Duration) (pid int, err error) {
	d := net.Dialer{Timeout: timeout}
	conn, err := d.DialContext(ctx, "unix", address)
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
	return 0, fmt.Errorf("connecting to containerd at %s: %w: %w", address, ErrUnavailable, err)
}

func asUnavailable(address string, err error) error {
	if errdefs.IsUnavailable(err) || errdefs.IsDeadlineExceeded(err) || errors.Is(err, context.DeadlineExceeded) {
		return fmt.Errorf("talking to containerd at %s: %w: %w", address, ErrUnavailable, err)
	}
	return err
}

// introspect settles the snapshotter's name and learns what else the daemon
// has: one call lists all plugins that matter. Whether its mounts are ours to
// write is to be found out.
func (s *Store) introspect(ctx context.Context, client *containerd.Client, name string, pid int) error {
	if name == "" {
		var err error
		if name, err = namespaceDefault(ctx, client, s.Namespace); err != nil {
			return err
		}
	}
	answer, err := client.IntrospectionService().Plugins(ctx, "type=="+pluginSnapshots, "type=="+pluginContent, "type=="+pluginVerifiers,
		"type=="+pluginServices+",id=="+serviceDiff, "type=="+pluginServices+",id=="+serviceTransfer)
	if err != nil {
		return fmt.Errorf("listing containerd's plugins: %w", err)
	}
	t := &traits{
		pid: pid, verifiers: verifiersOf(ctx, answer.Plugins, pid),
		applies: serves(answer.Plugins, serviceDiff), transfers: serves(answer.Plugins, serviceTransfer),
	}
	for _, p := range ofType(answer.Plugins, pluginContent) {
		t.contentRoot = p.Exports[exportRoot]
	}
	sn, err := snapshotter(ofType(answer.Plugins, pluginSnapshots), name)
	if err != nil {
		return err
	}
	t.snapshotRoot = sn.Exports[exportRoot]
	s.traits.Store(t)
	s.sharing.reset(sn.Capabilities)
	if s.Name == "" {
		s.Name = name
	}
	return nil
}

func ofType(all []*introspectionapi.Plugin, kind string) []*introspectionapi.Plugin {
	return slices.DeleteFunc(slices.Clone(all), func(p *introspectionapi.Plugin) bool { return p.Type != kind })
}

// serves tells whether the daemon's API has a service. One that could not be
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
	return defaultSnapshotter, nil
}
