package pulltest

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/klauspost/compress/zstd"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// Media types of Docker's image format, which registries still serve more
// often than OCI's.
const (
	DockerManifest  = "application/vnd.docker.distribution.manifest.v2+json"
	DockerIndex     = "application/vnd.docker.distribution.manifest.list.v2+json"
	DockerConfig    = "application/vnd.docker.container.image.v1+json"
	DockerLayer     = "application/vnd.docker.image.rootfs.diff.tar"
	DockerLayerGzip = "application/vnd.docker.image.rootfs.diff.tar.gzip"
	DockerLayerZstd = "application/vnd.docker.image.rootfs.diff.tar.zstd"
)

// Epoch is the time of every File that has none of its own, so that the same
// files always give the same digests.
func Epoch() time.Time { return time.Unix(1700000000, 0).UTC() }

// File is one entry of a layer's archive, in the order given. The zero Type is
// a regular file, or a directory if the name ends in a slash.
type File struct {
	Name         string
	Type         byte // a tar type flag
	Mode         int64
	UID, GID     int
	Content      string
	Link         string            // target of a symbolic or hard link
	Xattrs       map[string]string // full names, security.capability for example
	Major, Minor int64
	ModTime      time.Time // Epoch if zero
}

// Regular is a file that every user may read.
func Regular(name, content string) File {
	return File{Name: name, Content: content, Mode: 0o644}
}

// Executable is a file that every user may run.
func Executable(name, content string) File {
	return File{Name: name, Content: content, Mode: 0o755}
}

// Directory is a directory that every user may enter.
func Directory(name string) File {
	return File{Name: strings.TrimSuffix(name, "/") + "/", Type: tar.TypeDir, Mode: 0o755}
}

// Symlink points from name to target.
func Symlink(name, target string) File {
	return File{Name: name, Type: tar.TypeSymlink, Link: target, Mode: 0o777}
}

// Hardlink gives the file target a second name.
func Hardlink(name, target string) File {
	return File{Name: name, Type: tar.TypeLink, Link: target, Mode: 0o644}
}

// CharDevice is a character device, which only root can unpack.
func CharDevice(name string, major, minor int64) File {
	return File{Name: name, Type: tar.TypeChar, Major: major, Minor: minor, Mode: 0o666}
}

// Whiteout hides name of the layers below.
func Whiteout(name string) File {
	dir, base := splitName(name)
	return Regular(dir+".wh."+base, "")
}

// Opaque hides everything that the layers below have in dir.
func Opaque(dir string) File {
	return Regular(strings.TrimSuffix(dir, "/")+"/.wh..wh..opq", "")
}

func splitName(name string) (dir, base string) {
	i := strings.LastIndexByte(name, '/') + 1
	return name[:i], name[i:]
}

// Tar writes the archive of files: uncompressed, and the same bytes each time.
func Tar(files ...File) []byte {
	var buf bytes.Buffer
	w := tar.NewWriter(&buf)
	for _, f := range files {
		possible(f.write(w))
	}
	possible(w.Close())
	return buf.Bytes()
}

func (f File) write(w *tar.Writer) error {
	if err := w.WriteHeader(f.header()); err != nil {
		return err
	}
	_, err := io.WriteString(w, f.Content)
	return err
}

func (f File) header() *tar.Header {
	h := &tar.Header{
		Format: tar.FormatPAX, Typeflag: f.Type, Name: f.Name, Linkname: f.Link,
		Mode: f.Mode, Uid: f.UID, Gid: f.GID, Size: int64(len(f.Content)),
		ModTime: f.ModTime, Devmajor: f.Major, Devminor: f.Minor,
		PAXRecords: map[string]string{},
	}
	if h.Typeflag == 0 && !strings.HasSuffix(f.Name, "/") {
		h.Typeflag = tar.TypeReg
	}
	if h.ModTime.IsZero() {
		h.ModTime = Epoch()
	}
	for name, value := range f.Xattrs {
		h.PAXRecords["SCHILY.xattr."+name] = value
	}
	return h
}

// Compression is how a layer's archive travels.
type Compression string

// The three compressions that containerd knows by media type.
const (
	Uncompressed Compression = ""
	Gzip         Compression = "gzip"
	Zstd         Compression = "zstd"
)

// Compress packs data into one gzip member or zstd frame.
func (c Compression) Compress(data []byte) []byte {
	var buf bytes.Buffer
	var w io.WriteCloser
	switch c {
	case Uncompressed:
		return data
	case Gzip:
		w = gzip.NewWriter(&buf)
	case Zstd:
		z, err := zstd.NewWriter(&buf, zstd.WithEncoderConcurrency(1))
		possible(err)
		w = z
	default:
		possible(fmt.Errorf("compression %q is not known", string(c)))
	}
	_, err := w.Write(data)
	possible(errors.Join(err, w.Close()))
	return buf.Bytes()
}

func (c Compression) ociLayer() string {
	if c == Uncompressed {
		return ocispec.MediaTypeImageLayer
	}
	return ocispec.MediaTypeImageLayer + "+" + string(c)
}

func (c Compression) dockerLayer() string {
	if c == Uncompressed {
		return DockerLayer
	}
	return DockerLayer + "." + string(c)
}

// Layer is a blob that unpacks to a file system change. Its media type is
// decided by the image that uses it.
type Layer struct {
	Blob
	DiffID      digest.Digest
	Compression Compression
}

// NewLayer packs files into a layer.
func NewLayer(c Compression, files ...File) Layer {
	return LayerFromTar(c, Tar(files...))
}

// LayerFromTar makes a layer of a whole archive, well-formed or not: tests of
// hostile archives pass what they like.
func LayerFromTar(c Compression, archive []byte) Layer {
	return Layer{Blob: NewBlob(c.Compress(archive)), DiffID: digest.FromBytes(archive), Compression: c}
}

// LayerFromFile makes a layer of an archive on disk that is packed as c says.
// The file is read now, for its digests, and again whenever it is served; it
// must not change in between.
func LayerFromFile(c Compression, path string) (Layer, error) {
	blob, err := fileBlob(path)
	if err != nil {
		return Layer{}, err
	}
	f, err := blob.Open()
	if err != nil {
		return Layer{}, err
	}
	defer f.Close()
	diffID, err := c.diffID(f)
	if err != nil {
		return Layer{}, fmt.Errorf("reading layer %s: %w", path, err)
	}
	return Layer{Blob: blob, DiffID: diffID, Compression: c}, nil
}

func (c Compression) diffID(r io.Reader) (digest.Digest, error) {
	switch c {
	case Gzip:
		z, err := gzip.NewReader(r)
		if err != nil {
			return "", err
		}
		return digest.FromReader(z)
	case Zstd:
		z, err := zstd.NewReader(r, zstd.WithDecoderConcurrency(1))
		if err != nil {
			return "", err
		}
		defer z.Close()
		return digest.FromReader(z)
	default:
		return digest.FromReader(r)
	}
}
