package complete

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// TestArgumentsAreCommands wants a command for each entry of the table of
// arguments: the reference has a page for each but help.
func TestArgumentsAreCommands(t *testing.T) {
	for path := range new(completer).arguments() {
		name := strings.Join(append([]string{"containerd-pull"}, strings.Fields(path)...), "-")
		if _, err := os.Stat(filepath.Join("../../../../docs/cli", name+".md")); err != nil && path != "help" {
			t.Errorf("candidates for %q, which is no command: %v", path, err)
		}
	}
}

func TestNewestFirst(t *testing.T) {
	want := []string{"latest", "v2", "1.10.1", "1.10", "1.10-rc1", "1.9", "edge", "alpine", "sha256-0a.sig"}
	got := slices.Sorted(slices.Values(want))
	slices.SortStableFunc(got, newestFirst)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("order (-want +got):\n%s", diff)
	}
}

func TestLiteral(t *testing.T) {
	for pattern, want := range map[string]string{
		"registry.example.com/team/*":  "registry.example.com/team/",
		"registry.example.com/te*/app": "registry.example.com/",
		"registry.example.com":         "registry.example.com/",
		"registry.example.com/app":     "registry.example.com/app:",
		"docker.io/library/debian":     "debian:",
		"docker.io":                    "",
		"*":                            "",
	} {
		if got := literal(pattern); got != want {
			t.Errorf("beginning of %s: got %q, want %q", pattern, got, want)
		}
	}
}

func TestRepository(t *testing.T) {
	for word, want := range map[string]string{
		"debian:":                "debian",
		"localhost:5000/app:1.":  "localhost:5000/app",
		"localhost:5000":         "",
		"example.com:5000":       "",
		"example.com:5000/app":   "",
		"debian":                 "",
		"example.com/team/app:1": "example.com/team/app",
	} {
		q := &query{word: word}
		if got, ok := q.repository(); ok != (want != "") || ok && got != want {
			t.Errorf("repository of %s: got %q, %v, want %q", word, got, ok, want)
		}
	}
}

// TestAnswers: an answer is remembered for a minute, in both directions of time.
func TestAnswers(t *testing.T) {
	now := time.Now()
	a := answers{dir: t.TempDir(), now: now}
	a.put("key", []string{"one", "two"})
	for age, want := range map[time.Duration]bool{0: true, answerAge / 2: true, 2 * answerAge: false, -2 * answerAge: false} {
		later := answers{dir: a.dir, now: now.Add(age)}
		if got, ok := later.get("key"); ok != want || ok && !slices.Equal(got, []string{"one", "two"}) {
			t.Errorf("after %v: got %v, %v, want it remembered: %v", age, got, ok, want)
		}
	}
	if _, ok := a.get("other"); ok {
		t.Error("got an answer to another question")
	}
	if _, ok := (answers{now: now}).get("key"); ok {
		t.Error("got an answer without a cache folder")
	}
}

// TestL5LinkedCacheIsLeftAlone has a link in the place of each folder of the
// cache. Neither is anything read through it nor made or deleted.
func TestL5LinkedCacheIsLeftAlone(t *testing.T) {
	now := time.Now()
	for _, link := range []string{"containerd-pull", "containerd-pull/completion"} {
		a, other := answers{dir: t.TempDir(), now: now}, t.TempDir()
		old := filepath.Join(other, "completion", "old")
		if link == "containerd-pull/completion" {
			old = filepath.Join(other, "old")
		}
		for _, path := range []string{filepath.Dir(old), filepath.Dir(filepath.Join(a.dir, link))} {
			if err := os.MkdirAll(path, 0o700); err != nil {
				t.Fatal(err)
			}
		}
		if err := os.WriteFile(old, []byte("theirs"), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Symlink(other, filepath.Join(a.dir, link)); err != nil {
			t.Fatal(err)
		}
		if names, ok := a.get("old"); ok {
			t.Errorf("link at %s: got %q through it", link, names)
		}
		later := answers{dir: a.dir, now: now.Add(time.Hour)}
		later.put("key", []string{"name"})
		if there, err := os.ReadDir(filepath.Dir(old)); err != nil || len(there) != 1 || there[0].Name() != "old" {
			t.Errorf("link at %s: got %v, %v behind it, want the old file alone", link, there, err)
		}
	}
}

// TestL5NothingIsMadeBehindALink has links where nothing of the cache is there yet: of the
// caller in the place of its folder, and of another user in the place of the folder around.
func TestL5NothingIsMadeBehindALink(t *testing.T) {
	for name, arrange := range map[string]func(dir, other string) error{
		"its own folder": func(dir, other string) error {
			return errors.Join(os.Mkdir(dir, 0o700), os.Symlink(other, filepath.Join(dir, "containerd-pull")))
		},
		"another's link around": func(dir, other string) error {
			return errors.Join(os.Symlink(other, dir), os.Lchown(dir, 1234, 1234))
		},
	} {
		t.Run(name, func(t *testing.T) {
			if name == "another's link around" && os.Geteuid() != 0 {
				t.Skip("only root can make a link of another user's")
			}
			dir, other := filepath.Join(t.TempDir(), "cache"), t.TempDir()
			if err := arrange(dir, other); err != nil {
				t.Fatal(err)
			}
			answers{dir: dir, now: time.Now()}.put("key", []string{"name"})
			if there, err := os.ReadDir(other); err != nil || len(there) != 0 {
				t.Errorf("got %v and %v behind the link, want nothing", there, err)
			}
		})
	}
}

// TestAnotherHomeGetsNoCache has the cache in the home of another user, which is
// what root has under sudo -E.
func TestAnotherHomeGetsNoCache(t *testing.T) {
	home, now := "/usr", time.Now() // root's, for an ordinary user
	if os.Geteuid() == 0 {
		home = t.TempDir()
		if err := os.Chown(home, 1, 1); err != nil {
			t.Skipf("needed: to give a folder away: %v", err)
		}
	}
	for _, dir := range []string{home, filepath.Join(home, ".cache/deep")} {
		a := answers{dir: dir, now: now}
		a.put("key", []string{"name"})
		if _, ok := a.get("key"); ok {
			t.Errorf("%s: got an answer, want none remembered", dir)
		}
	}
	if made, err := filepath.Glob(filepath.Join(home, "*containerd-pull*")); err != nil || len(made) > 0 {
		t.Errorf("got %q and %v, want nothing made in the home of another", made, err)
	}
	if all, err := os.ReadDir(home); os.Geteuid() == 0 && (err != nil || len(all) > 0) {
		t.Errorf("got %v and %v, want an empty home", all, err)
	}
}
