package check_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/containerd/containerd/v2/core/content"
	"github.com/google/go-cmp/cmp"
	"github.com/opencontainers/go-digest"
	"golang.org/x/sys/unix"

	"github.com/containerd-pull/containerd-pull/pkg/check"
	"github.com/containerd-pull/containerd-pull/pkg/internal/pulltest"
	"github.com/containerd-pull/containerd-pull/pkg/internal/pulltest/testregistry"
	"github.com/containerd-pull/containerd-pull/pkg/internal/pulltest/teststore"
	"github.com/containerd-pull/containerd-pull/pkg/pull"
)

// damage is one thing that happens to an image, and what is to be found.
type damage struct {
	name string
	deep bool
	do   func(s *site, img *pulltest.Image, amd64 *pulltest.Image)
	want check.Kind
	at   func(img, amd64 *pulltest.Image) digest.Digest
	path string
}

func target(img, _ *pulltest.Image) digest.Digest { return img.Desc.Digest }
func manifest(_, m *pulltest.Image) digest.Digest { return m.Desc.Digest }
func config(_, m *pulltest.Image) digest.Digest   { return m.Config.Digest }
func layer(n int) func(_, m *pulltest.Image) digest.Digest {
	return func(_, m *pulltest.Image) digest.Digest { return m.Layers[n].Digest }
}
func chain(n int) func(_, m *pulltest.Image) digest.Digest {
	return func(_, m *pulltest.Image) digest.Digest { return m.ChainIDs()[n] }
}

// onBlob damages the file of a blob.
func onBlob(at func(img, m *pulltest.Image) digest.Digest, edit func([]byte) []byte) func(*site, *pulltest.Image, *pulltest.Image) {
	return func(s *site, img, m *pulltest.Image) { spoil(s.t, s.blob(at(img, m)), edit) }
}

// gone removes the file of a blob, and leaves its record.
func gone(at func(img, m *pulltest.Image) digest.Digest) func(*site, *pulltest.Image, *pulltest.Image) {
	return func(s *site, img, m *pulltest.Image) { must(s.t, os.Remove(s.blob(at(img, m)))) }
}

func deleted(at func(img, m *pulltest.Image) digest.Digest) func(*site, *pulltest.Image, *pulltest.Image) {
	return func(s *site, img, m *pulltest.Image) { must(s.t, s.Content.Delete(s.ctx(), at(img, m))) }
}

// unlabelled removes a label of a blob.
func unlabelled(at func(img, m *pulltest.Image) digest.Digest, key func(*site) string, value string) func(*site, *pulltest.Image, *pulltest.Image) {
	return func(s *site, img, m *pulltest.Image) {
		s.t.Helper()
		dgst, key := at(img, m), key(s)
		info, err := s.Content.Info(s.ctx(), dgst)
		if err != nil {
			s.t.Fatal(err)
		}
		if info.Labels[key] == "" {
			s.t.Fatalf("got labels %v of %s, want %s", info.Labels, dgst, key)
		}
		if _, err := s.Content.Update(s.ctx(), content.Info{Digest: dgst, Labels: map[string]string{key: value}}, "labels."+key); err != nil {
			s.t.Fatal(err)
		}
	}
}

func named(key string) func(*site) string { return func(*site) string { return key } }

func snapshotLabel(s *site) string { return "containerd.io/gc.ref.snapshot." + s.Name }

// onFile damages a file in the folder of the snapshot of layer n.
func onFile(n int, path string, do func(path string) error) func(*site, *pulltest.Image, *pulltest.Image) {
	return func(s *site, _, m *pulltest.Image) {
		s.t.Helper()
		must(s.t, do(filepath.Join(s.folder(m, n), path)))
	}
}

func damages() []damage {
	half := func(p []byte) []byte { return p[:len(p)/2] }
	return []damage{
		{name: "bit of a layer", do: onBlob(layer(1), flip), want: check.Corrupt, at: layer(1)},
		{name: "bit of the config", do: onBlob(config, flip), want: check.Corrupt, at: config},
		{name: "bit of the manifest", do: onBlob(manifest, flip), want: check.Corrupt, at: manifest},
		{name: "bit of the index", do: onBlob(target, flip), want: check.Corrupt, at: target},
		{name: "truncated layer", do: onBlob(layer(0), half), want: check.Corrupt, at: layer(0)},
		{name: "empty layer", do: onBlob(layer(0), func([]byte) []byte { return nil }), want: check.Corrupt, at: layer(0)},
		{name: "longer manifest", do: onBlob(manifest, func(p []byte) []byte { return append(p, '\n') }), want: check.Corrupt, at: manifest},
		{name: "file of a layer gone", do: gone(layer(2)), want: check.Missing, at: layer(2)},
		{name: "file of the config gone", do: gone(config), want: check.Missing, at: config},
		{name: "manifest deleted", do: deleted(manifest), want: check.Missing, at: manifest},
		{name: "index deleted", do: deleted(target), want: check.Missing, at: target},
		{name: "label of the index for its manifest", do: unlabelled(target, named("containerd.io/gc.ref.content.m.0"), ""), want: check.Label, at: target},
		{name: "label of the manifest for its config", do: unlabelled(manifest, named("containerd.io/gc.ref.content.config"), ""), want: check.Label, at: manifest},
		{name: "label of the manifest for a layer", do: unlabelled(manifest, named("containerd.io/gc.ref.content.l.1"), ""), want: check.Label, at: manifest},
		{name: "label of the config for its snapshot", do: unlabelled(config, snapshotLabel, ""), want: check.Label, at: config},
		{name: "wrong label of the config for its snapshot", do: unlabelled(config, snapshotLabel, "sha256:none"), want: check.Label, at: config},
		{name: "wrong diff ID of a layer", do: unlabelled(layer(1), named("containerd.io/uncompressed"), "sha256:none"), want: check.Label, at: layer(1)},
		{name: "snapshot removed", do: func(s *site, _, m *pulltest.Image) {
			must(s.t, s.Snapshotter.Remove(s.ctx(), m.ChainIDs()[2].String()))
		}, want: check.Snapshot, at: chain(2)},
		{name: "folder gone", deep: true, do: func(s *site, _, m *pulltest.Image) { must(s.t, os.RemoveAll(s.folder(m, 1))) }, want: check.Snapshot, at: chain(1)},
		{name: "file changed", deep: true, path: "/etc/passwd", want: check.Tree, at: chain(0),
			do: func(s *site, _, m *pulltest.Image) { spoil(s.t, filepath.Join(s.folder(m, 0), "etc/passwd"), flip) }},
		{name: "file grown", deep: true, path: "/etc/release", want: check.Tree, at: chain(2),
			do: onFile(2, "etc/release", func(path string) error { return os.WriteFile(path, []byte("longer than before"), 0) })},
		{name: "file removed", deep: true, path: "/usr/bin/sh", want: check.Tree, at: chain(1), do: onFile(1, "usr/bin/sh", os.Remove)},
		{name: "file added", deep: true, path: "/usr/bin/new", want: check.Tree, at: chain(1),
			do: onFile(1, "usr/bin/new", func(path string) error { return os.WriteFile(path, []byte("x"), 0o755) })},
		{name: "mode of a file", deep: true, path: "/usr/bin/su", want: check.Tree, at: chain(1),
			do: onFile(1, "usr/bin/su", func(path string) error { return os.Chmod(path, 0o755) })},
		{name: "mode of a directory", deep: true, path: "/etc", want: check.Tree, at: chain(0),
			do: onFile(0, "etc", func(path string) error { return os.Chmod(path, 0o700) })},
		{name: "owner", deep: true, path: "/home/user/notes", want: check.Tree, at: chain(2),
			do: onFile(2, "home/user/notes", func(path string) error { return os.Lchown(path, 0, 1000) })},
		{name: "capability", deep: true, path: "/usr/bin/serve", want: check.Tree, at: chain(1),
			do: onFile(1, "usr/bin/serve", func(path string) error { return unix.Lremovexattr(path, "security.capability") })},
		{name: "attribute added", deep: true, path: "/usr/bin/serve", want: check.Tree, at: chain(1),
			do: onFile(1, "usr/bin/serve", func(path string) error { return unix.Lsetxattr(path, "user.x", []byte("y"), 0) })},
		{name: "link", deep: true, path: "/usr/bin/sh", want: check.Tree, at: chain(1),
			do: onFile(1, "usr/bin/sh", func(path string) error { _ = os.Remove(path); return os.Symlink("/bin/other", path) })},
		{name: "type", deep: true, path: "/run/fifo", want: check.Tree, at: chain(1),
			do: onFile(1, "run/fifo", func(path string) error { _ = os.Remove(path); return os.WriteFile(path, nil, 0o600) })},
		{name: "hard link", deep: true, path: "/usr/bin/tool2", want: check.Tree, at: chain(1),
			do: onFile(1, "usr/bin/tool2", func(path string) error {
				_ = os.Remove(path)
				return os.WriteFile(path, []byte("#!/bin/sh\n"), 0o755)
			})},
	}
}

// TestDamage does one thing after the other to an image, wants it to be found
// and nothing else, repairs it and wants nothing to be found any more.
func TestDamage(t *testing.T) {
	img := pulltest.MultiPlatform(pulltest.Gzip)
	m := img.Children[0]
	each(t, teststore.Places(), func(t *testing.T, s *site) {
		reg := testregistry.Start(t, testregistry.Options{})
		ref := testregistry.Push(t, reg, "team/app:1", img)
		s.pull(ref)
		s.whole(true, ref)
		s.keepAll()
		for _, d := range damages() {
			// A daemon does not show what follows the bytes that it knows of.
			if d.name == "longer manifest" && s.daemon != nil {
				continue
			}
			ok := t.Run(d.name, func(t *testing.T) { s.in(t).damage(d, ref, img, m) })
			if !ok {
				return // what follows would fail for the same reason
			}
		}
	})
}

func (s *site) damage(d damage, ref string, img, m *pulltest.Image) {
	s.t.Helper()
	d.do(s, img, m)
	report := s.check(d.deep, ref)
	found := false
	for _, f := range report.Findings {
		if f.Kind == d.want && f.Digest == d.at(img, m) && (d.path == "" || f.Path == d.path) {
			found = true
			s.t.Logf("%s %s%s: %s", f.Kind, f.Digest, f.Path, f.Message)
			continue
		}
		if d.name != "hard link" || f.Path != "/usr/bin/tool" { // which has one name less
			s.t.Errorf("got finding %s %s%s: %s as well", f.Kind, f.Digest, f.Path, f.Message)
		}
	}
	if !found {
		s.t.Errorf("got findings %+v, want %s of %s%s", report.Findings, d.want, d.at(img, m), d.path)
	}
	before := s.images(ref)
	repaired := s.repair(d.deep, ref)[0]
	for _, f := range repaired.Findings {
		s.t.Errorf("got finding %s %s%s: %s after the repair: %s", f.Kind, f.Digest, f.Path, f.Message, f.Unrepaired)
	}
	if len(repaired.Repaired) == 0 {
		s.t.Error("got nothing repaired")
	}
	if diff := cmp.Diff(before, s.images(ref)); diff != "" {
		s.t.Errorf("the record changed (-before +after):\n%s", diff)
	}
	s.whole(true, ref)
	s.ready(ref)
}

// TestNoDamage finds nothing wrong with images that lack what they need not
// have.
func TestNoDamage(t *testing.T) {
	img := pulltest.MultiPlatform(pulltest.Gzip)
	each(t, teststore.Places(), func(t *testing.T, s *site) {
		reg := testregistry.Start(t, testregistry.Options{})
		for name, edit := range map[string]func(*pull.Request){
			"plain": func(*pull.Request) {}, "discard": func(r *pull.Request) { r.DiscardLayers = true },
			"skip":   func(r *pull.Request) { r.SkipMetadata = true },
			"fetch":  func(r *pull.Request) { r.Unpack = pull.UnpackNever },
			"all":    func(r *pull.Request) { r.AllPlatforms = true },
			"daemon": func(r *pull.Request) { r.Engine = pull.EngineDaemon },
		} {
			if name == "daemon" && s.daemon == nil {
				continue
			}
			ref := testregistry.Push(t, reg, "team/"+name+":1", variant(t, img, name))
			s.pull(ref, edit)
			report := s.check(false, ref)
			for _, f := range report.Findings {
				t.Errorf("%s: got finding %s %s: %s, want none", name, f.Kind, f.Digest, f.Message)
			}
			if name != "discard" {
				s.whole(true, ref)
			}
		}
	})
}

// variant is the multi-platform image of other layers.
func variant(t testing.TB, img *pulltest.Image, seed string) *pulltest.Image {
	t.Helper()
	var children []*pulltest.Image
	for _, c := range img.Children[:2] {
		children = append(children, pulltest.SmallVariant(pulltest.Spec{Platform: *c.Desc.Platform}, pulltest.Gzip, seed+c.Desc.Platform.Architecture))
	}
	return pulltest.NewIndex(append(children, img.Children[2])...)
}
