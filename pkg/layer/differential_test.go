package layer_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	oracle "github.com/containerd/containerd/v2/pkg/archive"
	"github.com/containerd/log"
	"github.com/google/go-cmp/cmp"
	"github.com/sirupsen/logrus"

	"github.com/containerd-pull/containerd-pull/pkg/layer"
)

// sample returns the names of cases in order: all, or with -short a few.
func sample[C any](cases map[string]C) (names []string) {
	for i, name := range slices.Sorted(maps.Keys(cases)) {
		if i%20 == 0 || !testing.Short() {
			names = append(names, name)
		}
	}
	return names
}

// needRoot skips what an ordinary user cannot do: owners, devices, trusted
// extended attributes.
func needRoot(t testing.TB) {
	t.Helper()
	if os.Geteuid() == 0 {
		return
	}
	if os.Getenv("CI") == "true" {
		t.Fatal("this test must run as root")
	}
	t.Skip("owners, devices and trusted extended attributes need root")
}

// setting is a situation in which containerd applies layers.
type setting int

const (
	first   setting = iota // the first layer, or any other of the native snapshotter
	upper                  // an overlay's upper directory, with the layers below at hand
	topless                // the same, prepared without the layers below
)

var settings = map[string]setting{"in place": first, "overlay": upper, "overlay without parent": topless}

type applyFunc func(context.Context, string, io.Reader, layer.Options) (layer.Result, error)

var appliers = map[string]applyFunc{"openat2": layer.ApplyTo, "walking": layer.ApplyByWalking}

// stage is a folder with the root of a layer among files that must not change.
type stage struct {
	dir  string
	root string
}

func newStage(t testing.TB) stage {
	t.Helper()
	s := stage{dir: t.TempDir()}
	s.root = filepath.Join(s.dir, "deep", "root")
	for _, d := range []string{s.root, filepath.Join(s.dir, "canary", "dir")} {
		if err := os.MkdirAll(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range []string{"canary/file", "deep/canary", "canary/dir/x"} {
		if err := os.WriteFile(filepath.Join(s.dir, name), []byte("do not touch"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return s
}

// around describes the stage except the root.
func (s stage) around(t testing.TB) map[string]inode {
	t.Helper()
	all := snapshot(t, s.dir, time.Now().Add(time.Hour))
	for name := range all {
		if rel, err := filepath.Rel("./deep/root", name); err == nil && filepath.IsLocal(rel) {
			delete(all, name)
		}
	}
	return all
}

// applyOracle applies data as containerd does, without its log.
func applyOracle(t testing.TB, root string, r io.Reader, opts ...oracle.ApplyOpt) error {
	t.Helper()
	silent := logrus.New()
	silent.SetOutput(io.Discard)
	_, err := oracle.Apply(log.WithLogger(t.Context(), logrus.NewEntry(silent)), root, r, opts...)
	return err
}

// scene is what a layer is applied to: in place over the layers below, which
// are first in the list, or on top of them.
type scene struct {
	start  time.Time
	below  [][]byte
	set    setting
	lowers []string // nearest first
}

func newScene(t testing.TB, set setting, below ...[]byte) *scene {
	t.Helper()
	sc := &scene{start: time.Now(), below: below, set: set}
	if set != upper {
		return sc
	}
	for _, data := range below {
		root := t.TempDir()
		if err := applyOracle(t, root, bytes.NewReader(data), sc.oracleOptions()...); err != nil {
			t.Fatalf("preparing the layers below: %v", err)
		}
		sc.lowers = append([]string{root}, sc.lowers...)
	}
	return sc
}

func (sc *scene) oracleOptions() []oracle.ApplyOpt {
	if sc.set == first {
		return nil
	}
	opts := []oracle.ApplyOpt{oracle.WithConvertWhiteout(oracle.OverlayConvertWhiteout)}
	if len(sc.lowers) > 0 {
		opts = append(opts, oracle.WithParents(sc.lowers))
	}
	return opts
}

// prepare makes the stage for one run.
func (sc *scene) prepare(t testing.TB) stage {
	t.Helper()
	s := newStage(t)
	if sc.set != first {
		return s
	}
	for _, data := range sc.below {
		if err := applyOracle(t, s.root, bytes.NewReader(data)); err != nil {
			t.Fatalf("preparing the layers below: %v", err)
		}
	}
	return s
}

// outcome of one run: a tree or an error.
type outcome struct {
	tree map[string]inode
	err  error
	read int // bytes of the archive, if there was an error
}

func (sc *scene) oracle(t testing.TB, data []byte) outcome {
	t.Helper()
	s := sc.prepare(t)
	r := bytes.NewReader(data)
	if err := applyOracle(t, s.root, r, sc.oracleOptions()...); err != nil {
		return outcome{err: err, read: len(data) - r.Len()}
	}
	return outcome{tree: snapshot(t, s.root, sc.start)}
}

// apply applies data to what maker makes and fails the test if anything outside the
// root changes. Where there are layers below, it knows them from the beginning or is
// told of them afterwards.
func (sc *scene) apply(t testing.TB, maker func(testing.TB, *scene, stage) target, inOrder bool, data []byte) outcome {
	t.Helper()
	s := sc.prepare(t)
	before := s.around(t)
	to := maker(t, sc, s)
	var res layer.Result
	err := layer.WithFolders(sc.lowers, func(below []*os.File) (err error) {
		lowers := to.lowers(below)
		o := layer.Options{Whiteouts: sc.whiteouts()}
		if inOrder {
			o.Lowers = lowers
		}
		res, err = layer.Apply(t.Context(), to.sys, bytes.NewReader(data), o)
		if err != nil {
			return err
		}
		made := to.finish()
		if !inOrder {
			err = layer.Inherit(made, lowers, res.Implicit)
		}
		return err
	})
	if errors.Is(err, layer.ErrOrder) {
		return sc.apply(t, maker, true, data)
	}
	if diff := cmp.Diff(before, s.around(t)); diff != "" {
		t.Errorf("changes outside the root (-before +after):\n%s", diff)
	}
	if err != nil {
		return outcome{err: err}
	}
	root := to.show()
	checkUsage(t, root, res.Usage)
	if res.Bytes != int64(len(data)) {
		t.Errorf("got %d bytes read, want %d", res.Bytes, len(data))
	}
	return outcome{tree: snapshot(t, root, sc.start)}
}

func (sc *scene) whiteouts() layer.Whiteouts {
	if sc.set == first {
		return layer.InPlace
	}
	return layer.Overlay
}

// compare describes how got differs from want, and returns "" if it does not.
func compare(want, got outcome) string {
	switch {
	case want.err != nil && got.err != nil:
		return ""
	case want.err != nil || got.err != nil:
		return fmt.Sprintf("got error %v, want error %v", got.err, want.err)
	}
	return cmp.Diff(want.tree, got.tree)
}

// isException recognizes what containerd refuses and Apply takes on purpose: an
// archive that only the layers below make it refuse. In one of them there is a
// file, or a link that leads nowhere, where the archive has directories that it
// does not list. An upper layer may well replace that. containerd gives up when
// it looks for the attributes of the second such directory; in its own parallel
// unpack, where it does not look, it takes the archive as well.
//
// Not met by these tests: names longer than 4095 bytes only together with that
// of the root; links that containerd looks up outside the root on its way to a
// name that is inside again.
func (sc *scene) isException(t testing.TB, data []byte) bool {
	t.Helper()
	return sc.set == upper && newScene(t, topless).oracle(t, data).err == nil
}

// check holds every applier in the setting against the oracle, and returns the
// oracle's error and how much it had read by then.
func (sc *scene) check(t testing.TB, data []byte) (read int, err error) {
	t.Helper()
	want := sc.oracle(t, data)
	exception := want.err != nil && sc.isException(t, data)
	orders := []bool{false}
	if len(sc.lowers) > 0 { // otherwise it is the same
		orders = []bool{false, true}
	}
	for name, maker := range makers {
		for _, inOrder := range orders {
			got := sc.apply(t, maker, inOrder, data)
			if exception && got.err == nil {
				continue
			}
			if diff := compare(want, got); diff != "" {
				t.Errorf("%s, in order %t (-containerd +Apply):\n%s", name, inOrder, diff)
			}
		}
	}
	return want.read, want.err
}
