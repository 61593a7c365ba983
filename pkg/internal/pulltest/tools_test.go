package pulltest_test

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/containerd-pull/containerd-pull/pkg/internal/pulltest"
)

// recorder is a test that only notes how it ended.
type recorder struct {
	testing.TB
	skipped, failed string
}

func (r *recorder) Skip(a ...any)             { r.skipped = fmt.Sprint(a...) }
func (r *recorder) Helper()                   {}
func (r *recorder) Skipf(f string, a ...any)  { r.skipped = fmt.Sprintf(f, a...) }
func (r *recorder) Fatalf(f string, a ...any) { r.failed = fmt.Sprintf(f, a...) }

// setShort has the test run as with -short, or without.
func setShort(t *testing.T, short string) {
	t.Helper()
	before := flag.Lookup("test.short").Value.String()
	t.Cleanup(func() { flag.Set("test.short", before) })
	if err := flag.Set("test.short", short); err != nil {
		t.Fatal(err)
	}
}

func TestNeedAndLongSkipShortTests(t *testing.T) {
	for name, c := range map[string]func(testing.TB){
		"Need": func(t testing.TB) { pulltest.Need(t, func() error { return nil }) },
		"Long": pulltest.Long,
	} {
		for _, short := range []string{"true", "false"} {
			setShort(t, short)
			r := &recorder{}
			c(r)
			if skipped := r.skipped != ""; skipped != (short == "true") {
				t.Errorf("%s: got skip %q with -short=%s", name, r.skipped, short)
			}
		}
	}
}

func TestNeedSkipsAtHomeAndFailsUnderCI(t *testing.T) {
	setShort(t, "false")
	met := func() error { return nil }
	missing := func() error { return errors.New("no such thing") }
	for _, c := range []struct {
		ci              string
		need            pulltest.Requirement
		skipped, failed bool
	}{
		{"", met, false, false},
		{"", missing, true, false},
		{"true", met, false, false},
		{"true", missing, false, true},
	} {
		t.Setenv("CI", c.ci)
		r := &recorder{}
		pulltest.Need(r, c.need)
		if (r.skipped != "") != c.skipped || (r.failed != "") != c.failed {
			t.Errorf("got skip %q and failure %q with CI=%q, want %t and %t", r.skipped, r.failed, c.ci, c.skipped, c.failed)
		}
		if c.need() != nil && !strings.Contains(r.skipped+r.failed, "no such thing") {
			t.Errorf("got %q, want the reason in it", r.skipped+r.failed)
		}
	}
}

func TestRequirements(t *testing.T) {
	for name, need := range map[string]pulltest.Requirement{
		"tool":    pulltest.Tools("2.4/none"),
		"content": pulltest.Contents("none.tar.gz"),
	} {
		if err := need(); !errors.Is(err, os.ErrNotExist) || !strings.Contains(err.Error(), ".ci/setup") {
			t.Errorf("got %v for a missing %s, want not exist and who prepares it", err, name)
		}
	}
	if err := pulltest.Program("no-such-program")(); err == nil {
		t.Error("got nil for a program that is not there, want an error")
	}
	if err := pulltest.Program("go")(); err != nil {
		t.Errorf("got %v for go, want nil", err)
	}
}
