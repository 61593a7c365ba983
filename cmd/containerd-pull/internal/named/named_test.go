package named_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/spf13/pflag"

	"github.com/containerd-pull/containerd-pull/cmd/containerd-pull/internal/exit"
	"github.com/containerd-pull/containerd-pull/cmd/containerd-pull/internal/named"
	"github.com/containerd-pull/containerd-pull/pkg/config"
)

// find finds the images of a command line.
func find(ctx context.Context, t *testing.T, stdin io.Reader, args ...string) (named.Images, error) {
	t.Helper()
	fs := pflag.NewFlagSet("test", pflag.ContinueOnError)
	flags := config.NewFlags(fs, config.Table())
	if err := fs.Parse(args); err != nil {
		t.Fatal(err)
	}
	lists, err := flags.Lists()
	if err != nil {
		t.Fatal(err)
	}
	settings, err := config.Load(config.Caller{Lookup: func(string) (string, bool) { return "", false }, Root: t.TempDir()}, flags)
	if err != nil {
		t.Fatal(err)
	}
	return named.Find(ctx, named.Options{Args: fs.Args(), Lists: lists, Stdin: stdin, Settings: settings})
}

// TestFind: images come in the order of arguments and files, and those that ask for
// the same once. The same image with other settings is another wish.
func TestFind(t *testing.T) {
	path := filepath.Join(t.TempDir(), "l")
	const text = "b\nalpine:latest\nb platform=linux/arm64 label=x\nb label=x platform=linux/arm64\ndocker.io/library/b\n"
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	found, err := find(t.Context(), t, strings.NewReader("c\nb label=y\n"), "-f", path, "-f", "-", "alpine", "a")
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, j := range found.Jobs {
		got = append(got, fmt.Sprintf("%s %d %v %t", j.Typed, len(j.Config.Request.Platforms), j.Config.Request.Labels, j.Untagged))
	}
	want := []string{"alpine 0 map[] true", "a 0 map[] true", "b 0 map[] true", "b 1 map[x:true] true", "c 0 map[] true", "b 0 map[y:true] true"}
	if !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
	if string(found.Stdin) != "c\nb label=y\n" {
		t.Errorf("got stdin %q", found.Stdin)
	}
}

func TestFindRefuses(t *testing.T) {
	var many strings.Builder
	for i := range 2001 {
		fmt.Fprintf(&many, "a:%d\n", i)
	}
	for _, tc := range []struct {
		name, stdin, want string
		code              int
	}{
		{"nothing", " \n# none\n", "no image is named in stdin", 2},
		{"a reference", "a\nB\n", `stdin:2: parsing reference "B"`, 2},
		{"a setting", "a\na policy=x\n", "stdin:2: policy=: ", 2},
		{"a label of containerd's", "a label=containerd.io/gc.root=x\n", "stdin:1: label=: ", 2},
		{"a scheme", "ipfs://x\n", "stdin:1: ", 2},
		{"too many", many.String(), "stdin:2001: a call is for at most 2000 images", 2},
	} {
		t.Run(tc.name, func(t *testing.T) {
			found, err := find(t.Context(), t, strings.NewReader(tc.stdin), "-f-")
			if err == nil || !strings.HasPrefix(err.Error(), tc.want) || exit.Code(err) != tc.code || found.Jobs != nil {
				t.Errorf("got %v with exit code %d, want %q with %d", err, exit.Code(err), tc.want, tc.code)
			}
		})
	}
	if _, err := find(t.Context(), t, nil, "ipfs://x"); exit.Code(err) != 9 {
		t.Errorf("a scheme as an argument: got %v", err)
	}
}

// TestFrom: the images of files come last, with what was left out, and a path that
// leads nowhere in all of them is refused.
func TestFrom(t *testing.T) {
	const text = "kind: Pod\nspec: {image: b, containers: [{image: a}, {image: {}}]}\n"
	found, err := find(t.Context(), t, strings.NewReader(text), "--from", "-", "--key", "spec.image", "c")
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, j := range found.Jobs {
		got = append(got, j.Typed)
	}
	if want := []string{"c", "a", "b"}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
	if want := []string{"stdin:2: left out, since the image is no text"}; !slices.Equal(found.Notes, want) {
		t.Errorf("got notes %q, want %q", found.Notes, want)
	}
	for want, args := range map[string][]string{
		`--key "spec.none" leads to nothing in stdin`: {"--from", "-", "--key", "spec.image,spec.none"},
		"--key has no effect without --from":          {"--key", "spec.image", "c"},
		"stdin:2: parsing reference \"B\"":            {"--from", "-", "--key", "wrong"},
	} {
		stdin := strings.NewReader(text + "wrong: B\n")
		if strings.Contains(want, "B") {
			stdin = strings.NewReader("kind: X\nwrong: B\n")
		}
		if _, err := find(t.Context(), t, stdin, args...); err == nil || !strings.HasPrefix(err.Error(), want) || exit.Code(err) != 2 {
			t.Errorf("%q: got %v, want %q", args, err, want)
		}
	}
}

// TestTarget: a Dockerfile is read for the platform that the call is for.
func TestTarget(t *testing.T) {
	for arg, want := range map[string]string{"linux/arm64": "a:arm64", "linux/s390x": "a:s390x"} {
		found, err := find(t.Context(), t, strings.NewReader("FROM a:$TARGETARCH\n"), "--from", "-", "--platform", arg)
		if err != nil || len(found.Jobs) != 1 || found.Jobs[0].Typed != want {
			t.Errorf("%s: got %v, %v, want %s", arg, found.Jobs, err, want)
		}
	}
}

// endless is a standard input that never ends.
type endless struct{}

func (endless) Read(p []byte) (int, error) { return copy(p, strings.Repeat("a\n", len(p)/2+1)), nil }

func TestRule7EndlessStdin(t *testing.T) {
	if _, err := find(t.Context(), t, endless{}, "-f", "-"); err == nil || err.Error() != "stdin: has more than 4194304 bytes" {
		t.Errorf("got %v, want the bound", err)
	}
}

// TestInterrupt: what waits for a list ends with the call, as interrupted.
func TestInterrupt(t *testing.T) {
	stdin, writer := io.Pipe()
	defer writer.Close()
	ctx, cancel := context.WithCancelCause(t.Context())
	stop := &exit.SignalError{Signal: os.Interrupt}
	go func() {
		_, _ = writer.Write([]byte("a\n")) // returns once it is being read
		cancel(stop)
	}()
	if _, err := find(ctx, t, stdin, "-f", "-"); !errors.Is(err, stop) || exit.Code(err) != 130 {
		t.Errorf("got %v with exit code %d, want the interrupt", err, exit.Code(err))
	}
}
