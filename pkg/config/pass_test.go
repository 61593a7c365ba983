package config_test

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/containerd/errdefs"

	"github.com/containerd-pull/containerd-pull/pkg/internal/pulltest"
	"github.com/containerd-pull/containerd-pull/pkg/internal/pulltest/testregistry"
)

// passStore gives the process a password store, encrypted with a key that needs
// no passphrase, and docker-credential-pass on PATH.
func passStore(t *testing.T) {
	t.Helper()
	pulltest.Need(t, pulltest.Tools("docker-credential-pass"), pulltest.Program("pass"), pulltest.Program("gpg"))
	helper, err := pulltest.Tool("docker-credential-pass")
	if err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", filepath.Dir(helper)+":"+os.Getenv("PATH"))
	// The agent's socket lies in this folder, and the path of a socket is short.
	home, err := os.MkdirTemp("", "gpg")
	if err != nil {
		t.Fatal(err)
	}
	t.Setenv("GNUPGHOME", home)
	t.Setenv("PASSWORD_STORE_DIR", filepath.Join(home, "store"))
	t.Cleanup(func() {
		if out, err := exec.Command("gpgconf", "--kill", "all").CombinedOutput(); err != nil {
			t.Errorf("ending the agent: %v: %s", err, out)
		}
		if err := os.RemoveAll(home); err != nil {
			t.Errorf("removing the keys: %v", err)
		}
	})
	command(t, "", "gpg", "--batch", "--pinentry-mode", "loopback", "--passphrase", "", "--quick-generate-key", "robot@example.com", "future-default", "default", "never")
	command(t, "", "pass", "init", "robot@example.com")
}

func command(t *testing.T, stdin, program string, args ...string) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), program, args...)
	cmd.Stdin = strings.NewReader(stdin)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%s %s: %v: %s", program, strings.Join(args, " "), err, out)
	}
}

// TestPass pulls with a credential that lies in pass, by Docker's own program
// for it.
func TestPass(t *testing.T) {
	pulltest.Long(t)
	passStore(t)
	g := newGuarded(t, testregistry.DistributionOptions{Basic: &testregistry.Credentials{User: "robot", Password: "canary"}})
	entry, err := json.Marshal(map[string]string{"ServerURL": g.d.Host(), "Username": "robot", "Secret": "canary"})
	if err != nil {
		t.Fatal(err)
	}
	docker := map[string]string{"DOCKER_CONFIG": g.root + "/docker"}
	for _, tc := range []struct {
		name, profile, config string
		env                   map[string]string
	}{
		{"profile", "[[profiles.company.credentials]]\nsource = 'helper'\nhelper = 'pass'\n", "{}", nil},
		{"credsStore", "", `{"credsStore":"pass"}`, docker},
		{"credHelpers", "", fmt.Sprintf(`{"credHelpers":{%q:"pass"}}`, g.d.Host()), docker},
	} {
		t.Run(tc.name, func(t *testing.T) {
			g.t = t
			g.profile("credentials", tc.profile)
			g.write("/docker/config.json", tc.config, 0o600)
			g.env = tc.env
			if err := g.pull(); !errdefs.IsUnauthorized(err) {
				t.Errorf("before the credential is stored: got %v, want an error of class unauthenticated", err)
			}
			command(t, string(entry), "docker-credential-pass", "store")
			if err := g.pull(); err != nil {
				t.Errorf("with the credential in pass: %v", err)
			}
			command(t, g.d.Host(), "docker-credential-pass", "erase")
		})
	}
}
