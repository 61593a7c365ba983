package daemon

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	introspectionapi "github.com/containerd/containerd/api/services/introspection/v1"
	serverconfig "github.com/containerd/containerd/v2/cmd/containerd/server/config"
	"github.com/containerd/containerd/v2/defaults"
	"github.com/containerd/containerd/v2/pkg/imageverifier/bindir"
	"github.com/pelletier/go-toml/v2"
	"golang.org/x/sys/unix"

	"github.com/containerd-pull/containerd-pull/pkg/store"
)

const (
	pluginVerifiers = "io.containerd.image-verifier.v1"
	pluginBindir    = "bindir"
	// defaultBinDir and the figures below are what containerd's plugin bindir
	// has where it is not configured (plugins/imageverifier).
	defaultBinDir          = "/opt/containerd/image-verifier/bin"
	defaultMaxVerifiers    = 10
	defaultVerifierTimeout = 10 * time.Second
	// startSlack is by how much a file may seem to be younger than the daemon
	// that read it: the clocks of files and of processes tick differently.
	startSlack = time.Second
)

// verifiersOf finds out what the daemon behind the process pid would ask. The
// API lists the plugins but not their configuration, which is therefore read from
// where the daemon has read it, unless barred says why a daemon must not name programs
// for this process to run.
func verifiersOf(ctx context.Context, plugins []*introspectionapi.Plugin, pid int, barred error) store.Verifiers {
	found := false
	for _, p := range plugins {
		switch {
		case p.Type != pluginVerifiers:
		case p.ID != pluginBindir:
			return store.Verifiers{Unknown: fmt.Sprintf("containerd's image verifier %q can only be asked by containerd", p.ID)}
		default:
			found = true
		}
	}
	if !found {
		return store.Verifiers{}
	}
	err := barred
	var programs *store.VerifierPrograms
	if err == nil {
		programs, err = programsOf(ctx, pid)
	}
	if err != nil {
		return store.Verifiers{Unknown: fmt.Sprintf("which programs containerd's image verifier bindir asks cannot be known here: %v", err)}
	}
	return store.Verifiers{Programs: programs}
}

// programsOf reads the configuration of the daemon that pid is. It demands proof
// that the daemon has read the same: the same root folder, and files that have not
// changed since the daemon was started.
func programsOf(ctx context.Context, pid int) (*store.VerifierPrograms, error) {
	if pid <= 0 {
		return nil, errors.New("the daemon is not a process that can be seen")
	}
	d := processFolder(pid)
	if err := d.sharesFile("/"); err != nil { // or paths would mean something else to it
		return nil, err
	}
	path, err := d.configFile()
	if err != nil {
		return nil, err
	}
	conf := bindir.Config{BinDir: defaultBinDir, MaxVerifiers: defaultMaxVerifiers}
	setDuration(&conf.PerVerifierTimeout, defaultVerifierTimeout)
	if path != "" {
		if err := d.unchanged(path); err != nil {
			return nil, err
		}
		all := serverconfig.Config{Version: 2} // in which plugins got the names of today
		if err := serverconfig.LoadConfig(ctx, path, &all); err != nil {
			return nil, fmt.Errorf("reading %s: %w", path, err)
		}
		if _, err := all.Decode(ctx, pluginVerifiers+"."+pluginBindir, &conf); err != nil {
			return nil, fmt.Errorf("reading %s: %w", path, err)
		}
	}
	if !filepath.IsAbs(conf.BinDir) {
		return nil, fmt.Errorf("its folder %q is not absolute", conf.BinDir)
	}
	if err := d.sharesFile(conf.BinDir); err != nil {
		return nil, err
	}
	return &store.VerifierPrograms{Dir: conf.BinDir, Max: conf.MaxVerifiers, Timeout: time.Duration(conf.PerVerifierTimeout)}, nil
}

// setDuration assigns to a type that is internal to containerd.
func setDuration[T ~int64](field *T, d time.Duration) { *field = T(d) }

// daemonProcess is the folder of a process below /proc.
type daemonProcess string

func (d daemonProcess) path(name string) string { return filepath.Join(string(d), name) }

func processFolder(pid int) daemonProcess {
	return daemonProcess(filepath.Join("/proc", strconv.Itoa(pid)))
}

// sharesFile is nil if the daemon finds at path the file or folder that this
// process finds there, or if neither finds one.
func (d daemonProcess) sharesFile(path string) error {
	theirs, err := os.Stat(d.path("root") + path)
	own, ownErr := os.Stat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist) && errors.Is(ownErr, fs.ErrNotExist):
		return nil
	case err != nil || ownErr != nil:
		return fmt.Errorf("comparing %s with the daemon's: %w", path, errors.Join(err, ownErr))
	case !os.SameFile(theirs, own):
		return fmt.Errorf("%s is not the daemon's", path)
	}
	return nil
}

// configFile is what the daemon was started with, or containerd's default if
// that is there; it is empty if there is none.
func (d daemonProcess) configFile() (string, error) {
	text, err := os.ReadFile(d.path("cmdline"))
	if err != nil {
		return "", err
	}
	args := strings.Split(strings.TrimSuffix(string(text), "\x00"), "\x00")
	if filepath.Base(args[0]) != "containerd" {
		return "", fmt.Errorf("the socket belongs to %q", args[0])
	}
	path, given := configFlag(args[1:])
	if !given {
		path = filepath.Join(defaults.DefaultConfigDir, "config.toml")
		if _, err := os.Stat(path); errors.Is(err, fs.ErrNotExist) {
			return "", d.sharesFile(path)
		}
	}
	if !filepath.IsAbs(path) {
		dir, err := os.Readlink(d.path("cwd"))
		if err != nil {
			return "", err
		}
		path = filepath.Join(dir, path)
	}
	return path, d.sharesFile(path)
}

// configFlag finds containerd's --config, of which the last counts.
func configFlag(args []string) (path string, given bool) {
	for i, arg := range args {
		name, value, ok := strings.Cut(arg, "=")
		switch name {
		case "-c", "--c", "-config", "--config":
			if !ok && i+1 < len(args) {
				value = args[i+1]
			}
			path, given = value, true
		}
	}
	return path, given
}

// unchanged is nil if the configuration, imports included, is as it was when the
// daemon was started.
func (d daemonProcess) unchanged(path string) error {
	start, err := d.started()
	if err != nil {
		return fmt.Errorf("asking when the daemon was started: %w", err)
	}
	seen := map[string]bool{}
	for pending := []string{path}; len(pending) > 0; pending = pending[1:] {
		if seen[pending[0]] {
			continue
		}
		if len(seen) == maxConfigs {
			return fmt.Errorf("%s imports more than %d files", path, maxConfigs)
		}
		seen[pending[0]] = true
		more, err := imports(pending[0])
		if err != nil {
			return err
		}
		pending = append(pending, more...)
	}
	for file := range seen {
		var st unix.Stat_t
		if err := unix.Stat(file, &st); err != nil {
			return fmt.Errorf("looking at %s: %w", file, err)
		}
		if time.Unix(st.Ctim.Unix()).After(start.Add(startSlack)) {
			return fmt.Errorf("%s has changed since the daemon was started", file)
		}
		if err := d.sharesFile(file); err != nil {
			return err
		}
	}
	return nil
}

// maxConfig bounds a file of containerd's configuration, which may be a pipe or a
// device, and maxConfigs how many files there are.
const (
	maxConfig  = 4 << 20
	maxConfigs = 1000
	configTime = 10 * time.Second
)

func readConfig(path string) ([]byte, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	_ = f.SetReadDeadline(time.Now().Add(configTime)) // ordinary files know none and need none
	text, err := io.ReadAll(io.LimitReader(f, maxConfig+1))
	if err == nil && len(text) > maxConfig {
		err = fmt.Errorf("%s has more than %d bytes", path, maxConfig)
	}
	return text, err
}

// imports lists what a file of containerd's configuration imports, and the
// folders in which a pattern is looked for. A folder imports nothing.
func imports(path string) ([]string, error) {
	if info, err := os.Stat(path); err != nil || info.IsDir() {
		return nil, err
	}
	text, err := readConfig(path)
	if err != nil {
		return nil, err
	}
	var file struct {
		Imports []string `toml:"imports"`
	}
	if err := toml.Unmarshal(text, &file); err != nil {
		return nil, fmt.Errorf("reading %s: %w", path, err)
	}
	var all []string
	for _, name := range file.Imports {
		if !filepath.IsAbs(name) {
			name = filepath.Join(filepath.Dir(path), name)
		}
		if !strings.Contains(name, "*") {
			all = append(all, name)
			continue
		}
		matches, err := filepath.Glob(name)
		if err != nil {
			return nil, fmt.Errorf("reading %s: %w", path, err)
		}
		all = append(all, matches...)
		if dir := filepath.Dir(name); exists(dir) {
			all = append(all, dir)
		}
	}
	return all, nil
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

// started is when the process was started, to a hundredth of a second.
func (d daemonProcess) started() (time.Time, error) {
	const ticksPerSecond = 100 // USER_HZ, on every architecture that is built
	text, err := store.StartTime(d.path("stat"))
	if err != nil {
		return time.Time{}, err
	}
	ticks, err := strconv.ParseInt(text, 10, 64)
	if err != nil {
		return time.Time{}, fmt.Errorf("reading %s: %w", d.path("stat"), err)
	}
	var up unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &up); err != nil {
		return time.Time{}, err
	}
	age := time.Duration(up.Nano()) - time.Duration(ticks)*(time.Second/ticksPerSecond)
	return time.Now().Add(-age), nil
}
