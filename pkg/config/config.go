// Package config resolves what a call is to do: it reads flags, variables,
// files and profiles in their order of precedence and fills the option structs
// of the packages that do the work, keeping the origin of each value.
//
// Table declares every setting once; Load reads the sources; Settings.Resolve
// gives a Config. The package decides nothing about pulls and opens neither
// stores nor connections. Its parts are config/value, the kinds of values, and
// config/file, the files and how they merge. Read table.go next, then resolve.go.
package config

import (
	"slices"
	"time"

	"github.com/containerd-pull/containerd-pull/pkg/pull"
	"github.com/containerd-pull/containerd-pull/pkg/registry"
	"github.com/containerd-pull/containerd-pull/pkg/registry/credential"
	"github.com/containerd-pull/containerd-pull/pkg/store"
	"github.com/containerd-pull/containerd-pull/pkg/trust"
)

// Config is the result of Settings.Resolve: the option structs of the packages,
// filled.
type Config struct {
	Store    store.Options
	Registry registry.Options
	// Request lacks its Ref.
	Request pull.Request
	Limits  pull.Limits
	Verify  trust.Options
	Login   Login
	// Credentials are what is configured for hosts.
	Credentials []credential.Entry
	// AuthFile is a file in Docker's form. AuthFileStated is set if it was given
	// for this call, by flag or variable, and so replaces the user's own files.
	AuthFile       string
	AuthFileStated bool
	// Timeout bounds the whole call; 0 means no bound.
	Timeout  time.Duration
	Quiet    bool
	Progress string
	// OutputStyle is one of the styles; Format is empty, "json" or
	// "go-template=" and a template; Print holds kinds in order. At most one
	// of the three was chosen.
	OutputStyle  string
	Format       string
	Print        []string
	PrintChainID bool // ctr's line
	// FailFast leaves untried what is not pulled yet when a reference fails.
	// KeepGoing is the default; set, it only excludes its opposite.
	FailFast, KeepGoing bool
	// DigestFile receives the digests of what was pulled.
	DigestFile string
	// ChangedExitCode takes the place of 0 if something changed, unless it is 0.
	ChangedExitCode int
	// Timeline is the file that receives a picture of the pull; empty means none.
	Timeline  string
	HTTPDump  bool
	HTTPTrace bool
	Debug     bool
	DebugFull bool
	// Experimental is nerdctl's switch for features without a promise of
	// compatibility.
	Experimental bool
	// AllMetadata is the default; set, it only excludes its opposite.
	AllMetadata bool
	// NoContentTrust is accepted for Docker's command lines and changes nothing.
	NoContentTrust bool

	// Short completes short names.
	Short Short
	// Lists name images besides the arguments of the call.
	Lists Lists

	// Profile is the name of the profile in use; empty if there is none.
	Profile string
	// File is the configuration file that was named for this call.
	File string

	resolved []Resolved // without the values
	// owner is the profile in use as its credentials see it, nil if there is none.
	owner *credential.Profile
}

// Lists are the files that name images. A file "-" is the standard input.
type Lists struct {
	Files    []string // one reference in each line
	From     []string // what describes containers or builds
	Keys     []string // further places of images in From
	Password bool     // the standard input holds a password
}

// None reports whether no file names images.
func (l Lists) None() bool { return len(l.Files)+len(l.From) == 0 }

// Login holds the credential of the command line.
type Login struct {
	User          string // USER[:PASSWORD]
	Username      string // USER
	PasswordStdin bool
	Refresh       string // refresh token
}

// Resolved is one setting with its value and where that came from.
type Resolved struct {
	Setting *Setting
	Value   string // in the syntax of the flag, with secrets masked
	Plain   any    // as a file would hold it, with secrets masked
	From    Origin
}

// Resolved lists every setting that a call can have, in the order of Table.
func (c *Config) Resolved() []Resolved {
	all := slices.Clone(c.resolved)
	for i := range all {
		v := all[i].Setting.bind(c)
		all[i].Value, all[i].Plain = v.String(), v.Plain()
	}
	return all
}

// Origin is where the value of a setting came from.
func (c *Config) Origin(name string) Origin {
	for _, r := range c.resolved {
		if r.Setting.Name() == name {
			return r.From
		}
	}
	return Origin{}
}

// ProfileOrigin is what chose the profile.
func (c *Config) ProfileOrigin() Origin { return c.Origin(keyDefault) }

// CredentialOptions are the places where this configuration has its
// credentials; own is the one of the command line, nil if there is none.
func (c *Config) CredentialOptions(caller Caller, own *credential.Credential) credential.Options {
	o := credential.Options{Own: own, Entries: c.Credentials, Lookup: caller.Lookup, Home: caller.home()}
	if c.AuthFileStated {
		o.AuthFile = c.AuthFile
	} else {
		o.EntriesFile = c.AuthFile
		if c.Origin("authfile").Kind == FromProfile {
			o.FileProfile = c.owner
		}
	}
	return o
}
