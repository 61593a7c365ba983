package config_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"strings"
	"syscall"
	"testing"

	nerdctlconfig "github.com/containerd/nerdctl/v2/pkg/config"
	"github.com/containerd/nerdctl/v2/pkg/defaults"
	"github.com/google/go-cmp/cmp"
	"github.com/pelletier/go-toml/v2"
	"github.com/spf13/pflag"

	"github.com/containerd-pull/containerd-pull/pkg/config"
	"github.com/containerd-pull/containerd-pull/pkg/source"
)

// concernsPull is decided here for every key of nerdctl's file. A key that a
// later nerdctl adds fails the tests until it has a line.
func concernsPull() map[string]bool {
	return map[string]bool{
		"address":           true,
		"debug":             true,
		"debug_full":        true,
		"experimental":      true,
		"hosts_dir":         true,
		"insecure_registry": true,
		"namespace":         true,
		"snapshotter":       true,

		"bridge_ip":          false,
		"cdi_spec_dirs":      false,
		"cgroup_manager":     false,
		"cni_netconfpath":    false,
		"cni_path":           false,
		"data_root":          false,
		"disable_hc_systemd": false,
		"dns":                false,
		"dns_opts":           false,
		"dns_search":         false,
		"host_gateway_ip":    false,
		"kube_hide_dupe":     false, // of a list of images
		"selinux_enabled":    false,
		"userns_remap":       false, // of containers
	}
}

// nerdctlKeys are the keys of nerdctl's file by the fields of its Config.
func nerdctlKeys() map[string]reflect.StructField {
	keys := map[string]reflect.StructField{}
	for field := range reflect.TypeFor[nerdctlconfig.Config]().Fields() {
		key, _, _ := strings.Cut(field.Tag.Get("toml"), ",")
		keys[key] = field
	}
	return keys
}

func TestEveryKeyOfNerdctlIsDecided(t *testing.T) {
	decided := concernsPull()
	settings := map[string]bool{}
	for _, s := range config.Table() {
		settings[s.Key] = true
	}
	for key := range nerdctlKeys() {
		concerns, known := decided[key]
		if !known {
			t.Errorf("%s: got a key of nerdctl without a decision whether it concerns a pull", key)
		}
		if settings[key] != concerns {
			t.Errorf("%s: got a setting of that name %v, want %v", key, settings[key], concerns)
		}
		delete(decided, key)
	}
	for key := range decided {
		t.Errorf("%s: got a decision about a key that nerdctl does not have", key)
	}
}

// readAsNerdctl reads a file as the main function of nerdctl does.
func readAsNerdctl(path string) (*nerdctlconfig.Config, error) {
	cfg := nerdctlconfig.New()
	r, err := os.Open(path)
	if errors.Is(err, os.ErrNotExist) {
		return cfg, nil
	}
	if err != nil {
		return nil, err
	}
	defer r.Close()
	return cfg, toml.NewDecoder(r).DisallowUnknownFields().Decode(cfg)
}

// theirValues are the values that concern a pull, by key.
func theirValues(cfg *nerdctlconfig.Config) map[string]any {
	values := map[string]any{}
	for key, field := range nerdctlKeys() {
		if concernsPull()[key] {
			values[key] = plain(reflect.ValueOf(*cfg).FieldByIndex(field.Index))
		}
	}
	return values
}

// ownValues are the same as this program has them, and their origins.
func ownValues(cfg *config.Config) (values map[string]any, origins map[string]config.Origin) {
	values, origins = map[string]any{}, map[string]config.Origin{}
	for _, r := range cfg.Resolved() {
		if concernsPull()[r.Setting.Key] {
			values[r.Setting.Key], origins[r.Setting.Key] = plain(reflect.ValueOf(r.Plain)), r.From
		}
	}
	return values, origins
}

// plain is a value without a name for the type of a list.
func plain(v reflect.Value) any {
	if v.Kind() != reflect.Slice {
		return v.Interface()
	}
	texts := []any{}
	for _, item := range v.Seq2() {
		texts = append(texts, item.Interface())
	}
	return texts
}

// line writes a key with a value of the field's type: other than the default if
// set is true, and else an empty one.
func line(key string, field reflect.StructField, set bool) string {
	switch kind := field.Type.Kind(); {
	case kind == reflect.Bool:
		return fmt.Sprintf("%s = %v", key, set != strings.EqualFold(key, "experimental"))
	case kind == reflect.Slice && set:
		return key + " = ['/a folder', 'one,two']"
	case kind == reflect.Slice:
		return key + " = []"
	case set:
		return fmt.Sprintf("%s = 'other-%s'", key, key)
	default:
		return key + " = ''"
	}
}

// TestNerdctlReadsTheSame compares both views of files that hold every key.
func TestNerdctlReadsTheSame(t *testing.T) {
	for name, write := range map[string]func(key string, field reflect.StructField) string{
		"set":   func(key string, f reflect.StructField) string { return line(key, f, true) },
		"zero":  func(key string, f reflect.StructField) string { return line(key, f, false) },
		"upper": func(key string, f reflect.StructField) string { return line(strings.ToUpper(key), f, true) },
		"twice": func(key string, f reflect.StructField) string {
			return line(key, f, false) + "\n" + line(strings.ToUpper(key), f, true)
		},
	} {
		t.Run(name, func(t *testing.T) {
			var text strings.Builder
			lines := map[string]int{} // the last one of each key
			for key, field := range nerdctlKeys() {
				text.WriteString(write(key, field) + "\n")
				lines[key] = strings.Count(text.String(), "\n")
			}
			c := call{files: map[string]string{nerdctl: text.String()}}
			settings, root, err := c.settings(t)
			if err != nil {
				t.Fatal(err)
			}
			path := root + nerdctl
			theirs, err := readAsNerdctl(path)
			if err != nil {
				t.Fatal(err)
			}
			cfg, err := settings.Resolve(source.Ref{})
			if err != nil {
				t.Fatal(err)
			}
			values, origins := ownValues(cfg)
			if diff := cmp.Diff(theirValues(theirs), values); diff != "" {
				t.Errorf("values (-nerdctl +own):\n%s", diff)
			}
			for key, from := range origins {
				if want := fmt.Sprintf("%s:%d", path, lines[key]); from.String() != want {
					t.Errorf("origin of %s: got %s, want %s", key, from, want)
				}
			}
			if got := settings.Warnings(); len(got) > 0 {
				t.Errorf("got warnings %q, want none", got)
			}
		})
	}
}

// TestNerdctlWrongType: what nerdctl refuses is refused where it concerns a
// pull, and left alone elsewhere.
func TestNerdctlWrongType(t *testing.T) {
	for key := range nerdctlKeys() {
		_, root, err := call{files: map[string]string{nerdctl: "\n" + key + " = 3\n"}}.settings(t)
		path := root + nerdctl
		if _, theirs := readAsNerdctl(path); theirs == nil {
			t.Errorf("%s: nerdctl takes a number", key)
		}
		if !concernsPull()[key] {
			if err != nil {
				t.Errorf("%s: got %v, want no error", key, err)
			}
			continue
		}
		if want := path + ":2: " + key + ": got a number, want "; err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("%s: got error %v, want %q", key, err, want)
		}
	}
}

func TestNerdctlUnknownKeyIsAWarning(t *testing.T) {
	settings, root, err := call{files: map[string]string{nerdctl: "cni_path = 'x'\nnew_thing = true\n[table]\nnamespace = 'x'\n"}}.settings(t)
	if err != nil {
		t.Fatal(err)
	}
	path := root + nerdctl
	want := []string{path + `:2: unknown key "new_thing"`, path + `:3: unknown key "table"`}
	if diff := cmp.Diff(want, settings.Warnings()); diff != "" {
		t.Errorf("warnings (-want +got):\n%s", diff)
	}
	var strict *toml.StrictMissingError
	if _, theirs := readAsNerdctl(path); !errors.As(theirs, &strict) || len(strict.Errors) != len(want) {
		t.Errorf("got %v from nerdctl, want that many unknown keys: %q", theirs, want)
	}
}

// view is what a process of some user in some environment sees.
type view struct {
	Files  []string
	UID    int
	Own    map[string]any
	Theirs map[string]any
	Panic  string // of nerdctl
}

// viewVariable makes the test program print its view.
const viewVariable = "CONFIG_TEST_VIEW"

func TestMain(m *testing.M) {
	if os.Getenv(viewVariable) == "" {
		os.Exit(m.Run())
	}
	v, err := look()
	if err = errors.Join(err, json.NewEncoder(os.Stdout).Encode(v)); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// look is the view of this process.
func look() (view, error) {
	caller := config.ThisProcess()
	fs := pflag.NewFlagSet("test", pflag.ContinueOnError)
	settings, err := config.Load(caller, config.NewFlags(fs, config.Table()))
	if err != nil {
		return view{}, err
	}
	cfg, err := settings.Resolve(source.Ref{})
	if err != nil {
		return view{}, err
	}
	v := view{Files: settings.Files(), UID: caller.UID}
	var origins map[string]config.Origin
	v.Own, origins = ownValues(cfg)
	if v.Theirs, v.Panic, err = lookAsNerdctl(); err == nil && v.Own["snapshotter"] == "" && origins["snapshotter"].Kind == config.BuiltIn {
		delete(v.Own, "snapshotter") // the daemon's default, where nerdctl has a name
		delete(v.Theirs, "snapshotter")
	}
	return v, err
}

// lookAsNerdctl chooses and reads the file as the main function of nerdctl does.
func lookAsNerdctl() (values map[string]any, panicked string, err error) {
	defer func() {
		if p := recover(); p != nil {
			panicked = fmt.Sprint(p)
		}
	}()
	path := defaults.NerdctlTOML()
	if v, ok := os.LookupEnv("NERDCTL_TOML"); ok {
		path = v
	}
	cfg, err := readAsNerdctl(path)
	if err != nil {
		return nil, "", err
	}
	return theirValues(cfg), "", nil
}

// homes is a folder that every user can read, with files of nerdctl in the homes
// home and xdg, and one called named.yaml.
func homes(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "nerdctl") // that of the test is closed to others
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	const hosts = "hosts_dir = ['relative', '/absolute']\n"
	for name, text := range map[string]string{
		"home/.config/nerdctl/nerdctl.toml": "namespace = 'home'\n",
		"xdg/nerdctl/nerdctl.toml":          "namespace = 'xdg'\n" + hosts,
		"named.yaml":                        "namespace = 'named'\n" + hosts,
	} {
		path := filepath.Join(dir, name)
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, []byte(text), 0o644)); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// rootHosts are the hosts folders of root.
func rootHosts() []any { return []any{"/etc/containerd/certs.d", "/etc/docker/certs.d"} }

// ordinaryUser is the user of the tests, or one that root becomes.
func ordinaryUser() int {
	if uid := os.Geteuid(); uid != 0 {
		return uid
	}
	return 4242
}

// TestNerdctlLooksInTheSamePlaces compares both views in processes of root and
// of an ordinary user.
func TestNerdctlLooksInTheSamePlaces(t *testing.T) {
	dir, user := homes(t), ordinaryUser()
	homeHosts := []any{dir + "/home/.config/containerd/certs.d", dir + "/home/.config/docker/certs.d"}
	ownHosts := []any{"relative", "/absolute"}
	for _, tc := range []struct {
		name      string
		uid       int
		env       []string
		namespace string
		hosts     []any
		panics    bool
	}{
		{"root", 0, []string{"HOME=$DIR/home", "XDG_CONFIG_HOME=$DIR/xdg", "NERDCTL_TOML="}, "default", rootHosts(), false},
		{"root, another file", 0, []string{"NERDCTL_TOML=$DIR/named.yaml"}, "named", ownHosts, false},
		{"root, a file that is not there", 0, []string{"NERDCTL_TOML=$DIR/none"}, "default", rootHosts(), false},
		{"root with RootlessKit's variables, but not inside", 0, []string{"NERDCTL_TOML=", "ROOTLESSKIT_STATE_DIR=/s", "ROOTLESSKIT_PARENT_EUID=7"}, "default", rootHosts(), false},
		{"user", user, []string{"HOME=$DIR/home"}, "home", homeHosts, false},
		{"user, XDG", user, []string{"HOME=$DIR/home", "XDG_CONFIG_HOME=$DIR/xdg"}, "xdg", ownHosts, false},
		{"user, XDG empty", user, []string{"HOME=$DIR/home", "XDG_CONFIG_HOME="}, "home", homeHosts, false},
		{"user, another file", user, []string{"HOME=$DIR/home", "NERDCTL_TOML=$DIR/named.yaml"}, "named", ownHosts, false},
		{"user, no file", user, []string{"HOME=$DIR/home", "NERDCTL_TOML="}, "default", homeHosts, false},
		{"user, variables over the file", user, []string{"HOME=$DIR/home", "CONTAINERD_ADDRESS=/s"}, "home", homeHosts, false},
		{"user without a home", user, nil, "default", rootHosts(), true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			v := viewOf(t, dir, tc.uid, tc.env)
			if v.UID != tc.uid {
				t.Errorf("got user %d, want %d", v.UID, tc.uid)
			}
			if got := []any{v.Own["namespace"], v.Own["hosts_dir"]}; !cmp.Equal(got, []any{tc.namespace, tc.hosts}) {
				t.Errorf("got namespace and hosts %v, want %s and %v", got, tc.namespace, tc.hosts)
			}
			if tc.panics {
				if v.Panic == "" {
					t.Error("nerdctl does not panic any more: its code can be asked without a guard")
				}
				return
			}
			if strings.Contains(strings.Join(tc.env, " "), "CONTAINERD_ADDRESS") {
				if v.Own["address"] != "/s" {
					t.Errorf("got address %v, want /s", v.Own["address"])
				}
				delete(v.Own, "address") // nerdctl applies variables in its flags
				delete(v.Theirs, "address")
			}
			if diff := cmp.Diff(v.Theirs, v.Own); diff != "" || v.Panic != "" {
				t.Errorf("values (-nerdctl +own):\n%s%s", diff, v.Panic)
			}
		})
	}
}

// TestNerdctlInsideRootlessKit: RootlessKit says in variables whose processes
// those in its namespaces are. Without them, nerdctl takes root inside for root.
func TestNerdctlInsideRootlessKit(t *testing.T) {
	dir := homes(t)
	for name, tc := range map[string]struct {
		env       []string
		uid       int
		namespace string
	}{
		"inside":                  {[]string{"ROOTLESSKIT_STATE_DIR=/s", "ROOTLESSKIT_PARENT_EUID=4242"}, 4242, "home"},
		"inside, an unknown user": {[]string{"ROOTLESSKIT_STATE_DIR=/s"}, 0, "home"},
		"inside, no number":       {[]string{"ROOTLESSKIT_STATE_DIR=/s", "ROOTLESSKIT_PARENT_EUID=me"}, 0, "home"},
		"inside another's":        {[]string{"NERDCTL_TOML=$DIR/named.yaml"}, 0, "named"},
	} {
		t.Run(name, func(t *testing.T) {
			v := viewOf(t, dir, inside, append(tc.env, "HOME=$DIR/home", "XDG_RUNTIME_DIR=/r"))
			if v.UID != tc.uid || v.Own["namespace"] != tc.namespace {
				t.Errorf("got user %d and namespace %v, want %d and %s", v.UID, v.Own["namespace"], tc.uid, tc.namespace)
			}
			if diff := cmp.Diff(v.Theirs, v.Own); diff != "" {
				t.Errorf("values (-nerdctl +own):\n%s", diff)
			}
		})
	}
}

// TestNerdctlTakesRelativeHome: nerdctl takes the folder from which it is called.
func TestNerdctlTakesRelativeHome(t *testing.T) {
	v := viewOf(t, homes(t), ordinaryUser(), []string{"HOME=$DIR/home", "XDG_CONFIG_HOME=xdg"})
	if v.Own["namespace"] != "default" || !cmp.Equal(v.Own["hosts_dir"], any(rootHosts())) || v.Theirs["namespace"] != "xdg" {
		t.Errorf("got %v, nerdctl %v; want the defaults, and xdg from nerdctl", v.Own, v.Theirs)
	}
}

// inside is root in a user namespace, another user outside.
const inside = -1

// viewOf runs the test program in dir as a user with these variables alone;
// $DIR stands for dir.
func viewOf(t *testing.T, dir string, uid int, env []string) view {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "/proc/self/exe") // its folder is closed to others
	cmd.Dir = dir
	for _, e := range append(env, viewVariable+"=1") {
		cmd.Env = append(cmd.Env, strings.ReplaceAll(e, "$DIR", dir))
	}
	switch {
	case os.Geteuid() == uid:
	case os.Geteuid() == 0 && uid == inside:
		other := []syscall.SysProcIDMap{{ContainerID: 0, HostID: 4242, Size: 1}}
		cmd.SysProcAttr = &syscall.SysProcAttr{
			Cloneflags:  syscall.CLONE_NEWUSER,
			UidMappings: other, GidMappings: other,
			Credential: &syscall.Credential{Uid: 0, Gid: 0},
		}
	case os.Geteuid() == 0:
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uint32(uid), Gid: uint32(uid)}}
	default:
		t.Skip("becoming another user needs root")
	}
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%v: %s", err, &stderr)
	}
	var v view
	if err := json.Unmarshal(out, &v); err != nil {
		t.Fatal(err)
	}
	return v
}
