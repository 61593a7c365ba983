package daemon

import (
	"context"
	"fmt"

	containerd "github.com/containerd/containerd/v2/client"

	"github.com/containerd-pull/containerd-pull/pkg/store"
)

// View looks at the daemon. Whether o.Snapshotter exists does not matter. The
// caller closes the View.
func View(ctx context.Context, o store.Options) (*store.View, error) {
	o = o.WithDefaults()
	if err := knock(ctx, o); err != nil {
		return nil, err
	}
	_, client, err := newClient(o)
	if err != nil {
		return nil, err
	}
	return store.NewView(store.ViewParts{
		Namespace:    o.Namespace,
		Images:       client.ImageService(),
		Blobs:        client.ContentStore(),
		Namespaces:   client.NamespaceService().List,
		Snapshotters: func(ctx context.Context) ([]string, error) { return listSnapshotters(ctx, client) },
		Close:        client.Close,
	}), nil
}

func listSnapshotters(ctx context.Context, client *containerd.Client) ([]string, error) {
	answer, err := client.IntrospectionService().Plugins(ctx, "type=="+pluginSnapshots)
	if err != nil {
		return nil, fmt.Errorf("listing containerd's snapshotters: %w", err)
	}
	var names []string
	for _, p := range answer.Plugins {
		if p.InitErr == nil {
			names = append(names, p.ID)
		}
	}
	return names, nil
}
