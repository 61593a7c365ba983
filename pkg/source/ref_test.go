package source_test

import (
	"strings"
	"testing"

	"github.com/containerd/errdefs"
	"github.com/google/go-cmp/cmp"
	"github.com/opencontainers/go-digest"

	"github.com/containerd-pull/containerd-pull/pkg/failure"
	"github.com/containerd-pull/containerd-pull/pkg/source"
)

func TestParseRef(t *testing.T) {
	sha256 := digest.SHA256.FromString("x")
	sha512 := digest.SHA512.FromString("x")
	tests := []struct {
		in       string
		want     source.Ref
		str      string
		familiar string
	}{
		{
			"alpine",
			source.Ref{Name: "docker.io/library/alpine:latest", Domain: "docker.io", Path: "library/alpine", Tag: "latest"},
			"docker.io/library/alpine:latest", "alpine:latest",
		}, {
			"index.docker.io/library/alpine:3.20",
			source.Ref{Name: "docker.io/library/alpine:3.20", Domain: "docker.io", Path: "library/alpine", Tag: "3.20"},
			"docker.io/library/alpine:3.20", "alpine:3.20",
		}, {
			"team/app",
			source.Ref{Name: "docker.io/team/app:latest", Domain: "docker.io", Path: "team/app", Tag: "latest"},
			"docker.io/team/app:latest", "team/app:latest",
		}, {
			"alpine@" + sha256.String(),
			source.Ref{Name: "docker.io/library/alpine@" + sha256.String(), Domain: "docker.io", Path: "library/alpine", Digest: sha256},
			"docker.io/library/alpine@" + sha256.String(), "alpine@" + sha256.String(),
		}, {
			"ghcr.io/a/b:v1@" + sha256.String(),
			source.Ref{Name: "ghcr.io/a/b:v1", Domain: "ghcr.io", Path: "a/b", Tag: "v1", Digest: sha256},
			"ghcr.io/a/b:v1@" + sha256.String(), "ghcr.io/a/b:v1@" + sha256.String(),
		}, {
			"localhost:5000/x@" + sha512.String(),
			source.Ref{Name: "localhost:5000/x@" + sha512.String(), Domain: "localhost:5000", Path: "x", Digest: sha512},
			"localhost:5000/x@" + sha512.String(), "localhost:5000/x@" + sha512.String(),
		}, {
			"[::1]:5000/x",
			source.Ref{Name: "[::1]:5000/x:latest", Domain: "[::1]:5000", Path: "x", Tag: "latest"},
			"[::1]:5000/x:latest", "[::1]:5000/x:latest",
		}, {
			"R.example.com:443/x:1@" + sha256.String(),
			source.Ref{Name: "R.example.com:443/x:1", Domain: "r.example.com", Path: "x", Tag: "1", Digest: sha256},
			"R.example.com:443/x:1@" + sha256.String(), "R.example.com:443/x:1@" + sha256.String(),
		}, {
			"registry-1.docker.io/library/alpine:3",
			source.Ref{Name: "registry-1.docker.io/library/alpine:3", Domain: "docker.io", Path: "library/alpine", Tag: "3"},
			"registry-1.docker.io/library/alpine:3", "registry-1.docker.io/library/alpine:3",
		},
	}
	for _, tt := range tests {
		got, err := source.ParseRef(tt.in)
		if err != nil {
			t.Errorf("ParseRef(%q): %v", tt.in, err)
			continue
		}
		if diff := cmp.Diff(tt.want, got); diff != "" {
			t.Errorf("ParseRef(%q) (-want +got):\n%s", tt.in, diff)
		}
		if got.String() != tt.str || got.Familiar() != tt.familiar {
			t.Errorf("ParseRef(%q): got %q and %q, want %q and %q", tt.in, got.String(), got.Familiar(), tt.str, tt.familiar)
		}
	}
}

// A user and a password in a reference are not shown, and a digest is no user.
func TestUserInAReferenceIsNotShown(t *testing.T) {
	for in, shown := range map[string]string{
		"https://me:canary@r.example.com/app:1":     `"https://***@r.example.com/app:1"`,
		"https://me:can/ary@r.example.com/app:1":    `"https://***@r.example.com/app:1"`,
		"https://canary@r.example.com":              `"https://***@r.example.com"`,
		"docker://me:can@ary@r.example.com:5000/a/": `"docker://***@r.example.com:5000/a/"`,
		"me:canary@r.example.com/app@sha256:12":     `"***@r.example.com/app@sha256:12"`,
		"https://r.example.com/app@sha256:12":       `"https://r.example.com/app@sha256:12"`,
		"https://app@sha256:12":                     `"https://app@sha256:12"`,
		"app:1@12":                                  `"app:1@12"`,
		"/canary@x":                                 `"/canary@x"`,
	} {
		_, err := source.ParseRef(in)
		if err == nil || !strings.Contains(err.Error(), shown) {
			t.Errorf("ParseRef(%q): got %v, want %s in it", in, err, shown)
		}
		if hint := failure.HintOf(err); strings.Contains(shown, "***") && strings.Contains(err.Error()+hint, "canary") || hint == "" {
			t.Errorf("ParseRef(%q): got %v, hint %q, want a hint and no secret", in, err, hint)
		}
	}
}

// TestM4OneNameForAllSpellings: the name that decides is the same for all
// spellings of a host, and the record has the name that was typed.
func TestM4OneNameForAllSpellings(t *testing.T) {
	for canonical, spellings := range map[string][]string{
		"docker.io/library/alpine:3": {"alpine:3", "index.docker.io/library/alpine:3", "registry-1.docker.io/library/alpine:3", "DOCKER.IO/library/alpine:3", "docker.io:443/library/alpine:3", "docker.io:443/alpine:3", "registry-1.docker.io/alpine:3", "DOCKER.IO/alpine:3"},
		"localhost:5000/x:latest":    {"localhost:5000/x", "LOCALHOST:5000/x", "localhost:05000/x"},
		"r.example.com/x:1":          {"r.example.com/x:1", "R.Example.com:443/x:1", "r.example.com:0443/x:1"},
		"[::1]:5000/x:1":             {"[::1]:5000/x:1", "[0:0:0:0:0:0:0:1]:5000/x:1", "[::0001]:05000/x:1"},
	} {
		for _, typed := range spellings {
			ref, err := source.ParseRef(typed)
			if err != nil {
				t.Fatal(err)
			}
			if got := ref.Canonical(); got != canonical {
				t.Errorf("canonical name of %s: got %s, want %s", typed, got, canonical)
			}
			if host, _, ok := strings.Cut(typed, "/"); ok && strings.Contains(host, ":") && ref.TypedHost() != host {
				t.Errorf("host of %s as typed: got %s", typed, ref.TypedHost())
			}
		}
	}
}

func TestParseRefRefuses(t *testing.T) {
	for _, in := range []string{
		"", " ", "Alpine", "alpine:", "alpine:a b", "alpine@", "alpine@sha256:abc", "https://ghcr.io/a/b",
		"alpine@sha256:" + strings.Repeat("g", 64), "alpine@md5:" + strings.Repeat("a", 32),
		strings.Repeat("a", 64), "a/../b", "ghcr.io/a/b@sha256:" + strings.Repeat("A", 64),
	} {
		if ref, err := source.ParseRef(in); !errdefs.IsInvalidArgument(err) {
			t.Errorf("ParseRef(%q): got %+v, %v, want an invalid argument", in, ref, err)
		}
	}
}

func TestValidDigest(t *testing.T) {
	for d, ok := range map[string]bool{
		"sha256:" + strings.Repeat("a", 64):    true,
		"sha384:" + strings.Repeat("a", 96):    true,
		"sha512:" + strings.Repeat("0", 128):   true,
		"sha256:" + strings.Repeat("A", 64):    false,
		"sha256:" + strings.Repeat("a", 63):    false,
		"sha256:" + strings.Repeat("a", 65):    false,
		"sha256:../" + strings.Repeat("a", 61): false,
		"blake3:" + strings.Repeat("a", 64):    false,
		"":                                     false,
	} {
		if err := source.ValidDigest(digest.Digest(d)); (err == nil) != ok || (err != nil && !errdefs.IsInvalidArgument(err)) {
			t.Errorf("ValidDigest(%q): got %v, want valid: %v", d, err, ok)
		}
	}
}

func FuzzParseRef(f *testing.F) {
	for _, s := range []string{"alpine", "a/b:c", "localhost:5000/x@sha256:" + strings.Repeat("a", 64), "::", "a@b@c"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		ref, err := source.ParseRef(s)
		if err != nil {
			if !errdefs.IsInvalidArgument(err) {
				t.Fatalf("got %v, want an invalid argument", err)
			}
			return
		}
		again, err := source.ParseRef(ref.String())
		if err != nil || again != ref {
			t.Fatalf("ParseRef(%q): got %+v, %v on the second way, want %+v", s, again, err, ref)
		}
	})
}
