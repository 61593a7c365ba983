package check_test

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/containerd-pull/containerd-pull/pkg/internal/pulltest"
	"github.com/containerd-pull/containerd-pull/pkg/internal/pulltest/testdaemon"
	"github.com/containerd-pull/containerd-pull/pkg/internal/pulltest/testregistry"
	"github.com/containerd-pull/containerd-pull/pkg/internal/pulltest/teststore"
)

// roundsOfDamage is how many rounds this run does: DAMAGE_ROUNDS, or four.
func roundsOfDamage(t *testing.T) int {
	t.Helper()
	text := os.Getenv("DAMAGE_ROUNDS")
	if text == "" {
		return 4
	}
	n, err := strconv.Atoi(text)
	must(t, err)
	return n
}

// several damages two or three parts of a store at once, in the way of a seed. The
// rounds of a run begin with that of the commit, or with DAMAGE_SEED.
func several(t *testing.T, depots []*depot) {
	first := int(commitNumber(t))
	if text := os.Getenv("DAMAGE_SEED"); text != "" {
		var err error
		first, err = strconv.Atoi(text)
		must(t, err)
	}
	for n := range roundsOfDamage(t) {
		d := depots[n%len(depots)]
		seed := first + n
		t.Run(fmt.Sprintf("DAMAGE_SEED=%d %s", seed, d.place.Title), func(t *testing.T) {
			t.Parallel()
			c, hurt := d.hurtSeveral(t, uint64(seed))
			c.mendSeveral(t, hurt)
		})
	}
}

// hurtSeveral damages a copy of the store.
func (d *depot) hurtSeveral(t *testing.T, seed uint64) (c *copied, hurt []row) {
	t.Helper()
	c = d.copy(t)
	random := rand.New(rand.NewPCG(seed, 0))
	all := filter(d.rows(), func(r row) bool {
		return r.damage != teststore.Unreadable && r.damage != failing && (d.place.Version == "" || !r.part.whole)
	})
	for n := 2 + random.IntN(2); len(hurt) < n; {
		r := all[random.IntN(len(all))]
		at, err := filepath.Glob(filepath.Join(c.root, r.part.at))
		must(t, err)
		if len(at) != 1 { // it went with another part
			continue
		}
		t.Log(r.title())
		r.damage.Do(t, at[0], only(t, d.other, d.others[r.number].at))
		hurt = append(hurt, r)
	}
	return c, hurt
}

// mendSeveral pulls: the image is whole then, but for what a pull does not read, or an
// error names one of the damaged parts and what to do. That done, it is.
func (c *copied) mendSeveral(t *testing.T, hurt []row) {
	t.Helper()
	if !c.start(t) {
		t.Fatal("containerd does not start")
	}
	defer c.end(t)
	code, out := c.run(t, c.full("pull"))
	if code != 0 {
		var names []string
		for _, r := range hurt {
			names = append(names, r.part.said...)
		}
		named := slices.ContainsFunc(names, func(name string) bool { return strings.Contains(out, name) })
		if code != 8 && code != 10 || !named || !strings.Contains(out, "hint: ") || strings.Contains(out, "goroutine ") {
			t.Fatalf("got code %d of a pull, want 8 or 10 with one of %q and a hint:\n%s", code, names, out)
		}
		c.putBack(t, hurt)
		if code, again := c.run(t, c.full("pull")); code != 0 {
			t.Fatalf("got code %d of a pull after what was told to do:\n%s\nIt was told:\n%s", code, again, out)
		}
	}
	if code, out := c.run(t, "verify --deep --repair"); code != 0 {
		t.Errorf("got code %d of verify --deep --repair:\n%s", code, out)
	}
	if code, out := c.run(t, deep); code != 0 {
		t.Errorf("got code %d of verify --deep after a repair:\n%s", code, out)
	}
}

// putBack puts the databases back, and folders that came from another root, as the
// hint of a damaged one says.
func (c *copied) putBack(t *testing.T, hurt []row) {
	t.Helper()
	for _, r := range c.parts {
		replaced := slices.ContainsFunc(hurt, func(h row) bool { return h.part.at == r.at && h.damage == teststore.Replaced })
		if !r.whole || r.folder && !replaced {
			continue
		}
		from, to := filepath.Join(c.depot.root, r.at), filepath.Join(c.root, r.at)
		must(t, os.RemoveAll(to))
		copyAll(t, from, to)
	}
}

// containers heals a root of each kind of damage, and boots containerd on it, which
// runs a container.
func containers(t *testing.T, programs *programs, reg *testregistry.Registry) {
	pulltest.Need(t, pulltest.Program("runc"), pulltest.Contents("busybox.tar.gz"))
	d := newDepot(t, programs, teststore.Places()[0], reg, pulltest.NewIndex(pulltest.BusyboxImage(t)), damagedImage("beside"))
	for n, c := range []struct {
		damage        teststore.Damage
		part, command string
	}{
		{teststore.Removed, "folder of a snapshot", "pull"},
		{teststore.Emptied, "`fs` of a snapshot", "pull"},
		{teststore.Halved, "layer", "pull"},
		{teststore.Garbled, "layer", "verify --repair"},
		{teststore.Zeroed, "config", "pull --policy missing"},
		{teststore.Replaced, "index", "pull --policy newer"},
	} {
		t.Run(c.part+" "+string(c.damage), func(t *testing.T) {
			t.Parallel()
			i := slices.IndexFunc(d.parts, func(p part) bool { return p.name == c.part })
			hurt := d.hurt(t, row{i, d.parts[i], c.damage})
			if code, out := hurt.run(t, d.full(c.command)); code != 0 {
				t.Fatalf("got code %d of %s: %s", code, c.command, out)
			}
			boot(t, hurt.root, testdaemon.Versions()[n%2], d.ref)
		})
	}
}

// boot boots containerd on a root, and runs a container.
func boot(t *testing.T, root, version, ref string) {
	t.Helper()
	daemon := testdaemon.Start(t, testdaemon.Options{Version: version, Root: root})
	teststore.WantReady(t, daemon, teststore.Places()[0].Snapshotter, ref)
	got, err := daemon.RunContainer(t.Context(), "default", nil, ref)
	if want := "busybox runs\n"; err != nil || got != want {
		t.Errorf("got %q and %v from the container, want %q", got, err, want)
	}
}
