package config_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/containerd-pull/containerd-pull/pkg/config"
	"github.com/containerd-pull/containerd-pull/pkg/registry/credential"
)

func TestResolve(t *testing.T) {
	for _, tc := range []struct {
		name    string
		call    call
		setting string
		value   string
		origin  string
	}{
		{"default", call{}, "address", "/run/containerd/containerd.sock", "built-in"},
		{"no default", call{}, "root", "", "built-in"},
		{"long flag", call{args: []string{"--address", "/s"}}, "address", "/s", "flag --address"},
		{"short flag", call{args: []string{"-a", "/s"}}, "address", "/s", "flag --address"},
		{"other spelling", call{args: []string{"-H/s"}}, "address", "/s", "flag --host"},
		{"nerdctl's long short", call{args: []string{"--H", "/s"}}, "address", "/s", "flag --H"},
		{"same value twice", call{args: []string{"-a", "/s", "--host=/s"}}, "address", "/s", "flag --address"},
		{"one spelling repeated", call{args: []string{"-n", "a", "-n", "b"}}, "namespace", "b", "flag --namespace"},
		{"own variable", call{env: map[string]string{"CONTAINERD_PULL_NAMESPACE": "a", "CONTAINERD_NAMESPACE": "b"}}, "namespace", "a", "environment CONTAINERD_PULL_NAMESPACE"},
		{"containerd's variable", call{env: map[string]string{"CONTAINERD_NAMESPACE": "b"}}, "namespace", "b", "environment CONTAINERD_NAMESPACE"},
		{"flag over variable", call{args: []string{"-nc"}, env: map[string]string{"CONTAINERD_NAMESPACE": "b"}}, "namespace", "c", "flag --namespace"},
		{"variable of a table", call{env: map[string]string{"CONTAINERD_PULL_TLS_SKIP_VERIFY": "true"}}, "tls.skip_verify", "true", "environment CONTAINERD_PULL_TLS_SKIP_VERIFY"},
		{"boolean off", call{args: []string{"-k=false"}, env: map[string]string{"CONTAINERD_PULL_TLS_SKIP_VERIFY": "1"}}, "tls.skip_verify", "false", "flag --skip-verify"},
		{"platforms repeated and listed", call{args: []string{"--platform", "arm64,linux/amd64", "--platform", "linux/arm/v6"}}, "platforms", "linux/arm64,linux/amd64,linux/arm/v6", "flag --platform"},
		{"labels keep commas", call{args: []string{"--label", "a=1,2", "--label", "b"}}, "labels", "a=1,2,b=true", "flag --label"},
		{"labels merge", call{args: []string{"--label", "a=1"}, env: map[string]string{"CONTAINERD_PULL_LABELS": "a=0,c=3"}}, "labels", "a=1,c=3", "flag --label"},
		{"lists replace", call{args: []string{"--hosts-dir", "/a,/b"}}, "hosts_dir", "/a,/b", "flag --hosts-dir"},
		{"hosts of root", call{}, "hosts_dir", "/etc/containerd/certs.d,/etc/docker/certs.d", "built-in"},
		{"root rules out the default address", call{args: []string{"--root", "/r"}}, "address", "", "not used beside root"},
		{"root by flag over address by variable", call{args: []string{"--root", "/r"}, env: map[string]string{"CONTAINERD_ADDRESS": "/s"}}, "address", "", "not used beside root"},
		{"address by flag over root by variable", call{args: []string{"-a/s"}, env: map[string]string{"CONTAINERD_PULL_ROOT": "/r"}}, "root", "", "not used beside address"},
		{"all platforms over one by variable", call{args: []string{"--all-platforms"}, env: map[string]string{"CONTAINERD_PULL_PLATFORMS": "linux/arm64"}}, "platforms", "", "not used beside all_platforms"},
		{"quiet rules out progress by variable", call{args: []string{"-q"}, env: map[string]string{"CONTAINERD_PULL_PROGRESS": "plain"}}, "progress", "none", "not used beside quiet"},
		{"root over an engine by variable", call{args: []string{"--root", "/r"}, env: map[string]string{"CONTAINERD_PULL_ENGINE": "transfer"}}, "engine", "", "not used beside root"},
		{"root and the client's engine", call{args: []string{"--root", "/r", "--engine", "client"}}, "engine", "client", "flag --engine"},
		{"quiet and no progress", call{args: []string{"-q", "--progress", "none"}}, "progress", "none", "flag --progress"},
		{"empty variable", call{env: map[string]string{"CONTAINERD_SNAPSHOTTER": ""}}, "snapshotter", "", "environment CONTAINERD_SNAPSHOTTER"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			cfg, root, err := tc.call.load(t)
			if err != nil {
				t.Fatal(err)
			}
			value, origin := resolved(t, cfg, tc.setting)
			value = strings.ReplaceAll(value, root, "")
			if diff := cmp.Diff([2]string{tc.value, tc.origin}, [2]string{value, origin}); diff != "" {
				t.Errorf("%s (-want +got):\n%s", tc.setting, diff)
			}
		})
	}
}

// TestPatience keeps the patience that any source but the built-in one asks for.
func TestPatience(t *testing.T) {
	for _, tc := range []struct {
		name string
		call call
		want bool
	}{
		{"built-in", call{}, false},
		{"another setting", call{args: []string{"--retry-delay", "1s"}}, false},
		{"flag", call{args: []string{"--retry", "10"}}, true},
		{"variable", call{env: map[string]string{"CONTAINERD_PULL_RETRY_COUNT": "3"}}, true},
	} {
		cfg, _, err := tc.call.load(t)
		if err != nil {
			t.Fatal(err)
		}
		if got := cfg.Registry.Retry.Patient; got != tc.want {
			t.Errorf("%s: got patience %v, want %v", tc.name, got, tc.want)
		}
	}
}

func TestRefuse(t *testing.T) {
	for _, tc := range []struct {
		name string
		call call
		want string // part of the message
	}{
		{"two addresses", call{args: []string{"-a", "/x", "-H", "/y"}}, `--address and --host and -a and -H: got "/x" and "/y"`},
		{"two spellings of -a", call{args: []string{"-a", "/x", "--address", "/y"}}, `got "/x" and "/y"`},
		{"two snapshotters", call{args: []string{"--snapshotter", "x", "--storage-driver", "y"}}, `got "x" and "y"`},
		{"two long namespaces", call{args: []string{"--namespace", "x", "--n", "y"}}, `got "x" and "y"`},
		{"platform and all", call{args: []string{"--platform", "linux/amd64", "--all-platforms"}}, "--platform and --all-platforms exclude each other"},
		{"root and address", call{args: []string{"--root", "/r", "--host", "/s"}}, "--root and --host exclude each other"},
		{"root and address by variables", call{env: map[string]string{"CONTAINERD_PULL_ROOT": "/r", "CONTAINERD_ADDRESS": "/s"}}, "CONTAINERD_PULL_ROOT and CONTAINERD_ADDRESS exclude each other"},
		{"root and the daemon's engine", call{args: []string{"--root", "/r", "--engine", "daemon"}}, "--root and --engine exclude each other"},
		{"limits for the daemon", call{args: []string{"--engine", "transfer", "--max-concurrent-downloads", "3"}}, "--max-concurrent-downloads has no effect with engine transfer"},
		{"sync for the daemon", call{args: []string{"--engine", "transfer"}, env: map[string]string{"CONTAINERD_PULL_SYNC_FS": "1"}}, "CONTAINERD_PULL_SYNC_FS has no effect with engine transfer"},
		{"discarding by the daemon", call{args: []string{"--engine", "transfer", "--discard-layers"}}, "--discard-layers (keep_layers = false) has no effect with engine transfer"},
		{"chain ID of nothing", call{args: []string{"--print-chainid", "--unpack=false"}}, "--print-chainid has no effect with unpack = false"},
		{"printed chain ID of nothing", call{args: []string{"--print", "ref,chainid", "--unpack=false"}}, "--print chainid has no effect with unpack = false"},
		{"format and style", call{args: []string{"--format", "json", "--output-style", "docker"}}, "--format and --output-style exclude each other"},
		{"format and print", call{args: []string{"--format", "json", "--print", "id"}}, "--format and --print exclude each other"},
		{"format and ctr's line", call{args: []string{"--format", "json", "--print-chainid"}}, "--format and --print-chainid exclude each other"},
		{"print and style", call{args: []string{"--print", "id", "--output-style", "podman"}}, "--print and --output-style exclude each other"},
		{"ctr's line and style", call{args: []string{"--print-chainid", "--output-style", "podman"}}, "--print-chainid and --output-style exclude each other"},
		{"unknown style", call{args: []string{"--output-style", "skopeo"}}, `got "skopeo", want one of plain, docker, nerdctl, podman, crictl`},
		{"unknown format", call{args: []string{"--format", "yaml"}}, `got "yaml", want json, table or a template such as {{.name}}`},
		{"unknown kind to print", call{args: []string{"--print", "ref,name"}}, `got "name", want one of ref, digest, id, chainid, repodigest`},
		{"no exit code", call{args: []string{"--changed-exit-code", "256"}}, "got 256, want an exit code from 1 to 255"},
		{"no exit code by variable", call{env: map[string]string{"CONTAINERD_PULL_CHANGED_EXIT_CODE": "x"}}, `CONTAINERD_PULL_CHANGED_EXIT_CODE: got "x", want a number`},
		{"quiet and progress", call{args: []string{"-q", "--progress", "tty"}}, "--quiet and --progress exclude each other"},
		{"both metadata", call{args: []string{"--skip-metadata", "--all-metadata"}}, "--skip-metadata and --all-metadata exclude each other"},
		{"two users", call{args: []string{"-u", "a:canary1", "--creds", "a:canary2"}}, `got "a:***" and "a:***"`},
		{"user and refresh", call{args: []string{"-u", "a:b", "--refresh", "c"}}, "--user and --refresh exclude each other"},
		{"plain HTTP and TLS", call{args: []string{"--plain-http", "-k"}}, "--plain-http and --skip-verify exclude each other"},
		{"plain HTTP and CA", call{args: []string{"--plain-http", "--tlscacert", "x"}}, "exclude each other"},
		{"certificate without key", call{args: []string{"--tlscert", "x"}}, "need each other"},
		{"a verifier that is not built", call{args: []string{"--verify", "cosign"}}, "cosign is not built yet"},
		{"a pin that is none", call{args: []string{"--verify", "pinned"}, env: map[string]string{"CONTAINERD_PULL_VERIFY_DIGESTS": "app=sha256:1"}}, `CONTAINERD_PULL_VERIFY_DIGESTS: pin of docker.io/library/app:latest: digest "sha256:1"`},
		{"pins without a mode", call{env: map[string]string{"CONTAINERD_PULL_VERIFY_DIGESTS": "app=sha256:" + strings.Repeat("0", 64)}}, "has no effect without a mode"},
		{"programs without a mode", call{env: map[string]string{"CONTAINERD_PULL_VERIFY_BIN_DIR": "/x"}}, "CONTAINERD_PULL_VERIFY_BIN_DIR has no effect without a mode"},
		{"no program to ask", call{args: []string{"--verify", "bindir"}, env: map[string]string{"CONTAINERD_PULL_VERIFY_MAX_VERIFIERS": "0"}}, "one program at least"},
		{"bad boolean", call{args: []string{"--debug=maybe"}}, `got "maybe", want true or false`},
		{"bad duration", call{args: []string{"--timeout", "5"}}, `got "5", want a duration`},
		{"negative duration", call{args: []string{"--timeout", "-5s"}}, "want a duration"},
		{"bad number", call{args: []string{"--max-concurrent-downloads", "many"}}, `got "many", want a number`},
		{"negative number", call{args: []string{"--max-concurrent-downloads", "-1"}}, "got -1, want a number from 0"},
		{"bad word", call{args: []string{"--unpack", "yes"}}, `got "yes", want one of auto, true, false`},
		{"bad platform", call{args: []string{"--platform", "lin ux/amd64"}}, `got "lin ux/amd64", want a platform`},
		{"bad variable", call{env: map[string]string{"CONTAINERD_PULL_TIMEOUT": "x"}}, `CONTAINERD_PULL_TIMEOUT: got "x"`},
		{"reserved label", call{args: []string{"--label", "containerd.io/gc.root=x"}}, "is reserved for containerd"},
		{"label without key", call{args: []string{"--label", "=x"}}, "has no key"},
		{"label too long", call{args: []string{"--label", "k=" + strings.Repeat("x", 4096)}}, "greater than maximum size"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			_, _, err := tc.call.load(t)
			if err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("got error %v, want one with %q", err, tc.want)
			}
		})
	}
}

// TestBinding compares settings with their fields: what is set has to stand in
// the options that the packages get.
func TestBinding(t *testing.T) {
	cfg, _, err := call{args: []string{
		"-n", "ns", "--snapshotter", "native", "--connect-timeout", "3s", "--hosts-dir", "/d", "--plain-http",
		"--unpack", "true", "--label", "k", "--skip-metadata", "--sync-fs", "--all-platforms", "--timeout", "2m",
		"--print", "id,digest", "--print", "ref", "--digestfile", "d", "--changed-exit-code", "90",
		"--max-concurrent-downloads", "4", "--print-chainid", "--http-dump", "--http-trace", "--debug", "-u", "me:pw",
	}}.load(t)
	if err != nil {
		t.Fatal(err)
	}
	got := []any{
		cfg.Store.Namespace, cfg.Store.Snapshotter, cfg.Store.ConnectTimeout.String(), cfg.Registry.Hosts.Dirs, cfg.Registry.Hosts.PlainHTTP,
		string(cfg.Request.Unpack), cfg.Request.Labels, cfg.Request.SkipMetadata, cfg.Request.SyncFS, cfg.Request.AllPlatforms, cfg.Timeout.String(),
		cfg.Print, cfg.DigestFile, cfg.ChangedExitCode,
		cfg.Limits.Downloads, cfg.PrintChainID, cfg.HTTPDump, cfg.HTTPTrace, cfg.Debug, cfg.Login.User,
	}
	want := []any{
		"ns", "native", "3s", []string{"/d"}, true,
		"true", map[string]string{"k": "true"}, true, true, true, "2m0s",
		[]string{"id", "digest", "ref"}, "d", 90,
		4, true, true, true, true, "me:pw",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("options (-want +got):\n%s", diff)
	}
}

// TestOutput: a style gives way to a stronger format, and decides about progress
// if no setting does.
func TestOutput(t *testing.T) {
	docker := map[string]string{"CONTAINERD_PULL_OUTPUT_STYLE": "docker"}
	for _, tc := range []struct {
		call                    call
		style, format, progress string
	}{
		{call{}, "plain", "", "auto"},
		{call{env: docker}, "docker", "", "none"},
		{call{args: []string{"--output-style", "nerdctl"}}, "nerdctl", "", "none"},
		{call{args: []string{"--output-style", "podman"}}, "podman", "", "auto"},
		{call{args: []string{"--output-style", "docker", "--progress", "tty"}}, "docker", "", "tty"},
		{call{args: []string{"--output-style", "docker", "--progress", "auto"}}, "docker", "", "auto"},
		{call{args: []string{"--output-style", "docker"}, files: map[string]string{system: "progress = 'plain'"}}, "docker", "", "plain"},
		{call{args: []string{"--format", "json"}, env: docker}, "plain", "json", "auto"},
		{call{args: []string{"--print", "id"}, env: docker}, "plain", "", "auto"},
		{call{args: []string{"--format", "go-template={{.name}}"}}, "plain", "go-template={{.name}}", "auto"},
		{call{args: []string{"-q"}, files: map[string]string{system: "output_style = 'crictl'"}}, "crictl", "", "none"},
	} {
		cfg, _, err := tc.call.load(t)
		if err != nil {
			t.Fatal(err)
		}
		got, want := []string{cfg.OutputStyle, cfg.Format, cfg.Progress}, []string{tc.style, tc.format, tc.progress}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%v %v (-want +got):\n%s", tc.call.args, tc.call.env, diff)
		}
	}
}

// TestDiscardLayers: the key keeps layers, the flag discards them.
func TestDiscardLayers(t *testing.T) {
	for _, tc := range []struct {
		call call
		want bool
	}{
		{call{}, false},
		{call{args: []string{"--discard-layers"}}, true},
		{call{env: map[string]string{"CONTAINERD_PULL_KEEP_LAYERS": "false"}}, true},
		{call{env: map[string]string{"CONTAINERD_PULL_KEEP_LAYERS": "false"}, args: []string{"--discard-layers=false"}}, false},
		{call{files: map[string]string{system: "keep_layers = false"}}, true},
	} {
		cfg, _, err := tc.call.load(t)
		if err != nil {
			t.Fatal(err)
		}
		if got := cfg.Request.DiscardLayers; got != tc.want {
			t.Errorf("%v %v: got discard %v, want %v", tc.call.args, tc.call.env, got, tc.want)
		}
	}
}

// TestTable checks that names are unique and no setting lacks its texts.
func TestTable(t *testing.T) {
	seen := make(map[string]string)
	for _, s := range config.Table() {
		names := s.EnvNames()
		for _, f := range s.Flags {
			names = append(names, "--"+f.Name)
			if f.Short != "" {
				names = append(names, "-"+f.Short)
			}
		}
		if s.Key != "" {
			names = append(names, "key "+s.Key)
		}
		for _, n := range names {
			if seen[n] != "" {
				t.Errorf("%s belongs to %s and to %s", n, seen[n], s.Name())
			}
			seen[n] = s.Name()
		}
		if s.Usage == "" || s.Group == "" {
			t.Errorf("%s lacks usage or group", s.Name())
		}
	}
}

// TestStarter removes the comment sign from each line of a fresh profile in
// turn: every line has to be a valid setting.
func TestStarter(t *testing.T) {
	path := filepath.Join(t.TempDir(), "config.toml")
	if err := config.InitProfile(path, "new"); err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(path)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode of a new file: got %v (%v), want 0600", info.Mode(), err)
	}
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(string(text), "\n")
	table, tried := "", 0
	tryBlocks(t, string(text))
	for i, line := range lines {
		bare, commented := strings.CutPrefix(line, "#")
		if !commented || strings.HasPrefix(bare, " ") {
			continue
		}
		if strings.HasPrefix(bare, "[") {
			table = bare
			continue
		}
		if strings.HasPrefix(table, "[[") { // see tryBlocks
			continue
		}
		tried++
		one := strings.Join(lines[:i], "\n") + "\n" + table + "\n" + bare + "\n"
		if strings.HasPrefix(bare, "extends") {
			one += "[profiles.base]\n"
		}
		if strings.HasSuffix(table, ".verify]") && !strings.HasPrefix(bare, "mode") { // without effect otherwise
			one += "mode = 'pinned'\n"
		}
		cfg, _, err := call{files: map[string]string{system: one}, args: []string{"-p", "new"}, uid: os.Getuid()}.load(t)
		if err != nil {
			t.Errorf("%s: %v", bare, err)
		} else if cfg.Profile != "new" {
			t.Errorf("profile: got %q, want new", cfg.Profile)
		}
	}
	if tried < 30 {
		t.Errorf("keys in a fresh profile: got %d, want all of them", tried)
	}
	if err := config.InitProfile(path, "new"); err == nil {
		t.Error("a profile that exists was written again")
	}
	if err := config.InitProfile(path, "second"); err != nil {
		t.Errorf("adding a profile: %v", err)
	}
}

// tryBlocks removes the comment signs of each table of a list of a fresh profile, and
// then of all: there is one for each source of credentials, each has hosts, and every
// key stands in one.
func tryBlocks(t *testing.T, text string) {
	t.Helper()
	var all, alone []string
	for part := range strings.SplitSeq(text, "\n\n") {
		_, block, ok := strings.Cut(part, "\n#[[")
		if ok {
			alone = append(alone, "\n[["+strings.ReplaceAll(block, "\n#", "\n"))
		}
	}
	for i, block := range alone {
		var lines []string
		for line := range strings.Lines(block) {
			if !strings.HasPrefix(line, " ") { // prose
				lines = append(lines, line)
			}
		}
		alone[i] = strings.Join(lines, "")
	}
	for _, block := range append(alone, strings.Join(alone, "")) {
		file := "[profiles.new]\n" + block
		if _, _, err := (call{files: map[string]string{system: file}, args: []string{"-p", "new"}, uid: os.Getuid()}).load(t); err != nil {
			t.Errorf("%s: %v", block, err)
		}
		if strings.Contains(block, ".credentials]]") && !strings.Contains(block, "\nmatch = ") {
			t.Errorf("got no match in %s", block)
		}
		all = append(all, block)
	}
	for _, source := range credential.SourceNames() {
		if !strings.Contains(strings.Join(all, ""), `source = "`+source+`"`) {
			t.Errorf("no block for the source %s", source)
		}
	}
	for _, list := range []string{"credentials", "mirrors"} {
		properties := config.JSONSchema()["properties"].(map[string]any)
		list := properties[list].(map[string]any)["anyOf"].([]any)[1].(map[string]any)
		for key := range list["properties"].(map[string]any) {
			if !strings.Contains(text, "#"+key+" = ") && !strings.Contains(text, "# or "+key) && !strings.Contains(text, " and "+key+" ") {
				t.Errorf("no block has %s", key)
			}
		}
	}
}
