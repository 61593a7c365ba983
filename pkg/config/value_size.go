package config

import (
	"fmt"
	"math"
	"strconv"
	"strings"
)

// sizeValue counts bytes, or bytes per second.
type sizeValue int64

func (v *sizeValue) plain() any { return int64(*v) }

func (v *sizeValue) String() string {
	if *v == 0 {
		return ""
	}
	return strconv.FormatInt(int64(*v), 10)
}

func (v *sizeValue) shape() shape {
	return shape{Type: "string", Name: "size", Pattern: sizePattern}
}

const sizePattern = `^[0-9]+(\.[0-9]+)?([kMGT]|[KMGT]i)?B?(/s)?$`

func (v *sizeValue) set(raw any) error {
	if _, isText := raw.(string); !isText {
		if n, err := integer(raw); err == nil && n >= 0 {
			*v = sizeValue(n)
			return nil
		}
	}
	s, err := one(raw)
	if err != nil {
		return err
	}
	n, err := parseSize(s)
	if err == nil {
		*v = sizeValue(n)
	}
	return err
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

// rateValue is a number that need not be whole, such as requests per second.
type rateValue float64

func (v *rateValue) plain() any   { return float64(*v) }
func (v *rateValue) shape() shape { return shape{Type: "number", Name: "number"} }

func (v *rateValue) String() string {
	return strconv.FormatFloat(float64(*v), 'g', -1, 64)
}

func (v *rateValue) set(raw any) error {
	f, ok := raw.(float64)
	if !ok {
		t, isText := raw.(texts)
		if !isText {
			n, err := integer(raw)
			if err != nil {
				return wrongType(raw, "a number")
			}
			f = float64(n)
		} else {
			var err error
			if f, err = strconv.ParseFloat(t.last(), 64); err != nil {
				return fmt.Errorf("got %q, want a number", t.last())
			}
		}
	}
	if !(f >= 0 && f <= 1e9) { // false for what is not a number, too
		return fmt.Errorf("got %g, want a number from 0 to 1e9", f)
	}
	*v = rateValue(f)
	return nil
}

// retriesValue is a count whose 0 means none, while the option's 0 means its
// default.
type retriesValue int

func (v *retriesValue) shape() shape   { return (*countValue)(nil).shape() }
func (v *retriesValue) plain() any     { return int64(max(*v, 0)) }
func (v *retriesValue) String() string { return strconv.Itoa(int(max(*v, 0))) }

func (v *retriesValue) set(raw any) error {
	var n countValue
	if err := n.set(raw); err != nil {
		return err
	}
	*v = retriesValue(n)
	if n == 0 {
		*v = -1
	}
	return nil
}
