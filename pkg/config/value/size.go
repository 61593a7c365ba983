package value

import (
	"fmt"
	"math"
	"strconv"
	"strings"
)

// Size counts bytes, or bytes per second.
func Size(field *int64) Value { return (*sizeValue)(field) }

type sizeValue int64

func (v *sizeValue) Plain() any { return int64(*v) }

func (v *sizeValue) String() string {
	if *v == 0 {
		return ""
	}
	return strconv.FormatInt(int64(*v), 10)
}

func (v *sizeValue) Shape() Shape {
	return Shape{Type: "string", Name: "size", Pattern: sizePattern}
}

const sizePattern = `^[0-9]+(\.[0-9]+)?([kMGT]|[KMGT]i)?B?(/s)?$`

func (v *sizeValue) Set(raw any) error {
	if n, ok := countOf(raw); ok {
		*v = sizeValue(n)
		return nil
	}
	s, err := ParseText(raw)
	if err != nil {
		return err
	}
	n, err := parseSize(s)
	if err == nil {
		*v = sizeValue(n)
	}
	return err
}

// countOf is a number of bytes that is written as a number.
func countOf(raw any) (int64, bool) {
	if _, isText := raw.(string); isText {
		return 0, false
	}
	n, err := parseInteger(raw)
	return n, err == nil && n >= 0
}

// parseSize reads 512, 20M, 20MB/s or 16MiB.
func parseSize(s string) (int64, error) {
	bad := fmt.Errorf("got %q, want a size such as 512k, 20MB/s or 16MiB", s)
	number := strings.TrimSuffix(strings.TrimSuffix(s, "/s"), "B")
	factor := 1.0
	for _, unit := range []struct {
		suffix string
		factor float64
	}{{"Ki", 1 << 10}, {"Mi", 1 << 20}, {"Gi", 1 << 30}, {"Ti", 1 << 40}, {"k", 1e3}, {"M", 1e6}, {"G", 1e9}, {"T", 1e12}} {
		if rest, ok := strings.CutSuffix(number, unit.suffix); ok {
			number, factor = rest, unit.factor
			break
		}
	}
	if number == "" || strings.Trim(number, "0123456789.") != "" {
		return 0, bad // ParseFloat knows exponents, infinities and hexadecimals, too
	}
	f, err := strconv.ParseFloat(number, 64)
	if err != nil || f*factor >= math.MaxInt64 {
		return 0, bad
	}
	return int64(f * factor), nil
}
