package contentdir

import (
	"io"
	"os"
	"strings"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/containerd-pull/containerd-pull/pkg/internal/beneath"
)

// maxNote bounds the files beside an ingest's data.
const maxNote = 4 << 10

// OpenIngest opens the file in which a daemon collects the ingest ref of namespace
// ns, beneath its content folder root. The ingest must have been begun at the very
// nanosecond that the daemon says: that is the proof that it is the daemon's, and not
// one of the same name in another containerd's folder. It is nil if there is none.
func OpenIngest(root *os.File, ns, ref string, started time.Time, flags int) *os.File {
	top, err := beneath.Open(root, "ingest")
	if err != nil {
		return nil
	}
	defer top.Close()
	names, err := top.Readdirnames(-1)
	if err != nil {
		return nil
	}
	for _, name := range names {
		if file := openData(top, name, ns, ref, started, flags); file != nil {
			return file
		}
	}
	return nil
}

// openData opens the data of the ingest in the folder name, if it is the one.
func openData(top *os.File, name, ns, ref string, started time.Time, flags int) *os.File {
	dir, err := beneath.Open(top, name)
	if err != nil {
		return nil
	}
	defer dir.Close()
	has := note(dir, "ref")
	// A daemon puts the namespace and a number before the ref.
	if digest.FromString(has).Encoded() != name || !strings.HasPrefix(has, ns+"/") || !strings.HasSuffix(has, "/"+ref) {
		return nil
	}
	var at time.Time
	if err := at.UnmarshalText([]byte(note(dir, "startedat"))); err != nil || !at.Equal(started) {
		return nil
	}
	file, err := beneath.File(dir, "data", flags)
	if err != nil {
		return nil
	}
	return file
}

// note is the text of a file beside an ingest's data, "" if it cannot be read.
func note(dir *os.File, name string) string {
	f, err := beneath.File(dir, name, os.O_RDONLY)
	if err != nil {
		return ""
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, maxNote))
	if err != nil {
		return ""
	}
	return string(text)
}
