package credential_test

import (
	"runtime"
	"strings"
	"testing"

	"github.com/containerd-pull/containerd-pull/pkg/registry/credential"
)

// allocated returns how many bytes of memory act asked for.
func allocated(act func()) uint64 {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	act()
	runtime.ReadMemStats(&after)
	return after.TotalAlloc - before.TotalAlloc
}

// TestM8ProgramsThatSayTooMuch has each kind of program write 300 MB to one of
// its streams. Of that, no more is kept than the bound.
func TestM8ProgramsThatSayTooMuch(t *testing.T) {
	const (
		flood = "head -c 300000000 /dev/zero"
		most  = 16 << 20
	)
	for _, tt := range []struct {
		name, program, text string
		entry               credential.Entry
	}{
		{"helper's output", "docker-credential-flood", flood, credential.Entry{Source: "helper", Helper: "flood"}},
		{"helper's complaint", "docker-credential-flood", flood + " >&2; exit 1", credential.Entry{Source: "helper", Helper: "flood"}},
		{"password command", "flood", flood, credential.Entry{Source: "password", Username: "u", PasswordCommand: []string{"flood"}}},
		{"token command", "flood", flood, credential.Entry{Source: "registry-token", TokenCommand: []string{"flood"}}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			h := newHome(t)
			h.script(tt.program, tt.text)
			var err error
			took := allocated(func() {
				_, err = h.find(credential.Options{Entries: []credential.Entry{tt.entry}}, "r.example.com", "r.example.com/a")
			})
			if took > most {
				t.Errorf("took %d bytes of memory, want at most %d", took, most)
			}
			if err != nil && len(err.Error()) > 1<<20 {
				t.Errorf("got an error of %d bytes: %s", len(err.Error()), strings.ToValidUTF8(err.Error()[:100], ""))
			}
		})
	}
}

// TestRule7EndlessFiles has a device in the place of each file that a
// configuration can name.
func TestRule7EndlessFiles(t *testing.T) {
	const endless = "/dev/zero"
	for name, entry := range map[string]credential.Entry{
		"password":  {Source: "password", Username: "u", PasswordFile: endless},
		"token":     {Source: "registry-token", TokenFile: endless},
		"authfile":  {Source: "authfile", Path: endless},
		"providers": {Source: "credential-provider", Config: endless, BinDir: "/bin"},
	} {
		h := newHome(t)
		var err error
		took := allocated(func() {
			_, err = h.find(credential.Options{Entries: []credential.Entry{entry}}, "r.example.com", "r.example.com/a")
		})
		if err == nil || took > 256<<20 {
			t.Errorf("%s: got %v and %d bytes of memory, want an error and less", name, err, took)
		}
	}
}
