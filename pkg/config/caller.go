package config

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/moby/sys/userns"
)

// Caller is what settings depend on besides flags and files: the user of the
// process and its environment.
type Caller struct {
	Lookup func(name string) (string, bool) // of environment variables
	// Environ is the whole environment, for the program that replaces this one.
	Environ []string
	// UID is the user whose files are read: in the user namespace of rootless
	// containerd the one outside of it, not root.
	UID int
	// Root is the folder that holds /etc; empty for the real one.
	Root string
	// Now is the time of the call.
	Now time.Time
	// Defaults replace those of the table, by key: called under another name,
	// the program may have other defaults.
	Defaults map[string]string
}

// ThisProcess is the caller as the operating system sees it.
func ThisProcess() Caller {
	return Caller{Lookup: os.LookupEnv, Environ: os.Environ(), UID: userOf(os.Geteuid(), os.Getenv("ROOTLESSKIT_PARENT_EUID")), Now: time.Now()}
}

// userOf is the user outside of a user namespace whom root inside stands for;
// RootlessKit passes the uid on in parent.
func userOf(uid int, parent string) int {
	outside, err := strconv.Atoi(parent)
	if uid != 0 || err != nil || !userns.RunningInUserNS() {
		return uid
	}
	return outside
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

// nerdctlFile is nerdctl's configuration; an empty NERDCTL_TOML means none.
func (c Caller) nerdctlFile() string {
	if path, ok := c.Lookup("NERDCTL_TOML"); ok {
		return path
	}
	if c.UID == 0 {
		return filepath.Join(c.Root, "/etc/nerdctl/nerdctl.toml")
	}
	if home := c.configHome(); home != "" {
		return filepath.Join(home, "nerdctl/nerdctl.toml")
	}
	return ""
}

// Getenv returns a variable of the environment, empty if it is not set.
func (c Caller) Getenv(name string) string {
	text, _ := c.Lookup(name)
	return text
}

// configHome is the folder of the caller's configuration, empty if neither
// XDG_CONFIG_HOME nor HOME is set. By the XDG specification, a relative path in
// its variable is ignored.
func (c Caller) configHome() string {
	if dir := c.Getenv("XDG_CONFIG_HOME"); filepath.IsAbs(dir) {
		return dir
	}
	if home := c.Getenv("HOME"); home != "" {
		return filepath.Join(home, ".config")
	}
	return ""
}

// CacheHome is the folder of files that may be deleted at any time, empty if
// neither XDG_CACHE_HOME nor HOME is set.
func (c Caller) CacheHome() string {
	if dir := c.Getenv("XDG_CACHE_HOME"); filepath.IsAbs(dir) {
		return dir
	}
	if home := c.Getenv("HOME"); home != "" {
		return filepath.Join(home, ".cache")
	}
	return ""
}

// hostsDirs are containerd's and Docker's folders for host configuration. Those
// of an ordinary user lie in the user's configuration folder, as for nerdctl.
func hostsDirs(c Caller) string {
	base := filepath.Join(c.Root, "/etc")
	if c.UID != 0 && c.configHome() != "" {
		base = c.configHome()
	}
	return strings.Join([]string{filepath.Join(base, "containerd/certs.d"), filepath.Join(base, "docker/certs.d")}, ",")
}

// now is the time that labels may refer to. SOURCE_DATE_EPOCH fixes it for
// reproducible builds.
func (c Caller) now() time.Time {
	if secs, err := strconv.ParseInt(c.Getenv("SOURCE_DATE_EPOCH"), 10, 64); err == nil {
		return time.Unix(secs, 0).UTC()
	}
	return c.Now.UTC()
}
