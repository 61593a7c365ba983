package credential_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/containerd-pull/containerd-pull/pkg/registry/credential"
	"github.com/containerd-pull/containerd-pull/pkg/source"
	"github.com/containerd-pull/containerd-pull/pkg/userfile"
)

// TestM6CredentialsOfOthers: as root, no file that was found in another user's home
// is looked into, nor one that others can write, and no helper of its runs. What a
// variable or the configuration names may be another's, but no other may be able to
// write it.
func TestM6CredentialsOfOthers(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root")
	}
	const text = `{"credHelpers":{"r.example.com":"spy"}}`
	for name, place := range map[string]struct {
		file  string
		named func(h *home, file string) credential.Options // nil if the file is found
	}{
		"docker's": {".docker/config.json", nil},
		"podman's": {".config/containers/auth.json", nil},
		"docker entry": {".docker/config.json", func(*home, string) credential.Options {
			return credential.Options{Entries: []credential.Entry{{Source: "docker-config"}}}
		}},
		"authfile": {"a.json", func(_ *home, f string) credential.Options { return credential.Options{AuthFile: f} }},
		"entry": {"a.json", func(_ *home, f string) credential.Options {
			return credential.Options{Entries: []credential.Entry{{Source: "authfile", Path: f}}}
		}},
		"REGISTRY_AUTH_FILE": {"a.json", func(h *home, f string) credential.Options {
			h.env["REGISTRY_AUTH_FILE"] = f
			return credential.Options{}
		}},
	} {
		found := place.named == nil || name == "docker entry"
		for kind, spoil := range map[string]func(file string) error{
			"another's":        func(f string) error { return os.Chown(f, 4242, 4242) },
			"another's folder": func(f string) error { return os.Chown(filepath.Dir(f), 4242, 4242) },
			"for all":          func(f string) error { return os.Chmod(f, 0o602) },
			"for the group":    func(f string) error { return os.Chmod(f, 0o620) },
		} {
			h := newHome(t)
			ran := filepath.Join(h.dir, "ran")
			h.script("docker-credential-spy", "touch "+ran+"; echo '{\"Username\":\"u\",\"Secret\":\"canary\"}'")
			file := h.write(place.file, text, 0o600)
			var o credential.Options
			if place.named != nil {
				o = place.named(h, file)
			}
			if err := spoil(file); err != nil {
				t.Fatal(err)
			}
			var warned []string
			o.Shared = &credential.Shared{Warn: func(_ source.Ref, m string) { warned = append(warned, m) }}
			cred, err := h.find(o, "r.example.com", "r.example.com/a")
			_, foreign := errors.AsType[*userfile.Foreign](err)
			_, gone := os.Stat(ran)
			switch {
			case found:
				if err != nil || !cred.IsZero() || gone == nil || len(warned) != 1 || !strings.Contains(warned[0], file+" is left out") {
					t.Errorf("%s, %s: got user %q, %v and warnings %q; want it left out with one", name, kind, cred.Username, err, warned)
				}
			case strings.HasPrefix(kind, "for "):
				if !foreign || gone == nil {
					t.Errorf("%s, %s: got user %q and %v, want it refused", name, kind, cred.Username, err)
				}
			default:
				if err != nil || cred.Username != "u" {
					t.Errorf("%s, %s: got user %q and %v, want what it names", name, kind, cred.Username, err)
				}
			}
		}
	}
	h := newHome(t)
	for _, secret := range []credential.Entry{
		{Source: "password", Username: "u", PasswordFile: h.write("p", "canary", 0o644)},
		{Source: "registry-token", TokenFile: h.write("t", "canary", 0o644)},
	} {
		for mode, want := range map[os.FileMode]bool{0o644: true, 0o646: false, 0o664: false} {
			file := secret.PasswordFile + secret.TokenFile
			if err := errors.Join(os.Chown(file, 4242, 4242), os.Chmod(file, mode)); err != nil {
				t.Fatal(err)
			}
			_, err := h.find(credential.Options{Entries: []credential.Entry{secret}}, "r.example.com", "r.example.com/a")
			if _, foreign := errors.AsType[*userfile.Foreign](err); foreign == want || (err == nil) != want {
				t.Errorf("%s of mode %v: got %v, want it to count: %v", secret.Source, mode, err, want)
			}
		}
	}
}
