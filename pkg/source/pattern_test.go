package source_test

import (
	"regexp"
	"strings"
	"testing"

	"github.com/containerd/errdefs"

	"github.com/containerd-pull/containerd-pull/pkg/source"
)

func TestCheckPattern(t *testing.T) {
	for pattern, ok := range map[string]bool{
		"ghcr.io": true, "ghcr.io/team/*": true, "*.example.com": true, "r.example.com:5000/a": true, "*": true,
		"": false, "https://ghcr.io": false, "ghcr.io/team/app:1": false, "ghcr.io/team/app@sha256:abc": false,
	} {
		if err := source.CheckPattern(pattern); (err == nil) != ok || err != nil && !errdefs.IsInvalidArgument(err) {
			t.Errorf("CheckPattern(%q): got %v, want it valid: %v", pattern, err, ok)
		}
	}
}

func TestPatternHost(t *testing.T) {
	for pattern, want := range map[string]string{
		"ghcr.io": "ghcr.io", "ghcr.io/team/*": "ghcr.io", "r.example.com:5000/a": "r.example.com:5000",
		"*.example.com": "", "r?.example.com/a": "", "*": "", "": "",
	} {
		if got := source.PatternHost(pattern); got != want {
			t.Errorf("PatternHost(%q): got %q, want %q", pattern, got, want)
		}
	}
}

// TestFitPattern lists for each reference the patterns that fit it, the closest
// one first.
func TestFitPattern(t *testing.T) {
	for name, patterns := range map[string][]string{
		"docker.io/library/alpine:3": {
			"docker.io/library/alpine", "docker.io/library/alpine*", "index.docker.io/library/*", "docker.io", "doc*", "*/alpine",
		},
		"r.example.com:5000/team/app:1": {
			"r.example.com:5000/team/ap?", "r.example.com:5000/team/*", "r.example.com:5000", "r.example.com*", "*.example.com:5000",
		},
	} {
		ref, err := source.ParseRef(name)
		if err != nil {
			t.Fatal(err)
		}
		for i, pattern := range patterns {
			fit := source.FitPattern(pattern, ref)
			if fit <= 0 {
				t.Errorf("FitPattern(%q, %s): got %d, want a fit", pattern, name, fit)
			}
			if i > 0 && fit >= source.FitPattern(patterns[i-1], ref) {
				t.Errorf("%s: %q fits as closely as %q, want it to fit less", name, pattern, patterns[i-1])
			}
		}
		for _, pattern := range []string{"ghcr.io", "library/alpine", "r.example.com", "docker.io/alpine", "docker.io/library/alpin"} {
			if fit := source.FitPattern(pattern, ref); fit != 0 {
				t.Errorf("FitPattern(%q, %s): got %d, want 0", pattern, name, fit)
			}
		}
	}
}

func TestMatchCredential(t *testing.T) {
	for _, c := range []struct {
		pattern, host, repository string
		want                      bool
	}{
		{"r.example.com", "r.example.com", "a", true},
		{"r.example.com", "R.example.com:443", "a", true},
		{"r.example.com", "r.example.com:5000", "a", false},
		{"*.example.com", "r.example.com", "a/b", true},
		{"r.example.com/team/*", "r.example.com", "team/app", true},
		{"r.example.com/team/*", "r.example.com", "other/app", false},
		{"r.example.com/team/*", "r.example.com", "", true}, // a login
		{"docker.io/library/*", "registry-1.docker.io", "library/alpine", true},
		{"registry-1.docker.io", "registry-1.docker.io", "library/alpine", true},
		{"index.docker.io", "registry-1.docker.io", "library/alpine", true},
		{"docker.io", "mirror.example.com", "library/alpine", false},
	} {
		if got := source.MatchCredential(c.pattern, c.host, c.repository); got != c.want {
			t.Errorf("MatchCredential(%q, %q, %q): got %v, want %v", c.pattern, c.host, c.repository, got, c.want)
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
	} {
		if got := source.MatchImage(c.pattern, c.image); got != c.want {
			t.Errorf("MatchImage(%q, %q): got %v, want %v", c.pattern, c.image, got, c.want)
		}
	}
}

// FuzzMatchPattern compares with a regular expression that says the same.
func FuzzMatchPattern(f *testing.F) {
	f.Add("docker.io", "docker.io/library/alpine")
	f.Add("*.example.com/*/app?", "r.example.com/x/y/app1")
	f.Add("a*b*c/**", "aXbYc/")
	f.Fuzz(func(t *testing.T, pattern, name string) {
		full := pattern
		if !strings.Contains(full, "/") {
			full += "/*"
		}
		var expr strings.Builder
		for i := range len(full) {
			switch full[i] {
			case '*':
				expr.WriteString("(?s:.*)")
			case '?':
				expr.WriteString("(?s:.)")
			default:
				expr.WriteString(regexp.QuoteMeta(string(full[i])))
			}
		}
		re, err := regexp.Compile("^" + expr.String() + "$")
		if err != nil || strings.ContainsFunc(full+name, func(r rune) bool { return r > 127 }) {
			return // the pattern counts bytes, the expression runes
		}
		if got, want := source.MatchPattern(pattern, name), re.MatchString(name); got != want {
			t.Errorf("MatchPattern(%q, %q): got %v, want %v", pattern, name, got, want)
		}
	})
}
