package header_test

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/containerd-pull/containerd-pull/pkg/registry/header"
)

func TestParseContentRange(t *testing.T) {
	for in, want := range map[string][3]int64{
		"bytes 0-9/10":   {0, 9, 10},
		"bytes 5-5/*":    {5, 5, -1},
		"BYTES 1-2/3":    {1, 2, 3},
		" bytes 1-2/30 ": {1, 2, 30},
	} {
		r, ok := header.ParseContentRange(in)
		if got := [3]int64{r.First, r.Last, r.Total}; !ok || got != want {
			t.Errorf("%q: got %v, %v, want %v", in, got, ok, want)
		}
	}
	for _, in := range []string{
		"", "bytes", "bytes ", "bytes */10", "bytes 0-9", "bytes 9-0/10", "bytes 0-10/10", "bytes -1-2/10", "bytes +1-2/10",
		"bytes 0-9/-10", "items 0-9/10", "bytes 0-9/10/11", "bytes 0-99999999999999999999/*", "bytes 0 - 9/10",
	} {
		if r, ok := header.ParseContentRange(in); ok {
			t.Errorf("%q: got %+v, want a refusal", in, r)
		}
	}
}

func FuzzContentRange(f *testing.F) {
	for _, s := range []string{"bytes 0-9/10", "bytes 5-5/*", "bytes */10", "bytes 9-0/10"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		r, ok := header.ParseContentRange(s)
		if ok && (r.First < 0 || r.Last < r.First || r.Total >= 0 && r.Last >= r.Total) {
			t.Errorf("%q: got %+v, want a refusal", s, r)
		}
	})
}

func FuzzNextLink(f *testing.F) {
	f.Add(`</v2/app/tags/list?n=2&last=b>; rel="next"`)
	f.Add(`<a>; rel=prev, <b>; title="x,y"; rel="next"`)
	f.Add(`<<>>,;rel=next`)
	f.Fuzz(func(t *testing.T, line string) {
		got := header.NextLink([]string{line, line})
		if got != "" && !strings.Contains(line, "<"+got+">") {
			t.Errorf("got %q out of %q", got, line)
		}
	})
}

func TestParseRetryAfter(t *testing.T) {
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	for in, want := range map[string]time.Duration{
		"0": 0, "2": 2 * time.Second, " 3 ": 3 * time.Second, "86400": 24 * time.Hour,
		"": 0, "-1": 0, "1.5": 0, "soon": 0, "0x10": 0,
		"Fri, 02 Jan 2026 03:04:35 GMT":  30 * time.Second,
		"Friday, 02-Jan-26 03:04:35 GMT": 30 * time.Second,
		"Fri Jan  2 03:04:35 2026":       30 * time.Second,
		"Fri, 02 Jan 2026 03:04:00 GMT":  0,
		// hub-feedback#2459: the time of day in Unix seconds.
		"1767323075":          30 * time.Second,
		"1767323040":          0,
		"999999999":           999999999 * time.Second,
		"1767323075000":       30 * time.Second, // what JavaScript's Date.now() is made of
		"1767323040000":       0,
		"-1767323075000":      0,
		"9223372036854775807": 0,
	} {
		if got := header.ParseRetryAfter(in, now); got != want {
			t.Errorf("%q: got %s, want %s", in, got, want)
		}
	}
}

func FuzzRetryAfter(f *testing.F) {
	for _, s := range []string{"2", "-1", "Fri, 02 Jan 2026 03:04:35 GMT", "99999999999999999999"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if got := header.ParseRetryAfter(s, time.Unix(1_700_000_000, 0)); got < 0 {
			t.Errorf("%q: got %s, want no negative wait", s, got)
		}
	})
}

func TestNextLink(t *testing.T) {
	for want, headers := range map[string][]string{
		"/v2/a/tags/list?n=2": {`</v2/a/tags/list?n=2>; rel="next"`},
		"?last=b":             {`<x>; rel=prev, <?last=b>; title="a"; REL = next`},
		"second":              {`<first>; rel="help"`, `<second>;rel=next`},
		"":                    {"", "<open", "no brackets; rel=next", `<x>; rel="prev"`},
	} {
		if got := header.NextLink(headers); got != want {
			t.Errorf("%q: got %q, want %q", headers, got, want)
		}
	}
}

func TestParseRateLimit(t *testing.T) {
	for _, c := range []struct {
		left, of string
		near     bool
		text     string // empty: there is none
	}{
		{"76;w=21600", "100;w=21600", false, "76 of 100 pulls are left in a window of 6h0m0s"},
		{"10;w=21600", "100;w=21600", true, "10 of 100 pulls are left in a window of 6h0m0s"},
		{" 0 ; x=1; w=60", "200", true, "0 of 200 pulls are left in a window of 1m0s"},
		{"11", "", false, "11 pulls are left"},
		{"10", "many", true, "10 pulls are left"},
		{"3;w=soon", "", true, "3 pulls are left"},
		{"", "100", false, ""},
		{"-1", "100", false, ""},
		{"99999999999", "", false, ""},
	} {
		l, ok := header.ParseRateLimit(http.Header{"Ratelimit-Remaining": {c.left}, "Ratelimit-Limit": {c.of}})
		if ok != (c.text != "") || ok && (l.String() != c.text || l.IsNear() != c.near) {
			t.Errorf("%q of %q: got %q, near %v, %v, want %q", c.left, c.of, l, l.IsNear(), ok, c.text)
		}
	}
}
