package complete

import (
	"cmp"
	"strings"
)

// newestFirst orders tags by how new they look: latest, then versions in
// descending order, each before its variants, then words.
func newestFirst(a, b string) int {
	return cmp.Or(cmp.Compare(tagRank(a), tagRank(b)), -compareVersions(a, b))
}

func tagRank(tag string) int {
	switch {
	case tag == "latest":
		return 0
	case isDigit(strings.TrimPrefix(tag, "v")):
		return 1
	case strings.HasPrefix(tag, "sha256-"): // signatures and the like
		return 3
	}
	return 2
}

func isDigit(s string) bool { return s != "" && '0' <= s[0] && s[0] <= '9' }

// compareVersions compares numbers as numbers and text as text. Of two versions
// of which one begins with the other, the longer is greater if another number
// follows, and smaller if a word follows, as in 1.2-rc1.
func compareVersions(a, b string) int {
	for a != "" && b != "" {
		var x, y string
		x, a = nextPart(a)
		y, b = nextPart(b)
		if c := compareParts(x, y); c != 0 {
			return c
		}
	}
	return worth(a) - worth(b)
}

// worth ranks what follows the common beginning of two versions.
func worth(rest string) int {
	switch {
	case rest == "":
		return 0
	case rest[0] == '.' && isDigit(rest[1:]):
		return 1
	}
	return -1
}

func compareParts(x, y string) int {
	if !isDigit(x) || !isDigit(y) {
		return cmp.Compare(x, y)
	}
	x, y = strings.TrimLeft(x, "0"), strings.TrimLeft(y, "0")
	return cmp.Or(cmp.Compare(len(x), len(y)), cmp.Compare(x, y))
}

// nextPart splits off the leading digits of s, or its leading other characters.
func nextPart(s string) (part, rest string) {
	n := 1
	for n < len(s) && isDigit(s[n:]) == isDigit(s) {
		n++
	}
	return s[:n], s[n:]
}
