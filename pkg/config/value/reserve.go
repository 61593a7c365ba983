package value

import (
	"fmt"
	"strconv"
	"strings"
)

// Reserve is a size, or a part in percent.
func Reserve(bytes *int64, percent *float64) Value { return reserveValue{bytes, percent} }

type reserveValue struct {
	bytes   *int64
	percent *float64
}

func (v reserveValue) Plain() any { return v.String() }

func (v reserveValue) String() string {
	switch {
	case *v.percent > 0:
		return strconv.FormatFloat(*v.percent, 'f', -1, 64) + "%"
	case *v.bytes > 0:
		return strconv.FormatInt(*v.bytes, 10)
	}
	return ""
}

const reservePattern = `^[0-9]+(\.[0-9]+)?(%|(([kMGT]|[KMGT]i)?B?))$`

func (v reserveValue) Shape() Shape {
	return Shape{Type: "string", Name: "size", Pattern: reservePattern}
}

// Set takes a number of bytes, 512k, 16GiB or 10%. 0 is nothing.
func (v reserveValue) Set(raw any) error {
	if n, ok := countOf(raw); ok {
		*v.bytes, *v.percent = n, 0
		return nil
	}
	s, err := ParseText(raw)
	if err != nil {
		return err
	}
	bytes, percent, err := parseReserve(s)
	if err == nil {
		*v.bytes, *v.percent = bytes, percent
	}
	return err
}

func parseReserve(s string) (bytes int64, percent float64, err error) {
	bad := fmt.Errorf("got %q, want a size such as 20GiB or a percentage such as 10%%", s)
	if number, ok := strings.CutSuffix(s, "%"); ok {
		if number == "" || strings.Trim(number, "0123456789.") != "" {
			return 0, 0, bad
		}
		percent, err = strconv.ParseFloat(number, 64)
		if err != nil || percent >= 100 {
			return 0, 0, bad
		}
		return 0, percent, nil
	}
	if strings.HasSuffix(s, "/s") {
		return 0, 0, bad
	}
	if bytes, err = parseSize(s); err != nil {
		return 0, 0, bad
	}
	return bytes, 0, nil
}
