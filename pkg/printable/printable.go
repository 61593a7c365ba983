// Package printable makes foreign text harmless before it is shown: what a
// registry, an image, a credential helper or a daemon wrote may neither move
// the cursor of a terminal, nor forge a line, nor turn the direction of
// writing. It escapes as Go does and leaves nothing out, so that a reader sees
// what was there. Escaping a second time changes nothing.
//
// The package knows no columns: a display cuts what it returns to the width of
// its screen. Start reading at Line.
package printable

import (
	"fmt"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf16"
	"unicode/utf8"
)

// Line returns s as one line. What unicode.IsPrint does not count as printable
// becomes an escape of a Go string: control characters, line and paragraph
// separators, bidirectional controls, other invisible characters, and every
// byte that is not UTF-8. Backslashes and quotes stay as they are.
func Line(s string) string { return escape(s, unicode.IsPrint) }

// Text is Line for longer texts: it keeps line feeds and tabs.
func Text(s string) string {
	return escape(s, func(r rune) bool { return r == '\n' || r == '\t' || unicode.IsPrint(r) })
}

// JSON returns a JSON text with the escapes of JSON for what Text would escape:
// control characters above ASCII and those that turn the direction of writing,
// which JSON allows. It holds the same values.
func JSON(s string) string {
	var b strings.Builder
	for _, r := range s {
		switch high, low := utf16.EncodeRune(r); {
		case r == '\n' || r == '\t' || unicode.IsPrint(r):
			b.WriteRune(r)
		case high != unicode.ReplacementChar:
			fmt.Fprintf(&b, `\u%04x\u%04x`, high, low)
		default:
			fmt.Fprintf(&b, `\u%04x`, r)
		}
	}
	return b.String()
}

// Short is Line, cut to most characters, which is at least 1. An ellipsis at
// the end marks a cut and counts.
func Short(s string, most int) string {
	line := Line(s)
	if utf8.RuneCountInString(line) <= most {
		return line
	}
	return string([]rune(line)[:most-1]) + "…"
}

// Quote returns s between double quotes, as %q does, and of a long s the first
// most bytes with an ellipsis.
func Quote(s string, most int) string {
	if len(s) > most {
		s = s[:most] + "…"
	}
	return strconv.Quote(s)
}

// escape replaces every character of s that keep rejects.
func escape(s string, keep func(rune) bool) string {
	if utf8.ValidString(s) && strings.IndexFunc(s, func(r rune) bool { return !keep(r) }) < 0 {
		return s
	}
	var b strings.Builder
	for len(s) > 0 {
		r, size := utf8.DecodeRuneInString(s)
		switch {
		case r == utf8.RuneError && size == 1:
			fmt.Fprintf(&b, `\x%02x`, s[0])
		case keep(r):
			b.WriteRune(r)
		default:
			b.WriteString(strings.Trim(strconv.QuoteRune(r), "'"))
		}
		s = s[size:]
	}
	return b.String()
}
