package output

import (
	"fmt"
	"io"
	"strings"

	"github.com/containerd-pull/containerd-pull/pkg/registry/credential"
)

// Login is the result of login in JSON. The names are API.
type Login struct {
	SchemaVersion int      `json:"schemaVersion"`
	Registry      string   `json:"registry"`
	User          string   `json:"user"`
	Checked       bool     `json:"checked"`
	File          string   `json:"file"`
	Helper        string   `json:"helper"`
	Readers       []string `json:"readers"`
}

// NewLogin returns what was kept of a login, for showing.
func NewLogin(registry, user string, file *credential.LoginFile, helper string, checked bool) Login {
	return Login{SchemaVersion: 1, Registry: registry, User: user, Checked: checked, File: file.Path, Helper: helper, Readers: file.Readers}
}

// Write says where the login is, in what form, and who finds it.
func (l Login) Write(w io.Writer) {
	fmt.Fprintf(w, "logged in to %s as %s\n", l.Registry, l.User)
	if l.Helper != "" {
		fmt.Fprintf(w, "the password is with docker-credential-%s, which %s names\n", l.Helper, l.File)
	} else {
		fmt.Fprintf(w, "the password is in %s, not encrypted, for this user alone\n", l.File)
	}
	fmt.Fprintf(w, "%s find it there; the kubelet and containerd do not\n", enumerated(l.Readers))
}

func enumerated(all []string) string {
	last := len(all) - 1
	return strings.Join(all[:last], ", ") + " and " + all[last]
}

// Logout is the result of logout in JSON. The names are API.
type Logout struct {
	SchemaVersion int      `json:"schemaVersion"`
	Registry      string   `json:"registry"`
	Removed       bool     `json:"removed"`
	File          string   `json:"file"`
	Helper        string   `json:"helper"`
	Left          []string `json:"left"`
}

// NewLogout returns what was removed, for showing.
func NewLogout(registry string, file *credential.LoginFile, done credential.Erased) Logout {
	return Logout{
		SchemaVersion: 1, Registry: registry, Removed: done.Removed, File: file.Path, Helper: done.Helper,
		Left: append([]string{}, done.Left...),
	}
}

// Write says what was removed from where, and what stays.
func (l Logout) Write(w io.Writer) {
	switch {
	case !l.Removed:
		fmt.Fprintf(w, "there was no login for %s in %s\n", l.Registry, l.File)
	case l.Helper != "":
		fmt.Fprintf(w, "logged out of %s: docker-credential-%s has forgotten the password\n", l.Registry, l.Helper)
	default:
		fmt.Fprintf(w, "logged out of %s: the password is no longer in %s\n", l.Registry, l.File)
	}
	for _, name := range l.Left {
		fmt.Fprintf(w, "the entry of %s stays\n", name)
	}
}
