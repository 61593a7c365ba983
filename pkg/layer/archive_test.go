package layer_test

import (
	"archive/tar"
	"bytes"
	"fmt"
	"maps"
	"strings"
	"testing"
	"time"
)

// entry is one entry of an archive.
type entry struct {
	tar.Header
	body string
}

// stamp is a time of an archive: distinct for each n, and with nanoseconds.
func stamp(n int) time.Time { return time.Unix(1_500_000_000+int64(n)*100, int64(n)*1000+7).UTC() }

// option changes an entry.
type option func(*entry)

func owner(uid, gid int) option { return func(e *entry) { e.Uid, e.Gid = uid, gid } }

func mode(m int64) option { return func(e *entry) { e.Mode = m } }

func at(t time.Time) option { return func(e *entry) { e.ModTime = t } }

func accessed(t time.Time) option { return func(e *entry) { e.AccessTime = t } }

func format(f tar.Format) option { return func(e *entry) { e.Format = f } }

func number(major, minor int64) option {
	return func(e *entry) { e.Devmajor, e.Devminor = major, minor }
}

func xattr(key, value string) option {
	return func(e *entry) {
		if e.PAXRecords == nil {
			e.PAXRecords = map[string]string{}
		}
		e.PAXRecords["SCHILY.xattr."+key] = value
	}
}

func newEntry(kind byte, name string, m int64, opts []option) entry {
	e := entry{Header: tar.Header{Typeflag: kind, Name: name, Mode: m, ModTime: stamp(len(name)), Format: tar.FormatPAX}}
	for _, o := range opts {
		o(&e)
	}
	return e
}

func file(name, body string, opts ...option) entry {
	e := newEntry(tar.TypeReg, name, 0o644, opts)
	e.body, e.Size = body, int64(len(body))
	return e
}

func dir(name string, opts ...option) entry {
	return newEntry(tar.TypeDir, strings.TrimSuffix(name, "/")+"/", 0o755, opts)
}

func symlink(name, target string, opts ...option) entry {
	e := newEntry(tar.TypeSymlink, name, 0o777, opts)
	e.Linkname = target
	return e
}

func hardlink(name, target string, opts ...option) entry {
	e := newEntry(tar.TypeLink, name, 0o644, opts)
	e.Linkname = target
	return e
}

func whiteout(name string, opts ...option) entry { return file(name, "", opts...) }

// special is a device, a FIFO or whatever kind says.
func special(kind byte, name string, opts ...option) entry {
	return newEntry(kind, name, 0o640, opts)
}

// archive writes entries as a tar stream.
func archive(t testing.TB, entries ...entry) []byte {
	t.Helper()
	data, err := encode(entries)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func encode(entries []entry) ([]byte, error) {
	var buf bytes.Buffer
	tw := tar.NewWriter(&buf)
	for _, e := range entries {
		hdr := e.Header
		hdr.PAXRecords = maps.Clone(hdr.PAXRecords) // the writer adds to it
		if err := tw.WriteHeader(&hdr); err != nil {
			return nil, fmt.Errorf("writing the header of %q: %w", e.Name, err)
		}
		if _, err := tw.Write([]byte(e.body)); err != nil {
			return nil, fmt.Errorf("writing %q: %w", e.Name, err)
		}
	}
	err := tw.Close()
	return buf.Bytes(), err
}

// sparseArchive has one file in PAX's sparse format 1.0: size bytes, all of
// them a hole. archive/tar reads that format but does not write it, so that the
// records are slipped in under names of the same length.
func sparseArchive(t testing.TB, size int64) []byte {
	t.Helper()
	e := file("sparse", "0\n"+strings.Repeat("\x00", 510), mine())
	e.PAXRecords = map[string]string{
		"XXX.sparse.major": "1", "XXX.sparse.minor": "0",
		"XXX.sparse.name": "sparse", "XXX.sparse.realsize": fmt.Sprint(size),
	}
	return bytes.ReplaceAll(archive(t, e), []byte("XXX.sparse"), []byte("GNU.sparse"))
}
