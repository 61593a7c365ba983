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

// ShortLength is how many hex digits of a digest a reader is shown. It is Docker's
// length, so that rows and lines can be compared with its output.
const ShortLength = 12

// ShortDigest returns the first ShortLength hex digits of a digest.
func ShortDigest(dgst digest.Digest) string {
	_, hex, found := strings.Cut(string(dgst), ":")
	if !found {
		hex = string(dgst)
	}
	return hex[:min(len(hex), ShortLength)]
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

// String formats a part of a whole in the unit of the whole, "21.0/48.5 MB",
// or the part alone while the whole is unknown.
func (b Bytes) String() string {
	if b.Total <= 0 {
		return Size(b.Done)
	}
	u := unitOf(max(b.Done, b.Total))
	return u.number(b.Done) + "/" + u.number(b.Total) + " " + u.name
}

// Speed formats bytes per second: "7.9 MB/s".
func Speed(perSecond float64) string {
	return Size(int64(perSecond)) + "/s"
}

// Average returns the bytes per second of n bytes in d, 0 if d is not positive.
func Average(n int64, d time.Duration) float64 {
	if d <= 0 {
		return 0
	}
	return float64(n) / d.Seconds()
}

// ratedFrom is how many bytes it takes for a mean speed to say something about a
// link: fewer take as long as it takes to ask for them.
const ratedFrom = 1_000_000

// MeanSpeed formats the speed of n bytes in d; it is empty where they are too few
// to have one.
func MeanSpeed(n int64, d time.Duration) string {
	if n < ratedFrom || d <= 0 {
		return ""
	}
	return Speed(Average(n, d))
}

// Duration formats d to about three digits: "250ms", "6.1s", "1m23s".
func Duration(d time.Duration) string {
	switch {
	case d < 950*time.Millisecond:
		return fmt.Sprintf("%dms", d.Milliseconds())
	case d < 59950*time.Millisecond:
		return fmt.Sprintf("%.1fs", d.Seconds())
	}
	return d.Round(time.Second).String()
}

// clean returns foreign text as displays show it: harmless, without the colours
// of other programs, and with spaces in place of line breaks and tabs.
func clean(s string) string {
	return printable.Line(strings.Map(func(r rune) rune {
		if unicode.IsSpace(r) {
			return ' '
		}
		return r
	}, ansi.Strip(s)))
}

// Plural counts things: "1 image", "2 images", "3 retries".
func Plural(n int, thing string) string {
	if n == 1 {
		return "1 " + thing
	}
	if stem, ok := strings.CutSuffix(thing, "y"); ok {
		thing = stem + "ie"
	}
	return fmt.Sprintf("%d %ss", n, thing)
}

// Cause is what went wrong, on one harmless line: the message made for the
// reader, else the error, else the bare reason.
func (e Event) Cause() string {
	switch {
	case e.Message != "":
		return clean(e.Message)
	case e.Err != nil:
		return clean(e.Err.Error())
	}
	return clean(e.Reason)
}

// RetryText is a Retry on one harmless line: "retry 1 in 250ms: connection reset
// by peer (quay.io)".
func (e Event) RetryText() string {
	text := fmt.Sprintf("retry %d in %s: %s", e.Attempt, Duration(e.Wait), e.Cause())
	if e.Host != "" {
		text += " (" + printable.Line(e.Host) + ")"
	}
	return text
}
