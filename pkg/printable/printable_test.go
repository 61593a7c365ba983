package printable_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"

	"github.com/containerd-pull/containerd-pull/pkg/printable"
)

func TestLineAndText(t *testing.T) {
	for _, tt := range []struct{ name, in, line, text string }{
		{"nothing", "", "", ""},
		{"plain", "no such tag", "no such tag", ""},
		{"other scripts", "größer 日本 🚀", "größer 日本 🚀", ""},
		{"a backslash and quotes", `C:\new "x" 'y'`, `C:\new "x" 'y'`, ""},
		{"a replacement character", "\ufffd", "\ufffd", ""},
		{"lines", "a\nb\tc", `a\nb\tc`, "a\nb\tc"},
		{"a carriage return", "real\rforged", `real\rforged`, ""},
		{"an escape sequence", "no\x1b[31m", `no\x1b[31m`, ""},
		{"a title", "\x1b]0;title\x07", `\x1b]0;title\a`, ""},
		{"a control character of one byte", "\x9b1A", `\x9b1A`, ""},
		{"the same in UTF-8", "\u009b1A\u0085", `\u009b1A\u0085`, ""},
		{"DEL and NUL", "a\x7f\x00b", `a\x7f\x00b`, ""},
		{"separators", "a\u2028b\u2029c", `a\u2028b\u2029c`, ""},
		{"writing from right to left", "a\u202eb\u2066c\u200f", `a\u202eb\u2066c\u200f`, ""},
		{"invisible characters", "a\u200bb\ufeff\U000e0041", `a\u200bb\ufeff\U000e0041`, ""},
		{"no UTF-8", "\xff\xfea\xc3", `\xff\xfea\xc3`, ""},
		{"a surrogate", "\xed\xa0\x80", `\xed\xa0\x80`, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := printable.Line(tt.in); got != tt.line {
				t.Errorf("got line %q, want %q", got, tt.line)
			}
			want := tt.text
			if want == "" { // the same as the line
				want = tt.line
			}
			if got := printable.Text(tt.in); got != want {
				t.Errorf("got text %q, want %q", got, want)
			}
		})
	}
}

func TestShort(t *testing.T) {
	for _, tt := range []struct {
		in   string
		most int
		want string
	}{
		{"", 1, ""},
		{"a", 1, "a"},
		{"ab", 1, "…"},
		{"größe", 5, "größe"},
		{"größer", 5, "größ…"},
		{"a\nb", 4, `a\nb`},
		{"a\nb", 3, `a\…`},
		{strings.Repeat("\xff", 9), 9, `\xff\xff…`},
	} {
		if got := printable.Short(tt.in, tt.most); got != tt.want {
			t.Errorf("got %q for %d characters of %q, want %q", got, tt.most, tt.in, tt.want)
		}
	}
}

func TestQuote(t *testing.T) {
	for in, want := range map[string]string{
		"":              `""`,
		`etc/"a\b"`:     `"etc/\"a\\b\""`,
		"a\x1b\n\u202e": `"a\x1b\n\u202e"`,
		"12345678901":   `"1234567890…"`,
		"123456789ß":    `"123456789\xc3…"`,
	} {
		if got := printable.Quote(in, 10); got != want {
			t.Errorf("got %s of %q, want %s", got, in, want)
		}
	}
}

// FuzzLine wants one printable line of every text, the same when it is escaped
// again; of a Text the same but for line feeds and tabs, and of a Short that it
// is as short as asked for.
func FuzzLine(f *testing.F) {
	for _, s := range []string{
		"", "fine", "two\r\nlines\ttab", "\x1b[2J\x1b]0;title\x07", "\u009b31m\x9b1A", "\u202eright to left\u2028",
		"\xff\xfe\x00", `back\slash 'quote'`, "\u0085\ufffd\U000e0041\xed\xa0\x80", strings.Repeat("é", 2000),
	} {
		f.Add(s, uint8(7))
	}
	f.Fuzz(func(t *testing.T, s string, most uint8) {
		line, text := printable.Line(s), printable.Text(s)
		short, quoted := printable.Short(s, int(most)+1), printable.Quote(s, int(most))
		for _, got := range []string{line, short, quoted, strings.NewReplacer("\n", "", "\t", "").Replace(text)} {
			harmless(t, got)
		}
		if again := printable.Line(line); again != line {
			t.Errorf("got %q of %q the second time", again, line)
		}
		if again := printable.Text(text); again != text {
			t.Errorf("got %q of text %q the second time", again, text)
		}
		if n := utf8.RuneCountInString(short); n > int(most)+1 {
			t.Errorf("got %d characters, want at most %d", n, int(most)+1)
		}
	})
}

// harmless fails for what a terminal would obey or a reader not see.
func harmless(t *testing.T, text string) {
	t.Helper()
	if !utf8.ValidString(text) {
		t.Errorf("got text that is not UTF-8: %q", text)
	}
	for _, r := range text {
		if unicode.IsControl(r) || unicode.In(r, unicode.Bidi_Control, unicode.Cf, unicode.Zl, unicode.Zp) {
			t.Errorf("got %q in %q", r, text)
		}
	}
}

func ExampleLine() {
	fmt.Println(printable.Line("not found\r\n\x1b[32mdone\u202e"))
	// Output: not found\r\n\x1b[32mdone\u202e
}

// TestJSON: a JSON text holds what it held, and nothing that a terminal obeys.
func TestJSON(t *testing.T) {
	for _, value := range []string{"", "a b\tc\nd", "\x1b[2J\x07\u009b1A\u0085\u202e\u2066\u2028\ufeff\x7f", "𝄞 ü € \U000e0001", `"\`} {
		text, err := json.Marshal(map[string]string{value: value})
		if err != nil {
			t.Fatal(err)
		}
		safe := printable.JSON(string(text))
		if safe != printable.Line(safe) {
			t.Errorf("%q: got %q, want nothing to escape", value, safe)
		}
		var back map[string]string
		if err := json.Unmarshal([]byte(safe), &back); err != nil || back[value] != value {
			t.Errorf("%q: got back %q, %v", value, back, err)
		}
	}
}
