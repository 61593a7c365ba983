package pull_test

import (
	"bytes"
	"errors"
	"fmt"
	"hash/fnv"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/containerd/containerd/v2/core/images"
	"github.com/containerd/containerd/v2/core/snapshots"
	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/opencontainers/go-digest"

	"github.com/containerd-pull/containerd-pull/pkg/internal/pulltest"
	"github.com/containerd-pull/containerd-pull/pkg/internal/pulltest/testregistry"
	"github.com/containerd-pull/containerd-pull/pkg/internal/pulltest/tree"
	"github.com/containerd-pull/containerd-pull/pkg/store"
)

const (
	clientKills = 50
	// inFlight is what a kill may lose: what the buffers of its connections hold.
	inFlight = 128 << 10
	// killRate is what each layer comes with, in bytes a second: the largest
	// takes a second, so that kills fall everywhere.
	killRate = 3 << 19
)

// manyLayers is an image of several layers of very different sizes.
func manyLayers(t testing.TB) *pulltest.Image {
	t.Helper()
	var spec pulltest.Spec
	for i, size := range []int{1, 1200 << 10, 300 << 10, 1500 << 10, 40 << 10, 900 << 10, 600 << 10} {
		noise := make([]byte, size)
		rand.NewChaCha8([32]byte{byte(i)}).Read(noise) // never fails
		dir := fmt.Sprintf("layer%d", i)
		files := []pulltest.File{pulltest.Directory(dir), pulltest.Regular(dir+"/noise", string(noise))}
		for j := range 50 {
			files = append(files, pulltest.Regular(fmt.Sprintf("%s/%d", dir, j), dir))
		}
		if i > 0 {
			files = append(files, pulltest.Whiteout(fmt.Sprintf("layer%d/7", i-1)))
		}
		spec.Layers = append(spec.Layers, pulltest.NewLayer(pulltest.Gzip, files...))
	}
	return pulltest.NewImage(spec)
}

// built is the command, which all tests share. TestMain removes it.
var built struct {
	once sync.Once
	dir  string
	err  error
}

// build builds the command.
func build(t testing.TB) string {
	t.Helper()
	built.once.Do(func() {
		if built.dir, built.err = os.MkdirTemp("", "built"); built.err != nil {
			return
		}
		if out, err := exec.Command("go", "build", "-o", built.dir, "../../cmd/containerd-pull").CombinedOutput(); err != nil {
			built.err = fmt.Errorf("%w: %s", err, out)
		}
	})
	if built.err != nil {
		t.Fatalf("building the command: %v", built.err)
	}
	return filepath.Join(built.dir, "containerd-pull")
}

// command is a pull of ref by the command.
type command struct {
	*exec.Cmd
	stderr bytes.Buffer
}

// command starts the command on the site, which must not have an embedded root open
// meanwhile.
func (s *site) command(program, ref string, args ...string) *command {
	s.t.Helper()
	if s.daemon == nil {
		s.close()
		args = append(args, "--root", s.root)
	} else {
		args = append(args, "--address", s.daemon.Address)
	}
	args = append(args, "--snapshotter", s.snapshotter, "--plain-http", "--progress", "plain", ref)
	c := &command{Cmd: exec.CommandContext(s.t.Context(), program, args...)}
	c.Stderr = &c.stderr
	if err := c.Start(); err != nil {
		s.t.Fatal(err)
	}
	return c
}

// code waits for the exit code; -1 is a process that was killed.
func (c *command) code(t testing.TB) int {
	t.Helper()
	err := c.Wait()
	if exit, ok := errors.AsType[*exec.ExitError](err); ok {
		return exit.ExitCode()
	}
	if err != nil {
		t.Fatal(err)
	}
	return 0
}

// succeed wants the command to succeed.
func (s *site) succeed(program, ref string) {
	s.t.Helper()
	if c := s.command(program, ref); c.code(s.t) != 0 {
		s.t.Errorf("got %v from a pull that is not disturbed: %s", c.ProcessState, &c.stderr)
	}
}

// state is everything that a pull leaves.
type state struct {
	Records   map[string]images.Image
	Blobs     map[digest.Digest]map[string]string
	Snapshots map[string]snapshots.Info
	Tree      []tree.Entry
}

// state reads the store after pulls of img that began at the time.
func (s *site) state(img *pulltest.Image, began time.Time) state {
	s.t.Helper()
	all := state{Records: map[string]images.Image{}, Blobs: map[digest.Digest]map[string]string{}, Snapshots: s.snapshots()}
	list, err := s.store().Images.List(s.ctx())
	if err != nil {
		s.t.Fatal(err)
	}
	for _, record := range list {
		all.Records[record.Name] = record
	}
	for dgst, info := range s.blobs() {
		all.Blobs[dgst] = info.Labels
	}
	top := img.ChainIDs()[len(img.Layers)-1].String()
	all.Tree = withoutTimesOf(began, s.tree(top))
	return all
}

// same wants the state to be that of an undisturbed pull, and nothing else to
// be there.
func (s *site) same(img *pulltest.Image, began time.Time, want state) {
	s.t.Helper()
	s.noLitter()
	if in := s.ingests(); len(in) > 0 {
		s.t.Errorf("got ingests %+v, want none", in)
	}
	got := s.state(img, began)
	if diff := tree.Diff(got.Tree, want.Tree); diff != "" {
		s.t.Errorf("the tree differs from that of an undisturbed pull: %s", diff)
	}
	ignore := []cmp.Option{
		cmpopts.IgnoreFields(state{}, "Tree"), cmpopts.IgnoreFields(images.Image{}, "CreatedAt", "UpdatedAt"),
		cmpopts.IgnoreFields(snapshots.Info{}, "Created", "Updated"),
	}
	if diff := cmp.Diff(want, got, ignore...); diff != "" {
		s.t.Errorf("the state differs from that of an undisturbed pull (-want +got):\n%s", diff)
	}
}

// undisturbed is the state that a pull leaves in a fresh store of the kind.
func undisturbed(t *testing.T, p place, program, ref string, img *pulltest.Image) state {
	t.Helper()
	s := newSite(t, p)
	began := time.Now()
	s.succeed(program, ref)
	s.noLitter()
	return s.state(img, began)
}

// anew makes the store empty again.
func (s *site) anew(ref string) {
	s.t.Helper()
	if s.daemon == nil {
		s.close()
		s.root = filepath.Join(s.t.TempDir(), "root")
		return
	}
	if err := s.store().Images.Delete(s.ctx(), ref, images.SynchronousDelete()); err != nil {
		s.t.Fatal(err)
	}
	s.empty()
}

// dice are different for each test and the same each time.
func dice(t *testing.T) *rand.Rand {
	seed := fnv.New64a()
	seed.Write([]byte(t.Name())) // never fails
	t.Logf("seed %d", seed.Sum64())
	return rand.New(rand.NewPCG(seed.Sum64(), 0))
}

// upTo is a random time below d.
func upTo(r *rand.Rand, d time.Duration) time.Duration { return time.Duration(r.Int64N(int64(d))) }

// TestKillClient kills the command at random moments. Whatever it leaves, one
// more pull makes it what an undisturbed pull leaves, and little is fetched
// twice.
func TestKillClient(t *testing.T) {
	pulltest.Need(t, pulltest.Root)
	program, img := build(t), manyLayers(t)
	each(t, twoPlaces(), func(t *testing.T, s *site) {
		random := dice(t)
		reg := testregistry.Start(t, testregistry.Options{Behave: slowly(killRate)})
		ref := testregistry.Push(t, reg, "team/app:1", img)
		want := undisturbed(t, s.place, program, ref, img)
		reg.ResetLog()
		pulls := int64(0)
		for kills := 0; kills < clientKills; pulls++ {
			began, early := time.Now(), 0
			for kills < clientKills {
				asked := layerRequests(reg, img)
				c := s.command(program, ref)
				time.Sleep(upTo(random, 450*time.Millisecond))
				c.Process.Kill() // fails where it has ended
				if code := c.code(t); code == 0 {
					break
				} else if code != -1 {
					t.Fatalf("got %v before it was killed: %s", c.ProcessState, &c.stderr)
				}
				kills++
				early++
				if layerRequests(reg, img) > asked {
					early = 0
				}
				if random.IntN(3) == 0 {
					s.fewLeases(early)
				}
			}
			s.succeed(program, ref)
			s.same(img, began, want)
			s.anew(ref)
		}
		if got, want := reg.BlobBytes(), pulls*total(img)+clientKills*inFlight; got > want {
			t.Errorf("got %d bytes served for %d pulls and %d kills, want at most %d", got, pulls, clientKills, want)
		}
	})
}

// fewLeases wants leases not to pile up: a pull has one, and takes over those
// before it ahead of its first layer. Each of the early kills before that leaves
// one more, and so may a kill whose last request the registry took late.
func (s *site) fewLeases(early int) {
	s.t.Helper()
	if all := s.leases(); len(all) > 2+early {
		s.t.Errorf("got leases %+v after %d kills before the first layer, want one, and one for each of these", all, early)
	}
}

// layerRequests counts what the registry was asked of the layers of img.
func layerRequests(reg *testregistry.Registry, img *pulltest.Image) int {
	count := 0
	for _, layer := range img.Layers {
		count += reg.BlobGets()[layer.Digest]
	}
	return count
}

// TestKillDaemon kills the daemon at random moments of a pull, and starts it
// again soon, or when the pull has given up.
func TestKillDaemon(t *testing.T) {
	pulltest.Need(t, pulltest.Root)
	program, img := build(t), manyLayers(t)
	kills := map[string]int{"2.4": 10, "1.7": 10, "1.6": 4} // of the daemon of each version
	each(t, daemons("2.4", "1.7", "1.6"), func(t *testing.T, s *site) {
		random := dice(t)
		reg := testregistry.Start(t, testregistry.Options{Behave: slowly(killRate)})
		ref := testregistry.Push(t, reg, "team/app:1", img)
		want := undisturbed(t, s.place, program, ref, img)
		for i := range kills[s.version] {
			began := time.Now()
			reg.ResetLog()
			s.killDaemon(program, ref, reg, random, i%4 == 3)
			s.honest(ref, img)
			s.succeed(program, ref)
			s.same(img, began, want)
			if t.Failed() {
				t.Fatalf("after kill %d", i+1)
			}
			s.anew(ref)
		}
	})
}

// killDaemon wants a pull to survive the death of its daemon, or to say that it
// has none. Until the registry is asked, the command may still be looking for
// a daemon, and does not wait for one that was never there.
func (s *site) killDaemon(program, ref string, reg *testregistry.Registry, random *rand.Rand, away bool) {
	s.t.Helper()
	s.close()
	wait := "10s"
	if away {
		wait = "500ms"
	}
	c := s.command(program, ref, "--connect-timeout", wait)
	for start := time.Now(); len(reg.Requests()) == 0 && time.Since(start) < time.Minute; {
		time.Sleep(time.Millisecond)
	}
	time.Sleep(upTo(random, 1500*time.Millisecond))
	if err := s.daemon.Kill(); err != nil {
		s.t.Fatal(err)
	}
	code := -1
	if away {
		code = c.code(s.t)
	} else {
		time.Sleep(upTo(random, 300*time.Millisecond))
	}
	if err := s.daemon.Start(s.t.Context()); err != nil {
		s.t.Fatal(err)
	}
	if !away {
		code = c.code(s.t)
	}
	if code != 0 && code != 3 {
		s.t.Errorf("got exit code %d, want 0 or 3: %s", code, &c.stderr)
	}
	if code == 3 && !away {
		s.t.Errorf("got no success although the daemon was back: %s", &c.stderr)
	}
	if code == 0 && s.image(ref) == nil {
		s.t.Error("got success without a record")
	}
}

// honest wants a record, if there is one, to have everything that it promises.
func (s *site) honest(ref string, img *pulltest.Image) {
	s.t.Helper()
	if s.image(ref) == nil {
		return
	}
	found, err := s.store().Survey(s.ctx(), store.Wanted{Chains: [][]digest.Digest{img.ChainIDs()}})
	if err != nil {
		s.t.Error(err)
	}
	for id, sn := range found.Snapshots {
		if !sn.IsThere() {
			s.t.Errorf("got a record without its snapshot %s: %+v", id, sn)
		}
	}
	have := s.blobs()
	for _, b := range append(img.Blobs(), pulltest.NewBlob(img.Raw)) {
		if _, there := have[b.Digest]; !there {
			s.t.Errorf("got a record without its blob %s", b.Digest)
		}
	}
}

// TestSignalsDuringPull interrupts the command at random moments.
func TestSignalsDuringPull(t *testing.T) {
	pulltest.Need(t, pulltest.Root)
	program, img := build(t), manyLayers(t)
	codes := map[syscall.Signal]int{syscall.SIGINT: 130, syscall.SIGTERM: 143, syscall.SIGHUP: 143}
	each(t, twoPlaces(), func(t *testing.T, s *site) {
		random := dice(t)
		reg := testregistry.Start(t, testregistry.Options{Behave: slowly(killRate)})
		ref := testregistry.Push(t, reg, "team/app:1", img)
		want := undisturbed(t, s.place, program, ref, img)
		reg.ResetLog()
		began := time.Now()
		for signal, code := range codes {
			asked := len(reg.Requests())
			c := s.command(program, ref)
			if err := reg.Await(t.Context(), asked+1); err != nil {
				t.Fatal(err)
			}
			time.Sleep(upTo(random, 200*time.Millisecond))
			sent := time.Now()
			if err := c.Process.Signal(signal); err != nil {
				t.Fatal(err)
			}
			if got := c.code(t); got != code || time.Since(sent) > 2*time.Second {
				t.Errorf("got exit code %d in %s after %s, want %d within 2 s: %s", got, time.Since(sent), signal, code, &c.stderr)
			}
			s.noActive()
			if all := s.leases(); len(all) > 1 {
				t.Errorf("got leases %+v, want at most one", all)
			}
		}
		s.succeed(program, ref)
		s.same(img, began, want)
		if got, want := reg.BlobBytes(), total(img)*13/10; got > want {
			t.Errorf("got %d bytes served in total, want at most %d", got, want)
		}
	})
}
