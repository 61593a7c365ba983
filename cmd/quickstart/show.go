//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"slices"

	"github.com/opencontainers/go-digest"

	"github.com/containerd-pull/containerd-pull/pkg/pull"
	"github.com/containerd-pull/containerd-pull/pkg/sample"
	"github.com/containerd-pull/containerd-pull/pkg/store"
)

// treeRows is the number of files to show.
const treeRows = 20

// show prints what the pull left: the record with its labels, the blobs with
// theirs, the chain ID and the tree of its snapshot.
func (s *story) show(ctx context.Context, st *store.Store, res *pull.Result) error {
	img, err := st.Image(ctx, res.Name)
	if err != nil {
		return err
	}
	if img == nil {
		return fmt.Errorf("image record of %s is missing", res.Name)
	}
	s.printf("\nLabels that begin with containerd.io/gc. are for containerd's garbage collection: it\n" +
		"keeps what a label of something that it keeps names, beginning with image records.\n")
	s.printf("\nThe image record\n  %s\n  -> %s\n", img.Name, img.Target.Digest)
	s.labels(img.Labels)
	for _, p := range res.Platforms {
		s.printf("\nPlatform %s/%s\n", p.Platform.OS, p.Platform.Architecture)
		for _, blob := range []struct {
			name string
			dgst digest.Digest
		}{{"index", img.Target.Digest}, {"manifest", p.Manifest}, {"config", p.Config}} {
			if err := s.blob(ctx, st, blob.name, blob.dgst); err != nil {
				return err
			}
		}
		if err := s.tree(ctx, st, p.ChainID); err != nil {
			return err
		}
	}
	return nil
}

func (s *story) labels(labels map[string]string) {
	for _, key := range slices.Sorted(maps.Keys(labels)) {
		s.printf("      %s=%s\n", key, labels[key])
	}
}

// blob prints the labels of a blob: they keep it, and what it refers to, from
// containerd's garbage collection.
func (s *story) blob(ctx context.Context, st *store.Store, name string, dgst digest.Digest) error {
	info, err := st.Content.Info(ctx, dgst)
	if err != nil {
		return fmt.Errorf("reading the labels of %s %s: %w", name, dgst, err)
	}
	s.printf("  %-8s %s\n", name, dgst)
	s.labels(info.Labels)
	return nil
}

// tree prints the top of the unpacked tree.
func (s *story) tree(ctx context.Context, st *store.Store, chainID digest.Digest) error {
	entries, err := readSnapshot(ctx, st, chainID)
	if err != nil {
		return err
	}
	s.printf("  chain ID %s\n\nThe tree of that snapshot\n", chainID)
	for _, e := range entries[:min(len(entries), treeRows)] {
		s.printf("  %s %9d  %s\n", fileMode(e), e.Size, name(e))
	}
	if more := len(entries) - treeRows; more > 0 {
		s.printf("  and %d more\n", more)
	}
	return nil
}

// readSnapshot reads a committed snapshot through a view.
func readSnapshot(ctx context.Context, st *store.Store, chainID digest.Digest) (entries []sample.Entry, err error) {
	const key = "quickstart-view"
	mounts, err := st.Snapshotter.View(ctx, key, chainID.String())
	if err != nil {
		return nil, fmt.Errorf("viewing snapshot %s: %w", chainID, err)
	}
	defer func() { err = errors.Join(err, st.Snapshotter.Remove(ctx, key)) }()
	return sample.Tree(ctx, mounts)
}

func name(e sample.Entry) string {
	switch {
	case e.Target != "":
		return e.Path + " -> " + e.Target
	case e.LinkedTo != "":
		return e.Path + " = " + e.LinkedTo
	}
	return e.Path
}

// fileMode converts a mode of stat(2) into Go's notation, for printing.
func fileMode(e sample.Entry) fs.FileMode {
	const typeMask, directory, link = 0o170000, 0o040000, 0o120000
	mode := fs.FileMode(e.Mode).Perm()
	switch e.Mode & typeMask {
	case directory:
		mode |= fs.ModeDir
	case link:
		mode |= fs.ModeSymlink
	}
	return mode
}

// next prints commands that work on this machine after this run.
func (s *story) next() {
	s.printf("\nTry next (the first go run of a program builds it, with its modules, which takes a while)\n")
	if !s.serve {
		s.command("go run ./cmd/quickstart --serve", "the same, and the registry stays for pulls of your own")
	}
	if s.serve {
		s.command(s.asRoot()+"go run ./cmd/containerd-pull --root "+s.root()+" --snapshotter "+s.snapshotter+" "+s.ref.Name,
			"in another terminal: up to date")
		s.command(s.asRoot()+"go run ./cmd/containerd-pull --root "+s.dir+"/other --snapshotter "+s.snapshotter+
			" --platform linux/arm64 "+s.ref.Name, "another platform into another root")
	}
	if !s.keep {
		s.command("go run ./cmd/quickstart --keep", "the same, and the folder stays to look around")
	}
	if _, err := exec.LookPath("containerd"); err == nil && (s.keep || s.serve) && os.Getenv(namespaceMark) == "" {
		s.command("containerd --root "+s.root()+" --state "+s.dir+"/state --address "+s.dir+"/containerd.sock", "a daemon takes over")
		s.command("ctr --address "+s.dir+"/containerd.sock images ls", "and finds the image")
	}
	s.command("go run ./cmd/containerd-pull --help", "everything else")
	if s.serve {
		s.printf("\nCtrl-C ends the registry.\n")
	}
}

func (s *story) command(line, what string) { s.printf("  %s\n      %s\n", line, what) }

// asRoot returns what an ordinary user types before a command that unpacks.
func (s *story) asRoot() string {
	if os.Getenv(namespaceMark) == "" {
		return ""
	}
	return "unshare --map-root-user --mount "
}
