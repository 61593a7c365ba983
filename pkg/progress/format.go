package progress

import (
	"fmt"
	"strconv"
	"strings"
	"time"
	"unicode"

	"github.com/charmbracelet/x/ansi"
	"github.com/opencontainers/go-digest"

	"github.com/containerd-pull/containerd-pull/pkg/printable"
)

// shortLength is how many hex digits of a digest name a blob to a reader; it
// is docker's length, so that rows and lines can be compared with its output.
const shortLength = 12

func short(dgst digest.Digest) string {
	_, hex, found := strings.Cut(string(dgst), ":")
	if !found {
		hex = string(dgst)
	}
	return hex[:min(len(hex), shortLength)]
}

// unit is a decimal power of bytes.
type unit struct {
	name  string
	bytes float64
}

func (u unit) number(n int64) string {
	if u.bytes == 1 {
		return strconv.FormatInt(n, 10)
	}
	return strconv.FormatFloat(float64(n)/u.bytes, 'f', 1, 64)
}

// unitOf returns the largest unit in which n rounds to at least 1.0, so that
// no size is printed as "1000.0".
func unitOf(n int64) unit {
	switch f := float64(n); {
	case n < 1000:
		return unit{"B", 1}
	case f < 999.95e3:
		return unit{"kB", 1e3}
	case f < 999.95e6:
		return unit{"MB", 1e6}
	case f < 999.95e9:
		return unit{"GB", 1e9}
	}
	return unit{"TB", 1e12}
}

// Size formats a number of bytes for a reader: "48.5 MB".
func Size(n int64) string {
	u := unitOf(n)
	return u.number(n) + " " + u.name
}

// fraction formats a part of a whole in the whole's unit, "21.0/48.5 MB", or
// the part alone while the whole is unknown.
func fraction(n, total int64) string {
	if total <= 0 {
		return Size(n)
	}
	u := unitOf(max(n, total))
	return u.number(n) + "/" + u.number(total) + " " + u.name
}

// speed formats bytes per second: "7.9 MB/s".
func speed(perSecond float64) string {
	return Size(int64(perSecond)) + "/s"
}

// average is the speed of n bytes over d.
func average(n int64, d time.Duration) float64 {
	if d <= 0 {
		return 0
	}
	return float64(n) / d.Seconds()
}

// duration formats d as precisely as a reader cares for: "250ms", "6.1s",
// "1m23s".
func duration(d time.Duration) string {
	switch {
	case d < 950*time.Millisecond:
		return fmt.Sprintf("%dms", d.Milliseconds())
	case d < 59950*time.Millisecond:
		return fmt.Sprintf("%.1fs", d.Seconds())
	}
	return d.Round(time.Second).String()
}

// clean is foreign text as displays show it: harmless, without the colours of
// other programs, and with spaces where it has line breaks and tabs.
func clean(s string) string {
	return printable.Line(strings.Map(func(r rune) rune {
		if unicode.IsSpace(r) {
			return ' '
		}
		return r
	}, ansi.Strip(s)))
}

// cause is what went wrong in one line: the message made for the reader, else
// the error, else the bare reason.
func (e Event) cause() string {
	switch {
	case e.Message != "":
		return clean(e.Message)
	case e.Err != nil:
		return clean(e.Err.Error())
	}
	return clean(e.Reason)
}

// cleanLine is clean for a log line, which keeps its tabs.
func cleanLine(s string) string {
	return printable.Text(ansi.Strip(strings.TrimSuffix(s, "\r")))
}
