package testdaemon

import (
	"maps"
	"strings"
	"sync/atomic"

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
	MethodMounts  = "/containerd.services.snapshots.v1.Snapshots/Mounts"
	MethodStat    = "/containerd.services.snapshots.v1.Snapshots/Stat"
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

// Turning are the lies of a daemon that says the truth until each of the methods has been
// called so many times. Then its snapshots and its roots are at path, there is a file more
// with each count, and what was active is committed.
func Turning(after int64, path string, methods ...string) map[string]Lie {
	mounts := func(all []*types.Mount) {
		for _, m := range all {
			if m.Type == "bind" {
				m.Source = path
			}
			for i, option := range m.Options {
				if name, _, ok := strings.Cut(option, "dir="); ok {
					m.Options[i] = name + "dir=" + path
				}
			}
		}
	}
	lies := map[string]Lie{
		MethodPlugins: Tell(func(_ *introspectionapi.PluginsRequest, a *introspectionapi.PluginsResponse) error {
			for _, p := range a.Plugins {
				for key := range p.Exports {
					p.Exports[key] = path
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
		MethodMounts: Tell(func(_ *snapshotsapi.MountsRequest, a *snapshotsapi.MountsResponse) error {
			mounts(a.Mounts)
			return nil
		}),
		MethodUsage: Tell(func(_ *snapshotsapi.UsageRequest, a *snapshotsapi.UsageResponse) error {
			a.Inodes++
			return nil
		}),
		MethodStat: Tell(func(_ *snapshotsapi.StatSnapshotRequest, a *snapshotsapi.StatSnapshotResponse) error {
			a.Info.Kind = snapshotsapi.Kind_COMMITTED
			return nil
		}),
	}
	turned := map[string]Lie{}
	for _, method := range methods {
		var calls atomic.Int64
		lie := lies[method]
		turned[method] = func(asked, answer []byte) ([]byte, error) {
			if calls.Add(1) <= after {
				return answer, nil
			}
			return lie(asked, answer)
		}
	}
	return turned
}

// Failing is the Lie of a call that has done what was asked and says err.
func Failing(err error) Lie {
	return func(_, _ []byte) ([]byte, error) { return nil, err }
}
