package config

import (
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/containerd/nerdctl/v2/pkg/defaults"
	"github.com/containerd/nerdctl/v2/pkg/rootlessutil"
)

// Caller is what settings depend on besides flags and files: the user of the
// process and its environment.
type Caller struct {
	Lookup func(name string) (string, bool) // of environment variables
	// Environ is the whole environment, and Args the command line, for the program
	// that replaces this one. Without a command line there can be none.
	Environ, Args []string
	// UID is the user whose files are read: in the user namespace of rootless
	// containerd the one outside of it, not root.
	UID int
	// Root is the folder that holds /etc; empty for the real one.
	Root string
	// NerdctlFile is the file of nerdctl's settings, unless NERDCTL_TOML names
	// another; empty means that the user has none.
	NerdctlFile string
	// HostsDirs are the folders where nerdctl looks registries up; without any,
	// those of root below Root count.
	HostsDirs []string
	// PasswdHome is the home of the user by the passwd database, for services that
	// have no HOME.
	PasswdHome string
	// Now is the time of the call.
	Now time.Time
	// Defaults replace those of the table, by key: called under another name,
	// the program may have other defaults.
	Defaults map[string]string
	// Program is how the user calls the program; empty for its own name.
	Program string
}

// ThisProcess is the caller as the operating system sees it, without a command
// line.
func ThisProcess() Caller {
	c := Caller{Lookup: os.LookupEnv, Environ: os.Environ(), UID: processUser(), Now: time.Now()}
	c.NerdctlFile, c.HostsDirs = nerdctlPlaces()
	if u, err := user.LookupId(strconv.Itoa(c.UID)); err == nil {
		c.PasswdHome = u.HomeDir
	}
	return c
}

// processUser is the user of the process. In the namespaces of RootlessKit it is
// the one outside, whose uid RootlessKit passes on. ParentEUID panics if that is
// missing there.
func processUser() int {
	if _, err := strconv.Atoi(os.Getenv("ROOTLESSKIT_PARENT_EUID")); err != nil {
		return os.Geteuid()
	}
	return rootlessutil.ParentEUID()
}

// nerdctlPlaces returns where nerdctl, run as this process, has its settings and
// looks registries up. A rootless user without a home has neither: nerdctl
// panics there. A relative XDG_CONFIG_HOME is no home by the XDG specification,
// although nerdctl takes it: the working folder must not choose the registries.
func nerdctlPlaces() (file string, hosts []string) {
	if rootlessutil.IsRootless() {
		if home, err := rootlessutil.XDGConfigHome(); err != nil || !filepath.IsAbs(home) {
			return "", nil
		}
	}
	return defaults.NerdctlTOML(), defaults.HostsDirs()
}

// defaultFiles are read without being named, the weakest first.
func (c Caller) defaultFiles() []string {
	paths := []string{filepath.Join(c.Root, systemConfig)}
	if home := c.configHome(); home != "" {
		paths = append(paths, filepath.Join(home, configName))
	}
	return paths
}

// UserFile is the configuration file of the caller, empty if the caller has no
// home.
func (c Caller) UserFile() string {
	if home := c.configHome(); home != "" {
		return filepath.Join(home, configName)
	}
	return ""
}

// nerdctlFile is nerdctl's configuration, and whether NERDCTL_TOML names it; an
// empty one means none.
func (c Caller) nerdctlFile() (path string, named bool) {
	if path, ok := c.Lookup("NERDCTL_TOML"); ok {
		return path, true
	}
	return c.NerdctlFile, false
}

// Getenv returns a variable of the environment, empty if it is not set.
func (c Caller) Getenv(name string) string {
	text, _ := c.Lookup(name)
	return text
}

// home is the folder of the caller, empty if there is none. HOME may be missing in
// a service of systemd or cron; it has to be absolute, because the working folder
// must not choose the registries.
func (c Caller) home() string {
	for _, dir := range []string{c.Getenv("HOME"), c.PasswdHome} {
		if filepath.IsAbs(dir) {
			return dir
		}
	}
	return ""
}

// configHome is the folder of the caller's configuration, empty if there is
// neither XDG_CONFIG_HOME nor a home. By the XDG specification, a relative path in
// its variable is ignored.
func (c Caller) configHome() string {
	if dir := c.Getenv("XDG_CONFIG_HOME"); filepath.IsAbs(dir) {
		return dir
	}
	if home := c.home(); home != "" {
		return filepath.Join(home, ".config")
	}
	return ""
}

// CacheHome is the folder of files that may be deleted at any time, empty if there
// is neither XDG_CACHE_HOME nor a home.
func (c Caller) CacheHome() string {
	if dir := c.Getenv("XDG_CACHE_HOME"); filepath.IsAbs(dir) {
		return dir
	}
	if home := c.home(); home != "" {
		return filepath.Join(home, ".cache")
	}
	return ""
}

// rootHostsDirs are containerd's and Docker's folders for host configuration.
const rootHostsDirs = "/etc/containerd/certs.d,/etc/docker/certs.d"

// hostsDirs are the folders of the caller for host configuration.
func hostsDirs(c Caller) string {
	if len(c.HostsDirs) > 0 {
		return strings.Join(c.HostsDirs, ",")
	}
	dirs := strings.Split(rootHostsDirs, ",")
	for i, dir := range dirs {
		dirs[i] = filepath.Join(c.Root, dir)
	}
	return strings.Join(dirs, ",")
}

// now is the time that labels may refer to. SOURCE_DATE_EPOCH fixes it for
// reproducible builds.
func (c Caller) now() time.Time {
	if secs, err := strconv.ParseInt(c.Getenv("SOURCE_DATE_EPOCH"), 10, 64); err == nil {
		return time.Unix(secs, 0).UTC()
	}
	return c.Now.UTC()
}
