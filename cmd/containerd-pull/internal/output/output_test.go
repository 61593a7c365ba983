package output

import (
	"bytes"
	"crypto/tls"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/containerd/containerd/v2/core/images"
	"github.com/google/go-cmp/cmp"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/containerd-pull/containerd-pull/pkg/batch"
	"github.com/containerd-pull/containerd-pull/pkg/check"
	"github.com/containerd-pull/containerd-pull/pkg/pull"
	"github.com/containerd-pull/containerd-pull/pkg/registry/hosts"
	"github.com/containerd-pull/containerd-pull/pkg/store"
)

func TestFreedText(t *testing.T) {
	freed := store.Freed{Leases: []string{"a"}, Running: 2}
	freed.Blobs.Count, freed.Blobs.Bytes = 3, 2048
	for dryRun, verb := range map[bool]string{true: "would free", false: "freed"} {
		var got bytes.Buffer
		NewFreed(freed, dryRun).Write(&got)
		want := verb + " 1 lease, 0 ingests, 3 blobs (2.0 kB), 0 snapshots\nleft 2 leases to pulls that are running\n"
		if diff := cmp.Diff(want, got.String()); diff != "" {
			t.Errorf("dry run %v (-want +got):\n%s", dryRun, diff)
		}
	}
}

// TestVerifyText: names and messages come from images and are made harmless.
func TestVerifyText(t *testing.T) {
	report := check.Report{
		Image:    images.Image{Name: "example.com/app:1\x1b[2J", Target: ocispec.Descriptor{Digest: debianIndex}},
		Counts:   check.Counts{Blobs: 2},
		Findings: []check.Finding{{Kind: check.Corrupt, Digest: debianLayer, Path: "a\nb", Message: "differs", Unrepaired: "no host has it"}},
		Repaired: []check.Finding{{Kind: check.Missing, Digest: debianConfig, Message: "is not there"}},
	}
	v := NewVerify(true, []Report{NewReport(report, &store.Store{})})
	var got bytes.Buffer
	v.Write(&got)
	want := `example.com/app:1\x1b[2J` + "\t" + debianConfig + "\tmissing: is not there (repaired)\n" +
		`example.com/app:1\x1b[2J` + "\t" + debianLayer + "\t" + `corrupt: a\nb: differs (not repaired: no host has it)` + "\n"
	if diff := cmp.Diff(want, got.String()); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if got := v.Damaged(); got != 1 {
		t.Errorf("got %d damaged images, want 1", got)
	}
}

func TestHostsText(t *testing.T) {
	plain := hosts.Host{Name: "a.example", Schemes: []string{"https", "http"}, TLS: &tls.Config{}, Pull: true, Header: map[string][]string{"x-b": {"secret"}, "x-a": {"secret"}}}
	var got bytes.Buffer
	Hosts{NewHost(plain, Credential{Withheld: "not yours"}), NewHost(plain, Credential{Source: "file", For: "a.example"})}.Write(&got)
	if text := got.String(); strings.Contains(text, "secret") || !strings.Contains(text, "\theader x-a\t\t\n\theader x-b\t\t\n") ||
		!strings.Contains(text, "credential: none: not yours\n") || !strings.Contains(text, "credential: file, for a.example\n") || !strings.Contains(text, "TLS: certificate checked, else http\t") {
		t.Errorf("got %q", text)
	}
}

// TestDigestFile: a file is replaced as a whole, through a link, without a
// newline at its end.
func TestDigestFile(t *testing.T) {
	dir := t.TempDir()
	target, link := filepath.Join(dir, "target"), filepath.Join(dir, "link")
	if err := os.Symlink(target, link); err != nil {
		t.Fatal(err)
	}
	one := batch.Outcome{Result: &pull.Result{Target: ocispec.Descriptor{Digest: debianIndex}}}
	other := batch.Outcome{Result: &pull.Result{Target: ocispec.Descriptor{Digest: debianLayer}}}
	for _, path := range []string{target, link} {
		if err := WriteDigestFile(path, []batch.Outcome{one, other}); err != nil {
			t.Fatal(err)
		}
		got, err := os.ReadFile(target)
		if want := debianIndex + "\n" + debianLayer; err != nil || string(got) != want {
			t.Errorf("got %q and %v, want %q", got, err, want)
		}
	}
	if info, err := os.Lstat(link); err != nil || info.Mode()&os.ModeSymlink == 0 {
		t.Errorf("got mode %v and %v, want that the link stays", info.Mode(), err)
	}
	for _, path := range []string{dir, filepath.Join(dir, "none", "file")} {
		if checkDigestFile(path) == nil {
			t.Errorf("got no error for %s", path)
		}
	}
}
