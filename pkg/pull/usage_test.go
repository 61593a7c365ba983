package pull_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/containerd/continuity/fs"

	"github.com/containerd-pull/containerd-pull/pkg/internal/pulltest"
	"github.com/containerd-pull/containerd-pull/pkg/internal/pulltest/testregistry"
)

// TestUsage: the snapshots of an embedded root take up what containerd finds in
// their folders, and a daemon that is started on the root says the same.
func TestUsage(t *testing.T) {
	kinds := map[string]func(t *testing.T, dir string){
		"any":   func(*testing.T, string) {},
		"tmpfs": func(t *testing.T, dir string) { mountAt(t, dir, "") },
		"ext4":  func(t *testing.T, dir string) { mountExt4(t, dir, 8<<20) },
	}
	reg := testregistry.Start(t, testregistry.Options{})
	ref := testregistry.Push(t, reg, "team/small:1", small(t, "usage", pulltest.Gzip, pulltest.Spec{}))
	for name, mount := range kinds {
		t.Run(name, func(t *testing.T) {
			s := newSite(t, places()[0])
			s.root = t.TempDir()
			mount(t, s.root)
			s.mustPull(ref)
			want := s.usages()
			d := s.boot("2.4")
			for name, u := range want {
				_, line, _ := strings.Cut(d.Ctr(t, "snapshots", "usage", "-b", name), "\n")
				if got, want := strings.Fields(line), fmt.Sprint([]any{name, u.Size, u.Inodes}); fmt.Sprint(got) != want {
					t.Errorf("got usage %v from containerd, want %s", got, want)
				}
			}
		})
	}
}

// usages are those of all snapshots, which must be what is in their folders.
func (s *site) usages() map[string]fs.Usage {
	s.t.Helper()
	all := map[string]fs.Usage{}
	for name := range s.snapshots() {
		dirs, err := s.store().Lowers(s.ctx(), name)
		if err != nil {
			s.t.Fatal(err)
		}
		want, err := fs.DiskUsage(s.t.Context(), dirs[0].Name())
		if err != nil {
			s.t.Fatal(err)
		}
		usage, err := s.store().Snapshotter.Usage(s.ctx(), name)
		if err != nil {
			s.t.Fatal(err)
		}
		if got := fs.Usage(usage); got != want {
			s.t.Errorf("got usage %+v of snapshot %s, want %+v as in its folder", got, name, want)
		}
		all[name] = want
	}
	if len(all) == 0 {
		s.t.Error("got no snapshots, want some")
	}
	return all
}
