package source_test

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/containerd-pull/containerd-pull/pkg/source"
)

// formerMatch is the first release's: a pattern held against HOST/REPOSITORY as
// one text.
func formerMatch(pattern, name string) bool {
	if !strings.Contains(pattern, "/") {
		pattern += "/*"
	}
	if pattern == "" || name == "" {
		return strings.Trim(pattern, "*") == "" && name == ""
	}
	switch {
	case pattern[0] == '*':
		return formerPart(pattern, name)
	case pattern[0] == '?' || pattern[0] == name[0]:
		return formerPart(pattern[1:], name[1:])
	}
	return false
}

func formerPart(pattern, name string) bool {
	switch {
	case pattern == "":
		return name == ""
	case pattern[0] == '*':
		return formerPart(pattern[1:], name) || name != "" && formerPart(pattern, name[1:])
	}
	return name != "" && (pattern[0] == '?' || pattern[0] == name[0]) && formerPart(pattern[1:], name[1:])
}

// TestFormerMeaningNamesEveryChange: where the first release and this one differ
// about a reference, the pattern is named. Only that HOST:* includes the port of
// HTTPS, which no reference has to spell, is not worth a word.
func TestFormerMeaningNamesEveryChange(t *testing.T) {
	hosts := []string{"r.example.com", "R.example.com", "r.example.com:443", "r.example.com:5000", "localhost:5000", "evil.example", "docker.io", "index.docker.io"}
	parts := []string{"r", "*", "?", ".example", ".com", ":5000", ":443", "R", "localhost", "docker.io", "evil"}
	random := rand.New(rand.NewPCG(1, 2))
	named := 0
	for range 5000 {
		var made strings.Builder
		for range 1 + random.IntN(4) {
			made.WriteString(parts[random.IntN(len(parts))])
		}
		pattern := made.String() + []string{"", "/*", "/team/*", "/team/app"}[random.IntN(4)]
		parsed, err := source.ParsePattern(pattern)
		if err != nil {
			continue
		}
		former, changed := source.FormerMeaning(pattern)
		if changed {
			named++
			if former.Was == "" || former.Now == "" || !strings.Contains(former.Write, `"`) {
				t.Fatalf("%q: got %+v, want words", pattern, former)
			}
			continue
		}
		host, _, _ := strings.Cut(pattern, "/")
		if _, port, _ := strings.Cut(host, ":"); strings.ContainsAny(port, "*?") {
			continue
		}
		for _, h := range hosts {
			ref, err := source.ParseRef(fmt.Sprintf("%s/team/app", strings.ToLower(h)))
			if err != nil {
				t.Fatal(err)
			}
			was, now := formerMatch(pattern, ref.Domain+"/"+ref.Path), parsed.Match(ref.Domain, ref.Path)
			if was != now {
				t.Errorf("pattern %q and %s/%s: was %v, is %v, and it is not named", pattern, ref.Domain, ref.Path, was, now)
			}
		}
	}
	if named == 0 {
		t.Error("no pattern was named")
	}
}

func TestFormerMeaning(t *testing.T) {
	for pattern, want := range map[string]string{
		"registry.example.com":            "",
		"registry.example.com/team/*":     "",
		"registry.example.com:5000/*":     "",
		"localhost:*":                     "",
		"*.corp.example":                  `"*.corp.example" for the port of HTTPS, "*.corp.example:*" for any port`,
		"*.dkr.ecr.*.amazonaws.com/*":     `"*.dkr.ecr.*.amazonaws.com" for the port of HTTPS, "*.dkr.ecr.*.amazonaws.com:*" for any port`,
		"*":                               `"*" for the port of HTTPS, "*:*" for any port`,
		"*/team/app":                      `"*/team/app" for the port of HTTPS, "*:*/team/app" for any port`,
		"*.corp.example:5000":             `"*.corp.example:5000", if that is what is meant`,
		"Registry.example.com":            `"registry.example.com"`,
		"registry.example.com:443/team/*": `"registry.example.com/team/*"`,
		"index.docker.io/library/*":       `"docker.io/library/*"`,
		"https://registry.example.com":    "",
	} {
		if got, _ := source.FormerMeaning(pattern); got.Write != want {
			t.Errorf("%q: got %s, want %s", pattern, got.Write, want)
		}
	}
}
