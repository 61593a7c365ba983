package daemon_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	introspectionapi "github.com/containerd/containerd/api/services/introspection/v1"
	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/containerd-pull/containerd-pull/pkg/internal/pulltest/testdaemon"
	"github.com/containerd-pull/containerd-pull/pkg/store"
	"github.com/containerd-pull/containerd-pull/pkg/store/daemon"
)

// verifiers are what Dial finds out about the daemon at address.
func verifiers(t *testing.T, address string) store.Verifiers {
	t.Helper()
	s, err := daemon.Dial(t.Context(), store.Options{Address: address})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	return s.Traits().Verifiers
}

func bindirConfig(lines string) string {
	return "[plugins.\"io.containerd.image-verifier.v1.bindir\"]\n" + lines
}

func TestDialKnowsTheVerifiers(t *testing.T) {
	imported := filepath.Join(t.TempDir(), "verifiers.toml")
	if err := os.WriteFile(imported, []byte("version = 2\n"+bindirConfig("bin_dir = '/imported'\n")), 0o644); err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct {
		name string
		o    testdaemon.Options
		want *store.VerifierPrograms
	}{
		{"default", testdaemon.Options{}, &store.VerifierPrograms{Dir: "/opt/containerd/image-verifier/bin", Max: 10, Timeout: 10 * time.Second}},
		{"configured", testdaemon.Options{Config: bindirConfig("bin_dir = '/verifiers'\nmax_verifiers = -1\nper_verifier_timeout = '3s'\n" +
			"[timeouts]\n'io.containerd.timeout.shim.cleanup' = '5s'\n[stream_processors.x]\naccepts = ['x']\npath = 'x'\n[proxy_plugins.x]\ntype = 'snapshot'\naddress = '/none'\n")},
			&store.VerifierPrograms{Dir: "/verifiers", Max: -1, Timeout: 3 * time.Second}},
		{"imported", testdaemon.Options{Imports: []string{filepath.Join(filepath.Dir(imported), "*.toml")}, Config: bindirConfig("bin_dir = '/verifiers'\nmax_verifiers = 3\n")},
			&store.VerifierPrograms{Dir: "/imported", Max: 3, Timeout: 10 * time.Second}},
		{"switched off", testdaemon.Options{Disabled: []string{"io.containerd.image-verifier.v1.bindir"}}, nil},
		{"before 2.0", testdaemon.Options{Version: "1.7"}, nil},
		{"long before 2.0", testdaemon.Options{Version: "1.6"}, nil},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			d := testdaemon.Start(t, tc.o)
			if diff := cmp.Diff(store.Verifiers{Programs: tc.want}, verifiers(t, d.Address)); diff != "" {
				t.Errorf("verifiers (-want +got):\n%s", diff)
			}
			if tc.want == nil {
				return
			}
			relayed := verifiers(t, testdaemon.Relay(t, d.Address))
			if relayed.Programs != nil || !strings.Contains(relayed.Unknown, "the socket belongs to") {
				t.Errorf("got %+v through a socket that is not the daemon's, want nothing known", relayed)
			}
		})
	}
}

// TestConfigThatHasChanged says nothing about what the daemon has read.
func TestConfigThatHasChanged(t *testing.T) {
	dir := t.TempDir()
	d := testdaemon.Start(t, testdaemon.Options{Imports: []string{filepath.Join(dir, "*.toml")}})
	if got := verifiers(t, d.Address); got.Programs == nil {
		t.Fatalf("got %+v, want the programs known", got)
	}
	time.Sleep(1200 * time.Millisecond) // more than clocks may differ by
	late := filepath.Join(dir, "late.toml")
	if err := os.WriteFile(late, []byte("version = 2\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	if got := verifiers(t, d.Address); got.Programs != nil || !strings.Contains(got.Unknown, "has changed since") {
		t.Errorf("got %+v after a file was added, want nothing known", got)
	}
	if err := errors.Join(d.Stop(), d.Start(t.Context())); err != nil {
		t.Fatal(err)
	}
	if got := verifiers(t, d.Address); got.Programs == nil {
		t.Errorf("got %+v after a restart, want the programs known", got)
	}
	time.Sleep(1200 * time.Millisecond)
	if err := os.WriteFile(d.ConfigFile(), []byte("this is no TOML"), 0o644); err != nil {
		t.Fatal(err)
	}
	if got := verifiers(t, d.Address); got.Programs != nil || got.Unknown == "" {
		t.Errorf("got %+v after the file was overwritten, want nothing known", got)
	}
}

func TestConfigFlag(t *testing.T) {
	for line, want := range map[string]string{
		"":                             "",
		"--log-level debug":            "",
		"--config /a":                  "/a",
		"-c /a":                        "/a",
		"--config=/a --root /r":        "/a",
		"-c=/a":                        "/a",
		"-l debug -config a.toml":      "a.toml",
		"--config /a --config /b":      "/b",
		"--root /r -c":                 "",
		"--configuration /a --conf=/a": "",
	} {
		got, given := daemon.ConfigFlag(strings.Fields(line))
		if got != want || given != (want != "" || strings.HasSuffix(line, "-c")) {
			t.Errorf("%q: got %q and %v, want %q", line, got, given, want)
		}
	}
}

// TestOtherVerifiers: a plugin that is not bindir can be asked by containerd
// alone, also beside bindir.
func TestOtherVerifiers(t *testing.T) {
	plugin := func(kind, id string) *introspectionapi.Plugin { return &introspectionapi.Plugin{Type: kind, ID: id} }
	const kind = "io.containerd.image-verifier.v1"
	for _, tc := range []struct {
		name    string
		plugins []*introspectionapi.Plugin
		unknown string
	}{
		{"none", []*introspectionapi.Plugin{plugin("io.containerd.snapshotter.v1", "notary")}, ""},
		{"another", []*introspectionapi.Plugin{plugin(kind, "notary")}, `"notary" can only be asked by containerd`},
		{"both", []*introspectionapi.Plugin{plugin(kind, "bindir"), plugin(kind, "notary")}, `"notary" can only be asked by containerd`},
		{"of a process that cannot be seen", []*introspectionapi.Plugin{plugin(kind, "bindir")}, "not a process that can be seen"},
	} {
		got := daemon.VerifiersOf(t.Context(), tc.plugins)
		if got.Programs != nil || (got.Unknown == "") != (tc.unknown == "") || !strings.Contains(got.Unknown, tc.unknown) {
			t.Errorf("%s: got %+v, want unknown because …%s", tc.name, got, tc.unknown)
		}
	}
}

func BenchmarkDial(b *testing.B) {
	d := testdaemon.Start(b, testdaemon.Options{})
	for b.Loop() {
		s, err := daemon.Dial(b.Context(), store.Options{Address: d.Address})
		if err != nil {
			b.Fatal(err)
		}
		if err := s.Close(); err != nil {
			b.Fatal(err)
		}
	}
}

// TestRule7EndlessConfiguration has containerd's configuration be a device, a pipe
// into which nothing comes, and a file that is larger than it may be.
func TestRule7EndlessConfiguration(t *testing.T) {
	dir := t.TempDir()
	pipe, large := filepath.Join(dir, "pipe"), filepath.Join(dir, "large")
	if err := errors.Join(unix.Mkfifo(pipe, 0o600), os.WriteFile(large, nil, 0o600), os.Truncate(large, 1<<40)); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]string{"/dev/zero": "more than", large: "more than", pipe: "", os.DevNull: ""} {
		all, err := daemon.Imports(path)
		if len(all) > 0 || (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %q, %v, want nothing and an error with %q", path, all, err, want)
		}
	}
}
