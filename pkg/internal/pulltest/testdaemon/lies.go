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
	lies := prepared(func(all []*types.Mount) []*types.Mount {
		for _, m := range all {
			m.Source = moved(m.Source)
			for i := range m.Options {
				m.Options[i] = moved(m.Options[i])
			}
		}
		return all
	})
	lies[MethodPlugins] = exported(moved)
	return lies
}

// prepared are the lies of a daemon that names other mounts of snapshots.
func prepared(mounts func([]*types.Mount) []*types.Mount) map[string]Lie {
	return map[string]Lie{
		MethodPrepare: Tell(func(_ *snapshotsapi.PrepareSnapshotRequest, a *snapshotsapi.PrepareSnapshotResponse) error {
			a.Mounts = mounts(a.Mounts)
			return nil
		}),
		MethodView: Tell(func(_ *snapshotsapi.ViewSnapshotRequest, a *snapshotsapi.ViewSnapshotResponse) error {
			a.Mounts = mounts(a.Mounts)
			return nil
		}),
	}
}

// exported is the lie about the folders that plugins export.
func exported(path func(string) string) Lie {
	return Tell(func(_ *introspectionapi.PluginsRequest, a *introspectionapi.PluginsResponse) error {
		for _, p := range a.Plugins {
			for key, folder := range maps.Clone(p.Exports) {
				p.Exports[key] = path(folder)
			}
		}
		return nil
	})
}

// Naming are the lies of a daemon whose snapshots are where m says, and which sees
// one file more each time it is asked.
func Naming(m *types.Mount) map[string]Lie {
	inodes := int64(0)
	lies := prepared(func([]*types.Mount) []*types.Mount { return []*types.Mount{m} })
	lies[MethodUsage] = Tell(func(_ *snapshotsapi.UsageRequest, a *snapshotsapi.UsageResponse) error {
		inodes++
		a.Inodes = inodes
		return nil
	})
	return lies
}

// Turning are the lies of a daemon that says the truth until each of the methods has been
// called so many times. Then its snapshots and its roots are at path, there is a file more
// with each count, and what was active is committed.
func Turning(after int64, path string, methods ...string) map[string]Lie {
	lies := turned(path)
	all := map[string]Lie{}
	for _, method := range methods {
		var calls atomic.Int64
		lie := lies[method]
		all[method] = func(asked, answer []byte) ([]byte, error) {
			if calls.Add(1) <= after {
				return answer, nil
			}
			return lie(asked, answer)
		}
	}
	return all
}

// turned are the lies of Turning once it lies.
func turned(path string) map[string]Lie {
	mounts := func(all []*types.Mount) []*types.Mount {
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
		return all
	}
	lies := prepared(mounts)
	lies[MethodPlugins] = exported(func(string) string { return path })
	lies[MethodMounts] = Tell(func(_ *snapshotsapi.MountsRequest, a *snapshotsapi.MountsResponse) error {
		a.Mounts = mounts(a.Mounts)
		return nil
	})
	lies[MethodUsage] = Tell(func(_ *snapshotsapi.UsageRequest, a *snapshotsapi.UsageResponse) error {
		a.Inodes++
		return nil
	})
	lies[MethodStat] = Tell(func(_ *snapshotsapi.StatSnapshotRequest, a *snapshotsapi.StatSnapshotResponse) error {
		a.Info.Kind = snapshotsapi.Kind_COMMITTED
		return nil
	})
	return lies
}

// Failing is the Lie of a call that has done what was asked and says err.
func Failing(err error) Lie {
	return func(_, _ []byte) ([]byte, error) { return nil, err }
}
