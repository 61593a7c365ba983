package source_test

import (
	"errors"
	"math/rand/v2"
	"regexp"
	"strings"
	"testing"

	"github.com/containerd/errdefs"

	"github.com/containerd-pull/containerd-pull/pkg/source"
)

func pattern(t *testing.T, text string) source.Pattern {
	t.Helper()
	p, err := source.ParsePattern(text)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func TestParsePattern(t *testing.T) {
	for text, want := range map[string]string{
		"ghcr.io": "ghcr.io", "ghcr.io/team/*": "ghcr.io/team/*", "*.Example.com:443": "*.example.com", "r.example.com:5000/A": "r.example.com:5000/A", "*": "*",
		"registry-1.docker.io/library/*": "docker.io/library/*", "[0::1]:*/x": "[::1]:*/x", "r.example.com:0*": "r.example.com:0*", "ghcr.io/*": "ghcr.io",
		"": "", "/x": "", "https://ghcr.io": "", "ghcr.io/team/app:1": "", "ghcr.io/team/app@sha256:abc": "", "user@ghcr.io": "",
	} {
		p, err := source.ParsePattern(text)
		if (err == nil) != (want != "") || err != nil && !errdefs.IsInvalidArgument(err) || err == nil && p.String() != want {
			t.Errorf("ParsePattern(%q): got %q, %v, want %q", text, p, err, want)
		}
	}
}

// TestM4PatternsThatFitNothing: a policy of a pattern that fits nothing would not
// apply, and nothing would show it.
func TestM4PatternsThatFitNothing(t *testing.T) {
	for _, text := range []string{
		"r.example.com/", "r.example.com//app", "r.example.com/team/", "r.example.com/team//*", "/", "//", ":5000", "r.example.com:https", "r.example.com:+5000",
		"r.example.com:5000:6000", "[*]:5000", "[::1", "[r.example.com]", "r example.com", " r.example.com", "r.example.com/a b", "r.example.com\n", "r.example.com/\x1b",
		"r%2eexample.com", "r.example.com/team%2fapp", "münchen.example", "r.example.com:５０００", "r．example.com", "r.example.com/ä", "r.example.com/a?b#c", "http:r.example.com", "r.example.com\\app",
	} {
		p, err := source.ParsePattern(text)
		if !errdefs.IsInvalidArgument(err) {
			t.Errorf("ParsePattern(%q): got %q, %v, want an invalid argument", text, p, err)
		} else if h, ok := errors.AsType[interface {
			error
			Hint() string
		}](err); !ok || h.Hint() == "" {
			t.Errorf("ParsePattern(%q): got no hint", text)
		}
	}
}

func TestPatternRegistry(t *testing.T) {
	for text, want := range map[string]string{
		"ghcr.io": "ghcr.io", "ghcr.io/team/*": "ghcr.io", "R.example.com:5000/a": "r.example.com:5000",
		"*.example.com": "", "r?.example.com/a": "", "*": "", "r.example.com:*": "",
	} {
		if got := pattern(t, text).Registry(); got != want {
			t.Errorf("registry of %q: got %q, want %q", text, got, want)
		}
	}
}

// TestPatternFit lists for each reference the patterns that fit it, the closest
// one first.
func TestPatternFit(t *testing.T) {
	for name, patterns := range map[string][]string{
		"docker.io/library/alpine:3": {
			"docker.io/library/alpine", "docker.io/library/alpine*", "index.docker.io/library/*", "docker.io", "doc*", "*/library/alpine",
		},
		"r.example.com:5000/team/app:1": {
			"r.example.com:5000/team/ap?", "r.example.com:5000/team/*", "r.example.com:5000", "r.example.com:*", "*.example.com:5000",
		},
	} {
		ref, err := source.ParseRef(name)
		if err != nil {
			t.Fatal(err)
		}
		for i, text := range patterns {
			fit := pattern(t, text).Fit(ref)
			if fit <= 0 {
				t.Errorf("pattern %q and %s: got %d, want a fit", text, name, fit)
			}
			if i > 0 && fit >= pattern(t, patterns[i-1]).Fit(ref) {
				t.Errorf("%s: %q fits as closely as %q, want it to fit less", name, text, patterns[i-1])
			}
		}
		for _, text := range []string{"ghcr.io", "library/alpine", "r.example.com", "r.example.com*", "docker.io/alpine", "docker.io/library/alpin", "*/alpine", "*/app"} {
			if fit := pattern(t, text).Fit(ref); fit != 0 {
				t.Errorf("pattern %q and %s: got %d, want 0", text, name, fit)
			}
		}
	}
}

func TestPatternMatch(t *testing.T) {
	for _, c := range []struct {
		pattern, host, repository string
		want                      bool
	}{
		{"r.example.com", "r.example.com", "a", true},
		{"r.example.com", "R.example.com:443", "a", true},
		{"r.example.com", "r.example.com:5000", "a", false},
		{"r.example.com:*", "r.example.com:5000", "a", true},
		{"r.example.com:*", "r.example.com", "a", true},
		{"r.example.com:4*", "r.example.com", "a", true},
		{"r.example.com:50??", "r.example.com:5000", "a", true},
		{"r.example.com:50??", "r.example.com", "a", false},
		{"*.example.com", "r.example.com", "a/b", true},
		{"*.example.com", "r.example.com:5000", "a/b", false},
		{"r.example.com*", "r.example.com:5000", "a", false},
		{"r.example.com?5000", "r.example.com:5000", "a", false},
		{"*.dkr.ecr.*.amazonaws.com/*", "1.dkr.ecr.eu-central-1.amazonaws.com", "team/app", true},
		{"r.example.com/team/*", "r.example.com", "team/app", true},
		{"r.example.com/team/*", "r.example.com", "team/app/part", true},
		{"r.example.com/team/*", "r.example.com", "other/app", false},
		{"r.example.com/team/*", "r.example.com", "", true}, // a login
		{"r.example.com/team/*", "s.example.com", "", false},
		{"docker.io/library/*", "registry-1.docker.io", "library/alpine", true},
		{"registry-1.docker.io", "docker.io", "library/alpine", true},
		{"Index.docker.io:443", "registry-1.docker.io", "library/alpine", true},
		{"docker.io", "mirror.example.com", "library/alpine", false},
		{"[::1]:5000", "[0:0::1]:5000", "a", true},
		{"[::1]", "[::1]:5000", "a", false},
		{"[::1]:*", "[::1]:5000", "a", true},
		{"*1:5000", "[::1]:5000", "a", false}, // no wildcard reaches over a colon
		{"*:5000", "[::1]:5000", "a", true},   // any name or address
		{"*:*", "[::1]:5000", "a", true},
		{"*", "r.example.com:5000", "a", false},
	} {
		if got := pattern(t, c.pattern).Match(c.host, c.repository); got != c.want {
			t.Errorf("pattern %q, host %q, repository %q: got %v, want %v", c.pattern, c.host, c.repository, got, c.want)
		}
	}
}

// TestH1PatternsStayInTheirHost holds the patterns of the finding against names
// whose path imitates a host: on ef235b2 they fitted.
func TestH1PatternsStayInTheirHost(t *testing.T) {
	for text, name := range map[string]string{
		"*.corp.example":               "evil.example/x.corp.example/app",
		"*.corp.example/*":             "evil.example/x.corp.example/app",
		"*.dkr.ecr.*.amazonaws.com/*":  "evil.example/x.dkr.ecr.y.amazonaws.com/app",
		"*.dkr.ecr.*.amazonaws.com/a*": "1.dkr.ecr.evil.example/b/c.amazonaws.com/app",
		"registry*/team/app":           "registry.evil.example/x/team/app",
		"?egistry.corp.example*":       "registry.corp.example:5000/app",
		"r.corp.example*/app":          "r.corp.example:5000/app",
	} {
		ref, err := source.ParseRef(name)
		if err != nil {
			t.Fatal(err)
		}
		p := pattern(t, text)
		if p.Fit(ref) != 0 || p.Match(ref.Domain, ref.Path) {
			t.Errorf("pattern %q fits %s, want it not to", text, name)
		}
	}
}

// TestPatternsNeverCrossTheSlash matches random patterns: whether the host fits
// depends on the host alone, whatever the path is.
func TestPatternsNeverCrossTheSlash(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	text := func(alphabet string, n int) string {
		b := make([]byte, 1+r.IntN(n))
		for i := range b {
			b[i] = alphabet[r.IntN(len(alphabet))]
		}
		return string(b)
	}
	for range 20000 {
		p := source.Pattern{Host: source.CanonicalHost(text("ab.*?", 6)), Path: "*"}
		host, path := source.CanonicalHost(text("ab.", 6)), text("ab./", 8)
		if got, want := p.Match(host, path), p.MatchHost(host); got != want {
			t.Fatalf("pattern %s, host %s: got %v with the path %s, want %v as without", p, host, got, path, want)
		}
		for _, port := range []string{":5000", ":80"} {
			if p.Host != "" && p.MatchHost(host+port) {
				t.Fatalf("pattern %s fits %s, want it to fit the port of HTTPS alone", p, host+port)
			}
		}
	}
}

func TestPatternCaveat(t *testing.T) {
	for text, want := range map[string]string{
		"r.example.com": "", "r.example.com:5000/x": "", "r?.example.com:*": "", "*.example.com:5000/*": `ends in ".example.com", on 5000`,
		"*": "every registry", "*/team/*": "every registry", "*:*": "every registry",
		"*.corp.example.com": `"*.corp.example.com:*" is any port`, "*corp.example.com": `ends in "corp.example.com"`,
		"docker.io/alpine": "below docker.io/library/", "index.docker.io:443/alpin?": "fits no image", "docker.io/library/alpine": "", "docker.io/*": "", "r.example.com/app": "",
		"*.com": "different owners", "*.github.io": "different owners",
		"registry.*": `begins with "registry."`, "r?.example.com": "the port of HTTPS alone", "localhost": `"localhost:*" is any port`, "[::1]/x": `"[::1]:*" is any port`,
	} {
		got := pattern(t, text).Caveat()
		if want == "" && got != "" || !strings.Contains(got, want) {
			t.Errorf("caveat of %q: got %q, want %q in it", text, got, want)
		}
	}
}

// TestMatchImage holds the examples of kubelet's documentation of matchImages,
// and what is near them.
func TestMatchImage(t *testing.T) {
	for _, c := range []struct {
		pattern, image string
		want           bool
	}{
		{"*.dkr.ecr.*.amazonaws.com", "123.dkr.ecr.eu-west-1.amazonaws.com/a", true},
		{"*.dkr.ecr.*.amazonaws.com", "dkr.ecr.eu-west-1.amazonaws.com/a", false},
		{"gcr.io", "gcr.io/a/b", true},
		{"gcr.io", "eu.gcr.io/a/b", false},
		{"*.azurecr.io", "team.azurecr.io/a", true},
		{"*.azurecr.io", "a.team.azurecr.io/a", false},
		{"registry.io:8080/path", "registry.io:8080/path/a", true},
		{"registry.io:8080/path", "registry.io/path/a", false},
		{"registry.io:8080/path", "registry.io:8080/other", false},
		{"foo.*.io", "foo.registry.io/a", true},
		{"[.io", "a.io/b", false},
		{"GCR.io:443", "gcr.io/a", true},
		{"gcr.io", "gcr.io:5000/a", false},
		{"*.azurecr.io", "evil.example/x.azurecr.io/a", false},
		{"index.docker.io/library", "docker.io/library/alpine", true},
		{"[0:0::1]:5000", "[::1]:5000/a", true},
	} {
		if got := source.MatchImage(c.pattern, c.image); got != c.want {
			t.Errorf("MatchImage(%q, %q): got %v, want %v", c.pattern, c.image, got, c.want)
		}
	}
}

// FuzzPattern compares with a regular expression that says the same.
func FuzzPattern(f *testing.F) {
	f.Add("docker.io", "docker.io/library/alpine")
	f.Add("*.example.com/*/app?", "r.example.com/x/y/app1")
	f.Add("*:*/a*b*c/**", "r.example.com:5000/aXbYc/")
	f.Add("*.corp.example", "evil.example/x.corp.example/app")
	plain := regexp.MustCompile(`^[a-z.*?]*[a-z*?](:[1-9*?][0-9*?]{0,3})?(/[a-z/*?]*)?$`)
	f.Fuzz(func(t *testing.T, text, name string) {
		host, path, _ := strings.Cut(name, "/")
		if !plain.MatchString(text) || !plain.MatchString(name) || strings.ContainsAny(name, "*?") || strings.HasSuffix(text, ":443") || strings.HasSuffix(host, ":443") || strings.Contains(text+name, "docker.io") {
			return // other spellings have tests of their own
		}
		p := pattern(t, text)
		wantHost, _, _ := strings.Cut(text, "/")
		for _, side := range []*string{&wantHost, &host} {
			if !strings.Contains(*side, ":") {
				*side += ":443"
			}
		}
		want := expression(wantHost, "[^/:]").MatchString(host) && (path == "" || expression(p.Path, ".").MatchString(path))
		if got := p.Match(host, path); got != want {
			t.Errorf("pattern %q, name %q: got %v, want %v", text, name, got, want)
		}
	})
}

// expression is a pattern whose wildcards stand for letters of a class.
func expression(pattern, class string) *regexp.Regexp {
	quoted := regexp.QuoteMeta(pattern)
	quoted = strings.ReplaceAll(quoted, `\*`, class+"*")
	return regexp.MustCompile("^(?:" + strings.ReplaceAll(quoted, `\?`, class) + ")$")
}
