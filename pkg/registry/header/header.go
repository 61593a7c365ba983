// Package header reads headers in which registries say how to go on: which part of a
// blob an answer holds, where the next page of a list is, how long to wait, how many
// pulls are left.
//
// What makes no sense counts as absent. Who believes a header, and what follows from it,
// is for pkg/registry.
package header

import (
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// ContentRange is the place of a part, both ends included; Total is negative
// if it is unknown.
type ContentRange struct{ First, Last, Total int64 }

// ParseContentRange reads "bytes FIRST-LAST/TOTAL" (RFC 9110, section 14.4).
func ParseContentRange(value string) (ContentRange, bool) {
	unit, rest, ok := strings.Cut(strings.TrimSpace(value), " ")
	if !ok || !strings.EqualFold(unit, "bytes") {
		return ContentRange{}, false
	}
	place, size, ok := strings.Cut(rest, "/")
	if !ok {
		return ContentRange{}, false
	}
	first, last, ok := strings.Cut(place, "-")
	if !ok {
		return ContentRange{}, false
	}
	r := ContentRange{Total: -1}
	var okFirst, okLast, okTotal bool
	r.First, okFirst = parseSize(first)
	r.Last, okLast = parseSize(last)
	if okTotal = size == "*"; !okTotal {
		r.Total, okTotal = parseSize(size)
	}
	valid := okFirst && okLast && okTotal && r.First <= r.Last && (r.Total < 0 || r.Last < r.Total)
	return r, valid
}

// parseSize takes digits alone: no sign, no spaces.
func parseSize(s string) (int64, bool) {
	n, err := strconv.ParseUint(s, 10, 63)
	return int64(n), err == nil
}

// NextLink finds the target of rel="next" in Link headers (RFC 8288), or
// nothing.
func NextLink(headers []string) string {
	for _, header := range headers {
		for header != "" {
			var target, params string
			var ok bool
			if _, header, ok = strings.Cut(header, "<"); !ok {
				break
			}
			if target, header, ok = strings.Cut(header, ">"); !ok {
				break
			}
			params, header, _ = strings.Cut(header, ",")
			if isNext(params) {
				return target
			}
		}
	}
	return ""
}

func isNext(params string) bool {
	for param := range strings.SplitSeq(params, ";") {
		name, value, _ := strings.Cut(strings.TrimSpace(param), "=")
		if strings.EqualFold(strings.TrimSpace(name), "rel") && strings.EqualFold(strings.Trim(value, ` "`), "next") {
			return true
		}
	}
	return false
}

// unixTimes is where a number in Retry-After is no wait any more, but a point in
// time: seconds since 1970, as of the year 2001.
const unixTimes = 1_000_000_000

// longestWait is the longest wait that is believed: a number that means more is of some
// other unit, or nonsense.
const longestWait = 100 * 365 * 24 * time.Hour

// ParseRetryAfter reads the forms of Retry-After: seconds, a date, and the date in
// Unix seconds that Docker Hub has sent, or in milliseconds. What is no sensible wait, such
// as a date in the past, counts as absent.
func ParseRetryAfter(value string, now time.Time) time.Duration {
	wait := parseWait(strings.TrimSpace(value), now)
	if wait < 0 || wait > longestWait {
		return 0
	}
	return wait
}

func parseWait(value string, now time.Time) time.Duration {
	n, err := strconv.ParseInt(value, 10, 64)
	switch {
	case err != nil:
		at, err := http.ParseTime(value)
		if err != nil {
			return 0
		}
		return at.Sub(now)
	case n < 0:
		return 0
	case n < unixTimes:
		return time.Duration(n) * time.Second
	case n < 1000*unixTimes:
		return time.Unix(n, 0).Sub(now)
	}
	return time.UnixMilli(n).Sub(now)
}

// RateLimit is what an answer says about the requests that a host still allows.
type RateLimit struct {
	left, of int           // of is 0 if it is not known
	window   time.Duration // 0 if it is not known
}

// ParseRateLimit reads RateLimit-Remaining and RateLimit-Limit in the form of Docker
// Hub: a number, and the window in seconds as the parameter w.
func ParseRateLimit(answer http.Header) (l RateLimit, ok bool) {
	left, window, ok := readQuota(answer.Get("RateLimit-Remaining"))
	if !ok {
		return RateLimit{}, false
	}
	l = RateLimit{left: left, window: window}
	l.of, _, _ = readQuota(answer.Get("RateLimit-Limit"))
	return l, true
}

func readQuota(value string) (n int, window time.Duration, ok bool) {
	number, params, _ := strings.Cut(value, ";")
	quota, err := strconv.ParseUint(strings.TrimSpace(number), 10, 31)
	if err != nil {
		return 0, 0, false
	}
	for param := range strings.SplitSeq(params, ";") {
		if text, is := strings.CutPrefix(strings.TrimSpace(param), "w="); is {
			secs, _ := strconv.ParseUint(text, 10, 31) // 0 is not known
			window = time.Duration(secs) * time.Second
		}
	}
	return int(quota), window, true
}

// IsNear reports whether the limit is soon reached: a tenth of it is left, or ten
// requests where it is not known.
func (l RateLimit) IsNear() bool {
	if l.of == 0 {
		return l.left <= 10
	}
	return l.left <= l.of/10
}

// String is what is left in words.
func (l RateLimit) String() string {
	text := fmt.Sprint(l.left)
	if l.of > 0 {
		text += fmt.Sprintf(" of %d", l.of)
	}
	text += " pulls are left"
	if l.window > 0 {
		text += " in a window of " + l.window.String()
	}
	return text
}
