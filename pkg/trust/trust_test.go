package trust_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/containerd-pull/containerd-pull/pkg/internal/pulltest"
	"github.com/containerd-pull/containerd-pull/pkg/source"
	"github.com/containerd-pull/containerd-pull/pkg/trust"
)

func target() ocispec.Descriptor {
	return ocispec.Descriptor{MediaType: ocispec.MediaTypeImageIndex, Digest: digest.FromString("target"), Size: 6}
}

func ref(t *testing.T, s string) source.Ref {
	ref, err := source.ParseRef(s)
	if err != nil {
		t.Fatal(err)
	}
	return ref
}

// refusal wants err to refuse, by the verifier, with a text in its reason.
func refusal(t *testing.T, err error, verifier, text string) {
	t.Helper()
	r, ok := errors.AsType[*trust.Refusal](err)
	if !ok {
		t.Errorf("got %v, want a refusal", err)
		return
	}
	if r.Verifier != verifier || r.Digest != target().Digest || !strings.Contains(r.Reason, text) {
		t.Errorf("got a refusal of %s by %s: %s, want one of %s by %s: …%s", r.Digest, r.Verifier, r.Reason, target().Digest, verifier, text)
	}
}

func TestPinned(t *testing.T) {
	right, wrong := target().Digest, digest.FromString("another")
	for _, tc := range []struct {
		name, ref string
		pins      []string
		refused   string // text of the reason; empty if allowed
	}{
		{"a tag", "app:1", nil, "no digest"},
		{"the digest", "app@" + right.String(), nil, ""},
		{"tag and digest", "app:1@" + right.String(), nil, ""},
		{"another digest", "app@" + wrong.String(), nil, "asks for " + wrong.String()},
		{"a pinned tag", "app:1", []string{"docker.io/library/app:1=" + right.String()}, ""},
		{"pinned by the short name", "docker.io/library/app:latest", []string{"app = " + right.String()}, ""},
		{"a tag pinned to another", "app:1", []string{"app:1=" + wrong.String()}, "pinned to " + wrong.String()},
		{"a digest beside a pin to another", "app:1@" + right.String(), []string{"app:1=" + wrong.String()}, "pinned to " + wrong.String()},
		{"another tag is pinned", "app:2", []string{"app:1=" + right.String()}, "no digest"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			v, err := trust.New(trust.Options{Mode: trust.ModePinned, Digests: tc.pins})
			if err != nil {
				t.Fatal(err)
			}
			_, err = v.Verify(t.Context(), ref(t, tc.ref), target())
			if tc.refused != "" {
				refusal(t, err, "pinned", tc.refused)
			} else if err != nil {
				t.Errorf("got %v, want it allowed", err)
			}
		})
	}
}

func verifier(t *testing.T, o trust.Options) trust.Verifier {
	t.Helper()
	v, err := trust.New(o)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// TestM4PinsHoldForAllSpellings: no spelling of a host passes a pin by, whichever
// of the two is spelled oddly.
func TestM4PinsHoldForAllSpellings(t *testing.T) {
	right, wrong := target().Digest, digest.FromString("another")
	for _, spellings := range [][]string{
		{"localhost:5000/x:1", "LOCALHOST:5000/x:1", "localhost:05000/x:1"},
		{"r.example.com/x:1", "r.example.com:443/x:1", "R.EXAMPLE.com/x:1", "r.example.com:00443/x:1"},
		{"library/x:1", "docker.io/library/x:1", "registry-1.docker.io/library/x:1", "DOCKER.IO/library/x:1", "Index.docker.io:443/library/x:1"},
		{"[::1]:5000/x:1", "[0:0::1]:5000/x:1"},
	} {
		for _, pinned := range spellings {
			for _, typed := range spellings {
				o := trust.Options{Mode: trust.ModePinned, Digests: []string{pinned + "=" + wrong.String()}}
				_, err := verifier(t, o).Verify(t.Context(), ref(t, typed), target())
				refusal(t, err, "pinned", "pinned to "+wrong.String())
				if got, err := o.Pin(ref(t, typed)); err != nil || got.Digest != wrong || got.Name != ref(t, typed).Name {
					t.Errorf("%s with %s pinned: got %s, %s, %v, want the pin under the name that was typed", typed, pinned, got.Name, got.Digest, err)
				}
				o.Digests[0] = pinned + "=" + right.String()
				if _, err := verifier(t, o).Verify(t.Context(), ref(t, typed), target()); err != nil {
					t.Errorf("%s with %s pinned to it: got %v, want it allowed", typed, pinned, err)
				}
			}
		}
		twice := []string{spellings[0] + "=" + right.String(), spellings[1] + "=" + wrong.String()}
		if _, err := trust.ParsePins(twice); err == nil {
			t.Errorf("%v: got no error, want one for two pins of one name", twice)
		}
	}
}

func TestPinGivesTheDigest(t *testing.T) {
	pin, own := digest.FromString("pin"), digest.FromString("own")
	o := trust.Options{Mode: trust.ModePinned, Digests: []string{"app:1=" + pin.String()}}
	for text, want := range map[string]string{
		"app:1":                      "docker.io/library/app:1@" + pin.String(),
		"app:2":                      "docker.io/library/app:2",
		"app:1@" + own.String():      "docker.io/library/app:1@" + own.String(),
		"example.com/library/app:1":  "example.com/library/app:1",
		"docker.io/library/app:1":    "docker.io/library/app:1@" + pin.String(),
		"index.docker.io/app:latest": "docker.io/library/app:latest",
	} {
		got, err := o.Pin(ref(t, text))
		if err != nil {
			t.Fatal(err)
		}
		if got.String() != want || got.Name != ref(t, text).Name {
			t.Errorf("pinning %s: got %s named %s, want %s", text, got, got.Name, want)
		}
	}
	got, err := trust.Options{Digests: o.Digests}.Pin(ref(t, "app:1"))
	if err != nil {
		t.Fatal(err)
	}
	if got.Digest != "" {
		t.Errorf("got %s pinned without the mode, want it as it was", got)
	}
}

func TestPinsAreParsedOrRefused(t *testing.T) {
	one, two := digest.FromString("1").String(), digest.FromString("2").String()
	for text, pins := range map[string][]string{
		"want REF=DIGEST":          {"app:1"},
		"want a reference without": {"app@" + one + "=" + one},
		`digest "sha256:12"`:       {"app=sha256:12"},
		"pinned to " + one:         {"app:1=" + one, "docker.io/library/app:1=" + two},
		`parsing reference "APP"`:  {"APP=" + one},
	} {
		if _, err := trust.ParsePins(pins); err == nil || !strings.Contains(err.Error(), text) {
			t.Errorf("parsing %q: got %v, want …%s", pins, err, text)
		}
	}
}

// bindir is the verifier of a caller who wants programs in dir to be asked.
func bindir(dir string) trust.Bindir {
	return trust.Bindir{Dir: dir, Max: 10, Timeout: 5 * time.Second}
}

// TestBindirContract has a program write down what it is told.
func TestBindirContract(t *testing.T) {
	dir := pulltest.Verifiers(t, map[string]string{"record": "#!/bin/sh\ncd \"$(dirname \"$0\")/..\"\nprintf '%s\\n' \"$@\" >args\ncat >stdin\necho seen\n"})
	parent := filepath.Dir(dir)
	app := "registry.example.com/app:1@" + target().Digest.String()
	got, err := bindir(dir).Verify(t.Context(), ref(t, app), target())
	if err != nil {
		t.Fatal(err)
	}
	if want := (trust.Judgement{Verifier: "bindir", Reason: "record => seen"}); got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
	data, err := os.ReadFile(filepath.Join(parent, "args"))
	if err != nil {
		t.Fatal(err)
	}
	args := string(data)
	want := strings.Join([]string{"-name", app, "-digest", target().Digest.String(), "-stdin-media-type", ocispec.MediaTypeDescriptor, ""}, "\n")
	if args != want {
		t.Errorf("got arguments %q, want %q", args, want)
	}
	var desc ocispec.Descriptor
	stdin, err := os.ReadFile(filepath.Join(parent, "stdin"))
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(stdin, &desc); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(target(), desc); diff != "" {
		t.Errorf("descriptor on stdin (-want +got):\n%s", diff)
	}
}

// TestBindirFailsClosed refuses all but a program that allows.
func TestBindirFailsClosed(t *testing.T) {
	yes, no := pulltest.Verdict(true, "fine"), pulltest.Verdict(false, "bad\x1b[2J\u202esign")
	plain := pulltest.Verifiers(t, map[string]string{"a": yes})
	if err := os.Chmod(filepath.Join(plain, "a"), 0o644); err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct {
		name, dir, want string
	}{
		{"denies", pulltest.Verifiers(t, map[string]string{"a": yes, "b": no}), `verifier b rejected image (exit code 1): bad\x1b[2J\u202esign`},
		{"folder missing", filepath.Join(t.TempDir(), "none"), "no such file"},
		{"folder empty", t.TempDir(), "holds no program"},
		{"cannot be executed", plain, "permission denied"},
		{"no interpreter", pulltest.Verifiers(t, map[string]string{"a": "#!/none/such\n"}), "no such file"},
		{"times out", pulltest.Verifiers(t, map[string]string{"a": "#!/bin/sh\nsleep 60\n"}), "each for 300ms at most"},
		{"leaves a child that holds its output", pulltest.Verifiers(t, map[string]string{"a": "#!/bin/sh\nsleep 60 &\nwait\n"}), "each for 300ms at most"},
		{"killed", pulltest.Verifiers(t, map[string]string{"a": "#!/bin/sh\nkill -9 $$\n"}), "signal: killed"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			v := bindir(tc.dir)
			if strings.Contains(tc.want, "300ms") {
				v.Timeout = 300 * time.Millisecond
			}
			start := time.Now()
			_, err := v.Verify(t.Context(), ref(t, "app:1"), target())
			refusal(t, err, "bindir", tc.want)
			if took := time.Since(start); took > 10*time.Second {
				t.Errorf("got an answer after %s, want one when the time is over", took)
			}
		})
	}
}

// TestBindirAsksTheFirst asks no more programs than it may, by name; a daemon
// that has none is content.
func TestBindirAsksTheFirst(t *testing.T) {
	programs := map[string]string{}
	for i := range 10 {
		programs[fmt.Sprintf("%02d", i)] = pulltest.Verdict(true, "fine")
	}
	programs["10"] = pulltest.Verdict(false, "never asked")
	v := bindir(pulltest.Verifiers(t, programs))
	if _, err := v.Verify(t.Context(), ref(t, "app:1"), target()); err != nil {
		t.Errorf("got %v, want the eleventh left out", err)
	}
	v.Max = -1
	_, err := v.Verify(t.Context(), ref(t, "app:1"), target())
	refusal(t, err, "bindir", "verifier 10 rejected")
	v.Max = 0
	_, err = v.Verify(t.Context(), ref(t, "app:1"), target())
	refusal(t, err, "bindir", "may be asked")
	for _, dir := range []string{t.TempDir(), filepath.Join(t.TempDir(), "none")} {
		if _, err := (trust.Bindir{Dir: dir, Max: 10, Timeout: time.Second, Optional: true}).Verify(t.Context(), ref(t, "app:1"), target()); err != nil {
			t.Errorf("got %v from a daemon's folder without programs, want it allowed", err)
		}
	}
}

// TestBindirEndsWithItsContext: who interrupts has not been refused.
func TestBindirEndsWithItsContext(t *testing.T) {
	stop := errors.New("stop")
	ctx, cancel := context.WithCancelCause(t.Context())
	time.AfterFunc(200*time.Millisecond, func() { cancel(stop) })
	dir := pulltest.Verifiers(t, map[string]string{"a": "#!/bin/sh\nsleep 60\n"})
	start := time.Now()
	_, err := bindir(dir).Verify(ctx, ref(t, "app:1"), target())
	if !errors.Is(err, stop) || errors.As(err, new(*trust.Refusal)) || time.Since(start) > 3*time.Second {
		t.Errorf("got %v after %s, want the cause at once", err, time.Since(start))
	}
}

func TestNewRefusesNonsense(t *testing.T) {
	for _, o := range []trust.Options{
		{Mode: "cosign"},
		{Mode: trust.ModePinned, Digests: []string{"x"}},
		{Mode: trust.ModeBindir, BinDir: "/x", PerVerifierTimeout: 1},
		{Mode: trust.ModeBindir, BinDir: "/x", MaxVerifiers: 1},
		{Mode: trust.ModeBindir, MaxVerifiers: 1, PerVerifierTimeout: 1},
	} {
		if v, err := trust.New(o); err == nil {
			t.Errorf("got %+v of %+v, want an error", v, o)
		}
	}
	for _, mode := range []trust.Mode{"", trust.ModeNone} {
		if v, err := trust.New(trust.Options{Mode: mode}); v != nil || err != nil {
			t.Errorf("got %v and %v for mode %q, want neither", v, err, mode)
		}
	}
}

// The reason of a refusal is shown on one harmless line of bounded length, with
// any text that a program wrote.
func TestRefusalShowsForeignTextHarmless(t *testing.T) {
	for reason, want := range map[string]string{
		"no\n\x1b[2Jforged\u202e": `: no\n\x1b[2Jforged\u202e`,
		strings.Repeat("é", 2000): ": " + strings.Repeat("é", 1023) + "…",
	} {
		if got := trust.Refuse("", "", "", reason).Error(); !strings.HasSuffix(got, want) {
			t.Errorf("got %q of reason %q, want it to end with %q", got, reason, want)
		}
	}
}

func ExampleNew() {
	v, err := trust.New(trust.Options{Mode: trust.ModePinned})
	if err != nil {
		panic(err)
	}
	r, err := source.ParseRef("debian:12")
	if err != nil {
		panic(err)
	}
	_, err = v.Verify(context.Background(), r, ocispec.Descriptor{Digest: digest.FromString("")})
	fmt.Println(err)
	// Output: docker.io/library/debian:12 with digest sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855 is refused by verifier pinned: the reference has no digest, and none is pinned for it
}
