package batch_test

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/containerd-pull/containerd-pull/pkg/batch"
	"github.com/containerd-pull/containerd-pull/pkg/config"
	"github.com/containerd-pull/containerd-pull/pkg/source"
)

// TestClientsOfOneProfile: what a variable sets is weaker than a profile that a line of a
// list names, and stronger than one that a pattern chooses, so that these two never have
// one client.
func TestClientsOfOneProfile(t *testing.T) {
	file := filepath.Join(t.TempDir(), "config.toml")
	if err := os.WriteFile(file, []byte("[profiles.prod]\nmatch = ['one.example']\ninsecure_registry = false\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	vars := map[string]string{"CONTAINERD_PULL_CONFIG": file, "CONTAINERD_PULL_INSECURE_REGISTRY": "true"}
	caller := config.Caller{
		Lookup: func(name string) (string, bool) { v, ok := vars[name]; return v, ok },
		UID:    os.Getuid(), Root: t.TempDir(), Now: time.Now(),
	}
	settings, err := config.Load(caller, new(config.Flags))
	if err != nil {
		t.Fatal(err)
	}
	ref, err := source.ParseRef("one.example/app:1")
	if err != nil {
		t.Fatal(err)
	}
	named := settings.ForLine(config.Line{File: "list", Line: 1, Values: map[string][]string{"profile": {"prod"}}})
	parts, clients := &batch.Parts{Caller: caller}, map[any]bool{}
	for _, s := range []*config.Settings{settings, named, settings, named} {
		cfg, err := s.Resolve(ref)
		if err != nil {
			t.Fatal(err)
		}
		reg, err := parts.Registry(cfg)
		if err != nil {
			t.Fatal(err)
		}
		clients[reg] = cfg.Registry.Hosts.Insecure
		if want := s == settings; clients[reg] != want {
			t.Errorf("profile %q by %s: got insecure %t, want %t", cfg.Profile, cfg.ProfileOrigin(), clients[reg], want)
		}
	}
	if len(clients) != 2 {
		t.Errorf("got %d clients, want one for each", len(clients))
	}
}
