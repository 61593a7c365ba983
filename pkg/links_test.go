package pkg_test

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// link is a link of Markdown to a file of the repository, not to a place
// within the page or to another site.
var link = regexp.MustCompile(`\]\(([^)#: ]+)(#[^)]*)?\)`)

// TestLinks wants a file for each link of the documentation, and a link in the
// index for each page.
func TestLinks(t *testing.T) {
	pages, err := filepath.Glob("../docs/*.md")
	if err != nil || len(pages) == 0 {
		t.Fatalf("got pages %q, %v", pages, err)
	}
	linked := map[string]bool{}
	for _, page := range append(pages, "../README.md") {
		text, err := os.ReadFile(page)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range link.FindAllStringSubmatch(string(text), -1) {
			to := filepath.Join(filepath.Dir(page), m[1])
			if _, err := os.Stat(to); err != nil {
				t.Errorf("%s: %v", page, err)
			}
			if page == "../docs/README.md" {
				linked[to] = true
			}
		}
	}
	for _, page := range pages {
		if !linked[page] && !strings.HasSuffix(page, "README.md") {
			t.Errorf("docs/README.md has no link to %s", page)
		}
	}
}
