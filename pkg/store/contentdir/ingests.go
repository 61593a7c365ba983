package contentdir

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/containerd/v2/pkg/filters"
	"github.com/containerd/errdefs"
	"github.com/opencontainers/go-digest"

	"github.com/containerd-pull/containerd-pull/pkg/failure"
)

// Ingests are read from their folders here. Unlike containerd's own reading, this
// one gets along with what a kill or a crash left of them: a time or a total is
// simply not known if its file is missing or cannot be read.

// ingest is the folder of an ingest.
func (f *Folder) ingest(ref string) string {
	return filepath.Join(f.root, "ingest", digest.FromString(ref).Encoded())
}

// Status implements content.IngestManager.
func (f *Folder) Status(_ context.Context, ref string) (content.Status, error) {
	return statusIn(f.ingest(ref))
}

// ListStatuses implements content.Manager.
func (f *Folder) ListStatuses(_ context.Context, fs ...string) ([]content.Status, error) {
	filter, err := filters.ParseAll(fs...)
	if err != nil {
		return nil, err
	}
	dirs, err := ingestsIn(f.root)
	var all []content.Status
	for _, dir := range dirs {
		status, err := statusIn(dir)
		if err == nil && filter.Match(adaptRef(status.Ref)) {
			all = append(all, status)
		}
	}
	return all, err
}

// adaptRef lets filters ask for the ref of an ingest, which is all that
// containerd's do.
func adaptRef(ref string) filters.Adaptor {
	return filters.AdapterFunc(func(path []string) (string, bool) {
		return ref, len(path) == 1 && path[0] == "ref" && ref != ""
	})
}

// Nameless finds the folders of ingests that do not hold the ref they are named
// after, so that no call reaches them, with the bytes that they hold.
func (f *Folder) Nameless() (map[string]int64, error) {
	dirs, err := ingestsIn(f.root)
	all := map[string]int64{}
	for _, dir := range dirs {
		if _, err := statusIn(dir); err != nil {
			all[dir] = fileSize(filepath.Join(dir, "data"))
		}
	}
	return all, err
}

// ingestsIn lists the folders of the ingests in a content folder.
func ingestsIn(root string) ([]string, error) {
	top := filepath.Join(root, "ingest")
	entries, err := os.ReadDir(top)
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	dirs := make([]string, len(entries))
	for i, e := range entries {
		dirs[i] = filepath.Join(top, e.Name())
	}
	return dirs, err
}

// statusIn reads the status of the ingest in dir; errdefs.ErrNotFound says that
// it has no ref, or that there is something else than files in it.
func statusIn(dir string) (content.Status, error) {
	err := onlyFiles(dir)
	var ref []byte
	if err == nil {
		ref, err = readSmall(filepath.Join(dir, "ref"))
	}
	if err == nil && digest.FromBytes(ref).Encoded() != filepath.Base(dir) {
		err = fmt.Errorf("ref %q is not that of folder %s", ref, dir)
	}
	if err != nil {
		return content.Status{}, failure.New(errdefs.ErrNotFound, "%w", err)
	}
	data := filepath.Join(dir, "data")
	s := content.Status{
		Ref: string(ref), Offset: fileSize(data),
		StartedAt: startOf(dir), UpdatedAt: cmp.Or(changed(data), changed(dir)),
	}
	if text, err := readSmall(filepath.Join(dir, "total")); err == nil {
		s.Total, _ = strconv.ParseInt(string(text), 10, 64) // 0 is unknown
	}
	return s, nil
}

// onlyFiles is an error unless dir is a folder, and no link to one, with nothing
// but regular files in it. containerd's writer follows links.
func onlyFiles(dir string) error {
	info, err := os.Lstat(dir)
	if err == nil && !info.IsDir() {
		err = fmt.Errorf("%s is no folder", dir)
	}
	if err != nil {
		return err
	}
	entries, err := os.ReadDir(dir)
	for _, e := range entries {
		if !e.Type().IsRegular() {
			err = fmt.Errorf("%s is no regular file", filepath.Join(dir, e.Name()))
		}
	}
	return err
}

// readSmall reads a file that describes an ingest.
func readSmall(path string) ([]byte, error) {
	file, _, err := openRegular(path)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	return io.ReadAll(io.LimitReader(file, maxNote))
}

// startOf is when an ingest was begun, or its folder changed last.
func startOf(dir string) (at time.Time) {
	text, err := readSmall(filepath.Join(dir, "startedat"))
	if err != nil || at.UnmarshalText(text) != nil {
		return changed(dir)
	}
	return at
}

// changed is when a file or folder changed last, zero if that is not known.
func changed(path string) time.Time {
	info, err := os.Lstat(path)
	if err != nil {
		return time.Time{}
	}
	return info.ModTime()
}

// fileSize is that of a file, 0 where there is none.
func fileSize(path string) int64 {
	info, err := os.Lstat(path)
	if err != nil {
		return 0
	}
	return info.Size()
}
