package testdaemon

import (
	"maps"
	"strings"

	introspectionapi "github.com/containerd/containerd/api/services/introspection/v1"
	snapshotsapi "github.com/containerd/containerd/api/services/snapshots/v1"
	"github.com/containerd/containerd/api/types"
)

// The methods that name paths, and what is asked beside them.
const (
	MethodPlugins = "/containerd.services.introspection.v1.Introspection/Plugins"
	MethodPrepare = "/containerd.services.snapshots.v1.Snapshots/Prepare"
	MethodView    = "/containerd.services.snapshots.v1.Snapshots/View"
	MethodUsage   = "/containerd.services.snapshots.v1.Snapshots/Usage"
	MethodRemove  = "/containerd.services.snapshots.v1.Snapshots/Remove"
)

// Elsewhere are the lies of a daemon that does not mean to lie: its root lies at the
// path here in the place where it runs itself.
func Elsewhere(root, here string) map[string]Lie {
	moved := func(path string) string { return strings.ReplaceAll(path, root, here) }
	mounts := func(all []*types.Mount) {
		for _, m := range all {
			m.Source = moved(m.Source)
			for i := range m.Options {
				m.Options[i] = moved(m.Options[i])
			}
		}
	}
	return map[string]Lie{
		MethodPlugins: Tell(func(_ *introspectionapi.PluginsRequest, a *introspectionapi.PluginsResponse) error {
			for _, p := range a.Plugins {
				for key, path := range maps.Clone(p.Exports) {
					p.Exports[key] = moved(path)
				}
			}
			return nil
		}),
		MethodPrepare: Tell(func(_ *snapshotsapi.PrepareSnapshotRequest, a *snapshotsapi.PrepareSnapshotResponse) error {
			mounts(a.Mounts)
			return nil
		}),
		MethodView: Tell(func(_ *snapshotsapi.ViewSnapshotRequest, a *snapshotsapi.ViewSnapshotResponse) error {
			mounts(a.Mounts)
			return nil
		}),
	}
}

// Naming are the lies of a daemon whose snapshots are where m says, and which sees
// one file more each time it is asked.
func Naming(m *types.Mount) map[string]Lie {
	inodes := int64(0)
	return map[string]Lie{
		MethodPrepare: Tell(func(_ *snapshotsapi.PrepareSnapshotRequest, a *snapshotsapi.PrepareSnapshotResponse) error {
			a.Mounts = []*types.Mount{m}
			return nil
		}),
		MethodView: Tell(func(_ *snapshotsapi.ViewSnapshotRequest, a *snapshotsapi.ViewSnapshotResponse) error {
			a.Mounts = []*types.Mount{m}
			return nil
		}),
		MethodUsage: Tell(func(_ *snapshotsapi.UsageRequest, a *snapshotsapi.UsageResponse) error {
			inodes++
			a.Inodes = inodes
			return nil
		}),
	}
}

// Failing is the Lie of a call that has done what was asked and says err.
func Failing(err error) Lie {
	return func(_, _ []byte) ([]byte, error) { return nil, err }
}
