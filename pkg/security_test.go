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

// TestL14SecurityPageNamesItsTests wants a row for each rule and each finding in
// docs/security.md that names a test, for a finding one with its number in the name.
// That there are such tests is for TestNamedTests.
func TestL14SecurityPageNamesItsTests(t *testing.T) {
	page, err := os.ReadFile("../docs/security.md")
	if err != nil {
		t.Fatal(err)
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
