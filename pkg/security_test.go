package pkg_test

import (
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// namedTest is how docs/security.md names a test, with the case of a table behind a
// slash.
var namedTest = regexp.MustCompile("`((?:Test|Fuzz)[A-Z]\\w*)(?:/[^`]*)?`")

// findings are those of the attack on the first build, by severity.
func findings() []string {
	all := []string{"H1", "H1b", "H2", "H3"}
	for n := 1; n <= 8; n++ {
		all = append(all, fmt.Sprintf("M%d", n))
	}
	for n := 1; n <= 14; n++ {
		all = append(all, fmt.Sprintf("L%d", n))
	}
	return all
}

// TestL14SecurityPageNamesItsTests holds docs/security.md to what there is: each test
// that it names exists, each rule and each finding has a row that names one, and that of
// a finding has its number in the name.
func TestL14SecurityPageNamesItsTests(t *testing.T) {
	page, err := os.ReadFile("../docs/security.md")
	if err != nil {
		t.Fatal(err)
	}
	there := declaredTests(t)
	for _, m := range namedTest.FindAllStringSubmatch(string(page), -1) {
		if !there[m[1]] {
			t.Errorf("docs/security.md names %s, which is no test", m[1])
		}
	}
	rows := map[string][]string{}
	for line := range strings.Lines(string(page)) {
		if cells := strings.Split(strings.Trim(line, "| \n"), " | "); len(cells) > 1 {
			first, _, _ := strings.Cut(cells[0], " ")
			for _, m := range namedTest.FindAllStringSubmatch(cells[len(cells)-1], -1) {
				rows[first] = append(rows[first], m[1])
			}
		}
	}
	for n := 1; n <= 11; n++ {
		if len(rows[fmt.Sprint(n)]) == 0 {
			t.Errorf("docs/security.md has no row for rule %d that names a test", n)
		}
	}
	for _, finding := range findings() {
		own := regexp.MustCompile("^Test" + finding + "[A-Z]")
		if !slices.ContainsFunc(rows[finding], own.MatchString) {
			t.Errorf("docs/security.md has no row for finding %s that names its test: got %q", finding, rows[finding])
		}
	}
}

// declaredTests are the tests, and the parts of tests, of the module.
func declaredTests(t *testing.T) map[string]bool {
	t.Helper()
	declared := regexp.MustCompile(`(?m)^func ([tT]est|Fuzz)([A-Z]\w*)\(`)
	all := map[string]bool{}
	for _, name := range files(t, "*_test.go") {
		text, err := os.ReadFile("../" + name)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range declared.FindAllStringSubmatch(string(text), -1) {
			all[strings.ToUpper(m[1][:1])+m[1][1:]+m[2]] = true
		}
	}
	return all
}
