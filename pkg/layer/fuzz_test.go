package layer_test

import (
	"archive/tar"
	"bytes"
	"fmt"
	"io"
	"path/filepath"
	"testing"

	"github.com/containerd-pull/containerd-pull/pkg/layer"
)

// maxFuzzed bounds what a fuzzed archive writes, which sparse files make large.
const maxFuzzed = 1 << 20

// FuzzApply makes the fuzzer decide about the entries of a well-formed archive.
// The first byte is the setting. Where containerd refuses an entry, the archive
// is tried without it, so that one such entry does not end the case.
func FuzzApply(f *testing.F) {
	needRoot(f)
	f.Add([]byte{0, 3, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10})
	f.Fuzz(func(t *testing.T, data []byte) {
		choose := bytesChooser(data)
		set := pick(choose, first, upper, topless)
		below := newScene(t, set).settle(t, generate(choose, 6))
		newScene(t, set, below).settle(t, generate(choose, 10))
	})
}

// FuzzStream makes the fuzzer write the archive. Its headers get the checksums
// that they need to be looked at.
func FuzzStream(f *testing.F) {
	needRoot(f)
	for i, name := range sample(corpus) {
		if data := archive(f, corpus[name].apply...); len(data) < 16<<10 {
			f.Add(uint8(i%2), data)
		}
	}
	f.Fuzz(func(t *testing.T, set uint8, data []byte) {
		repair(data)
		if tame(data) != nil {
			return // not one to compare
		}
		below := archive(t, dir("d", mode(0o1777)), file("d/f", "x"), symlink("l", "d"))
		newScene(t, []setting{first, upper, topless}[set%3], below).check(t, data)
	})
}

// FuzzWrite is FuzzStream for EROFS images alone, much faster and without root: the
// image of what Apply takes is whole for fsck.erofs, whatever the archive.
func FuzzWrite(f *testing.F) {
	for i, name := range sample(corpus) {
		if data := archive(f, corpus[name].apply...); len(data) < 16<<10 {
			f.Add(i%2 > 0, data)
		}
	}
	f.Fuzz(func(t *testing.T, inPlace bool, data []byte) {
		repair(data)
		o := layer.Options{MaxBytes: maxFuzzed}
		if inPlace {
			o.Whiteouts = layer.InPlace
		}
		name := filepath.Join(t.TempDir(), "layer.erofs")
		if err := writeImage(t.Context(), name, data, o); err == nil {
			checkImage(t, name)
		}
	})
}

const blockSize = 512

// repair sets the checksum of every header that a reader would come to.
func repair(data []byte) {
	for off := 0; off+blockSize <= len(data); {
		block := data[off : off+blockSize]
		off += blockSize
		if bytes.Count(block, []byte{0}) == blockSize {
			continue
		}
		copy(block[148:156], "        ")
		sum := 0
		for _, b := range block {
			sum += int(b)
		}
		copy(block[148:156], fmt.Sprintf("%06o\x00 ", sum))
		var size int
		fmt.Sscanf(string(block[124:135]), "%o", &size) // no number: no body
		off += (size + blockSize - 1) / blockSize * blockSize
	}
}

// tame returns why an archive is not for a comparison: it writes too much, or has
// names that are only too long together with that of the root.
func tame(data []byte) error {
	tr := tar.NewReader(bytes.NewReader(data))
	var total int64
	for {
		hdr, err := tr.Next()
		if err != nil {
			return nil // as good an archive as any
		}
		if total += hdr.Size; total > maxFuzzed || total < 0 {
			return fmt.Errorf("%q makes it larger than %d bytes", hdr.Name, maxFuzzed)
		}
		if max(len(hdr.Name), len(hdr.Linkname)) > 2000 {
			return fmt.Errorf("name of %d bytes", max(len(hdr.Name), len(hdr.Linkname)))
		}
		if _, err := io.Copy(io.Discard, tr); err != nil {
			return nil
		}
	}
}
