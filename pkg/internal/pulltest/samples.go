package pulltest

import (
	"archive/tar"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// capNetBind is security.capability in its second version, little endian:
// CAP_NET_BIND_SERVICE, permitted and effective.
const capNetBind = "\x01\x00\x00\x02\x00\x04\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00"

// SmallImage has a few layers that together hold what a layer can hold:
// whiteouts, an opaque directory, links of both kinds, set-uid, xattrs, a
// device, a FIFO, owners, and a directory that only its content names.
func SmallImage(c Compression) *Image {
	return SmallVariant(Spec{}, c, "small")
}

// SmallVariant is the small image with what s says beside its layers, commands
// and labels. Variants of different seeds share no layer.
func SmallVariant(s Spec, c Compression, seed string) *Image {
	for _, files := range smallLayers(seed) {
		s.Layers = append(s.Layers, NewLayer(c, files...))
	}
	s.Command = []string{"/bin/hello"}
	s.Env = []string{"PATH=/usr/bin:/bin", "SEED=" + seed}
	s.Labels = map[string]string{"org.example.seed": seed}
	return NewImage(s)
}

func smallLayers(seed string) [][]File {
	owned := Regular("home/user/notes", "notes of "+seed)
	owned.UID, owned.GID, owned.Mode = 1000, 1000, 0o600
	tmp := Directory("tmp")
	tmp.Mode = 0o1777
	setuid := Executable("usr/bin/su", "#!/bin/sh\nid -u\n")
	setuid.Mode = 0o4755
	capable := Executable("usr/bin/serve", "#!/bin/sh\n")
	capable.Xattrs = map[string]string{"security.capability": capNetBind, "user.origin": "pulltest"}
	// A hard link's header is applied to the file, so it repeats the mode. The
	// file has no capabilities: they do not survive that the owner is set again.
	twin := Hardlink("usr/bin/tool2", "usr/bin/tool")
	twin.Mode = 0o755
	fifo := File{Name: "run/fifo", Type: tar.TypeFifo, Mode: 0o600}
	return [][]File{
		{
			Directory("bin"), Executable("bin/hello", "#!/bin/sh\necho hello from "+seed+"\n"),
			Directory("etc"), Regular("etc/release", seed+" 1\n"), Regular("etc/passwd", "root:x:0:0::/:/bin/sh\n"),
			Directory("var"), Directory("var/lib"), Regular("var/lib/old", "old"), Regular("var/lib/older", "older"),
			Directory("opt"), Regular("opt/gone", "gone"), tmp,
		},
		{
			Directory("usr"), Directory("usr/bin"), setuid, capable,
			Executable("usr/bin/tool", "#!/bin/sh\n"), twin, Symlink("usr/bin/sh", "../../bin/hello"),
			Directory("dev"), CharDevice("dev/null", 1, 3), Directory("run"), fifo,
			Whiteout("opt/gone"), Directory("var"), Directory("var/lib"), Opaque("var/lib"), Regular("var/lib/new", "new "+seed),
		},
		{
			owned, // its directories are not in the archive
			Regular("etc/release", seed+" 2\n"), Regular("usr/share/doc/"+seed+"/README", "Read me.\n"),
		},
	}
}

// MultiPlatform is an index of one image each for linux/amd64 and linux/arm64
// and, as BuildKit leaves it, of an attestation for unknown/unknown.
func MultiPlatform(c Compression) *Image {
	var children []*Image
	for _, arch := range []string{"amd64", "arm64"} {
		children = append(children, SmallVariant(Spec{Platform: ocispec.Platform{OS: "linux", Architecture: arch}}, c, arch))
	}
	return NewIndex(append(children, attest(children[0]))...)
}

// attest is an attestation manifest: an image by media type whose only layer is
// a statement that no snapshotter could unpack.
func attest(subject *Image) *Image {
	statement := fmt.Sprintf(`{"_type":"https://in-toto.io/Statement/v0.1","subject":[{"digest":{"sha256":%q}}]}`, subject.Desc.Digest.Encoded())
	blob := NewBlob([]byte(statement))
	img := NewImage(Spec{
		Platform: ocispec.Platform{OS: "unknown", Architecture: "unknown"},
		Layers:   []Layer{{Blob: blob, DiffID: blob.Digest}},
		EditManifest: func(m *ocispec.Manifest) {
			m.Layers[0].MediaType = "application/vnd.in-toto+json"
		},
	})
	img.Desc.Annotations = map[string]string{
		"vnd.docker.reference.type":   "attestation-manifest",
		"vnd.docker.reference.digest": subject.Desc.Digest.String(),
	}
	return img
}

// WrongDiffID is a small image whose config promises another diff ID for layer
// n than the layer unpacks to.
func WrongDiffID(n int) *Image {
	return SmallVariant(Spec{EditConfig: func(c *ocispec.Image) {
		c.RootFS.DiffIDs[n] = digest.FromString("another archive")
	}}, Gzip, "wrong-diff-id")
}

// MissingLayer is a small image whose layer n the registry does not have.
func MissingLayer(n int) *Image {
	img := SmallVariant(Spec{}, Gzip, "missing-layer")
	return img.without(img.Layers[n].Digest)
}

// ConfigNotJSON is a small image whose config is text.
func ConfigNotJSON() *Image {
	return SmallVariant(Spec{RawConfig: []byte("this is no JSON")}, Gzip, "config-not-json")
}

// BusyboxImage is a static busybox with the few files that runc wants, from
// the content that .ci/setup prepares. Its command runs under runc.
func BusyboxImage(t testing.TB) *Image {
	t.Helper()
	layers, err := contentLayers("busybox.tar.gz")
	if err != nil {
		t.Fatal(err)
	}
	return NewImage(Spec{
		Layers:  layers,
		Command: []string{"/bin/sh", "-c", "echo busybox runs"},
		Env:     []string{"PATH=/bin"},
	})
}

// RealImage is a Debian root file system made by debootstrap, under a layer of
// npm packages with tens of thousands of small files, under a layer that
// changes a little of both.
func RealImage(t testing.TB) *Image {
	t.Helper()
	layers, err := contentLayers("debian.tar.gz", "npm.tar.gz")
	if err != nil {
		t.Fatal(err)
	}
	change := NewLayer(Gzip,
		Whiteout("usr/share/doc"), Regular("etc/motd", "an image for tests\n"),
		Directory("app"), Regular("app/index.js", "console.log('hello')\n"))
	return NewImage(Spec{
		Layers:  append(layers, change),
		Command: []string{"/bin/sh", "-c", "cat /etc/debian_version"},
		Env:     []string{"PATH=/usr/sbin:/usr/bin:/sbin:/bin"},
	})
}

// contentLayers makes layers of files that .ci/setup prepared.
func contentLayers(names ...string) ([]Layer, error) {
	layers := make([]Layer, 0, len(names))
	for _, name := range names {
		path, err := Content(name)
		if err != nil {
			return nil, err
		}
		l, err := preparedLayer(path)
		if err != nil {
			return nil, err
		}
		layers = append(layers, l)
	}
	return layers, nil
}

// preparedLayer trusts the diff ID that .ci/setup wrote beside the archive:
// decompressing it again would take minutes under the race detector.
func preparedLayer(path string) (Layer, error) {
	diffID, err := os.ReadFile(path + ".diffid")
	if err != nil {
		return Layer{}, fmt.Errorf("reading diff ID: %w", err)
	}
	l := Layer{Compression: Gzip, DiffID: digest.Digest(strings.TrimSpace(string(diffID)))}
	if err := l.DiffID.Validate(); err != nil {
		return Layer{}, fmt.Errorf("reading diff ID of %s: %w", path, err)
	}
	l.Blob, err = fileBlob(path)
	return l, err
}
