package output

import (
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
	"unicode"

	"github.com/containerd/containerd/v2/core/images"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/containerd-pull/containerd-pull/pkg/batch"
	"github.com/containerd-pull/containerd-pull/pkg/check"
	"github.com/containerd-pull/containerd-pull/pkg/pull"
	"github.com/containerd-pull/containerd-pull/pkg/store"
	"github.com/containerd-pull/containerd-pull/pkg/watch"
)

// TestL3VerifyInJSONIsPrintable puts what moves a cursor, turns the direction of
// writing or is no UTF-8 into all that an image names.
func TestL3VerifyInJSONIsPrintable(t *testing.T) {
	const foreign = "a\u009b2J\u202eb\nc\xff"
	all := []check.Finding{{Kind: check.Corrupt, Platform: foreign, Digest: foreign, Path: foreign, Message: foreign, Unrepaired: foreign}}
	report := check.Report{
		Image:     images.Image{Name: foreign, Target: ocispec.Descriptor{Digest: debianIndex}},
		Platforms: []string{foreign}, Findings: all, Repaired: all, Notes: []string{foreign},
	}
	text, err := json.Marshal(NewVerify(false, []Report{NewReport(report, &store.Store{})}))
	if err != nil {
		t.Fatal(err)
	}
	var plain any
	if err := json.Unmarshal(text, &plain); err != nil {
		t.Fatal(err)
	}
	eachText(plain, func(s string) {
		if i := strings.IndexFunc(s, func(r rune) bool { return !unicode.IsPrint(r) || r == unicode.ReplacementChar }); i >= 0 {
			t.Errorf("got %q in the result, want it printable", s)
		}
	})
}

// TestWatchIsPrintable does the same to all that a daemon says of a pull.
func TestWatchIsPrintable(t *testing.T) {
	const foreign = "a\u009b2J\u202eb\nc\xff"
	image := watch.Image{Namespace: foreign, Name: foreign, Repositories: []string{foreign}, Lease: foreign}
	blob := watch.Blob{Digest: debianIndex, Ingest: foreign}
	shown := NewWatch(time.Now(), []watch.Pull{{Image: image, Blobs: []watch.Blob{blob}}})
	var line, text bytes.Buffer
	if err := errors.Join(Line(&line, shown), Text(&text, shown.Write)); err != nil {
		t.Fatal(err)
	}
	var plain any
	if err := json.Unmarshal(line.Bytes(), &plain); err != nil {
		t.Fatal(err)
	}
	eachText(plain, func(s string) {
		if i := strings.IndexFunc(s, func(r rune) bool { return !unicode.IsPrint(r) || r == unicode.ReplacementChar }); i >= 0 {
			t.Errorf("got %q in the result, want it printable", s)
		}
	})
	if got := text.String(); strings.Count(got, "\n") != 1 || strings.ContainsAny(got, "\u009b\u202e") {
		t.Errorf("got %q", got)
	}
}

func eachText(v any, see func(string)) {
	switch v := v.(type) {
	case string:
		see(v)
	case []any:
		for _, one := range v {
			eachText(one, see)
		}
	case map[string]any:
		for _, one := range v {
			eachText(one, see)
		}
	}
}

// pulled is the outcome of one pull.
func pulled() []batch.Outcome {
	return []batch.Outcome{{Result: &pull.Result{Target: ocispec.Descriptor{Digest: digest.FromString("target")}}}}
}

// TestL4DigestFileBehindALink: a link of the caller's own stays a link. Of a link
// that another user has laid into a folder for all, the kernel decides.
func TestL4DigestFileBehindALink(t *testing.T) {
	target := filepath.Join(t.TempDir(), "target")
	link := filepath.Join(t.TempDir(), "link")
	if err := os.WriteFile(target, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(target, link); err != nil {
		t.Fatal(err)
	}
	if err := WriteDigestFile(link, pulled()); err != nil {
		t.Fatal(err)
	}
	want := digest.FromString("target").String()
	if got, err := os.ReadFile(target); err != nil || string(got) != want {
		t.Errorf("got %q, %v behind the link, want %s", got, err, want)
	}
	if info, err := os.Lstat(link); err != nil || info.Mode()&os.ModeSymlink == 0 {
		t.Errorf("got %v, %v, want the link to stay", info, err)
	}
}

// TestL4DigestFileBehindTheLinkOfAnother wants the kernel's refusal, as root.
func TestL4DigestFileBehindTheLinkOfAnother(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needed: root")
	}
	protectSymlinks(t)
	folder := t.TempDir()
	target, link := filepath.Join(t.TempDir(), "target"), filepath.Join(folder, "link")
	if err := os.WriteFile(target, []byte("theirs"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(folder, os.ModeSticky|0o777); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(target, link); err != nil {
		t.Fatal(err)
	}
	if err := os.Lchown(link, 12345, 12345); err != nil {
		t.Skipf("needed: a user that is mapped: %v", err)
	}
	err := WriteDigestFile(link, pulled())
	if got, rerr := os.ReadFile(target); err == nil || rerr != nil || string(got) != "theirs" {
		t.Errorf("got %v, and %q, %v behind the link, want an error and what was there", err, got, rerr)
	}
}

// protectSymlinks has the kernel refuse links of other users in sticky folders, as
// distributions set it up.
func protectSymlinks(t *testing.T) {
	t.Helper()
	const file = "/proc/sys/fs/protected_symlinks"
	before, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, []byte("1"), 0); err != nil {
		t.Skipf("needed: a kernel to set up: %v", err)
	}
	t.Cleanup(func() {
		if err := os.WriteFile(file, before, 0); err != nil {
			t.Error(err)
		}
	})
}
