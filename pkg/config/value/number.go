package value

import (
	"fmt"
	"math"
	"strconv"
	"time"
)

// Duration is a time span that is not negative.
func Duration(field *time.Duration) Value { return (*durationValue)(field) }

// Count is a whole number from 0 on.
func Count(field *int) Value { return (*countValue)(field) }

// Retries is a count whose 0 means none, while the field's 0 means its default
// and its -1 none.
func Retries(field *int) Value { return (*retriesValue)(field) }

// ExitCode is an exit code of the caller's choice; 0 is none.
func ExitCode(field *int) Value { return (*exitCodeValue)(field) }

// Rate is a number that need not be whole, such as requests per second.
func Rate(field *float64) Value { return (*rateValue)(field) }

type durationValue time.Duration

func (v *durationValue) Plain() any { return v.String() }

func (v *durationValue) Shape() Shape {
	return Shape{Type: "string", Name: "time", Pattern: `^([0-9.]+(ns|us|µs|ms|s|m|h))+$|^0$`}
}

func (v *durationValue) String() string {
	if *v == 0 {
		return ""
	}
	return time.Duration(*v).String()
}

func (v *durationValue) Set(raw any) error {
	s, err := ParseText(raw)
	if err != nil {
		return err
	}
	d, err := time.ParseDuration(s)
	if err != nil || d < 0 {
		return fmt.Errorf("got %q, want a duration such as 90s or 5m", s)
	}
	*v = durationValue(d)
	return nil
}

type countValue int

func (v *countValue) String() string { return strconv.Itoa(int(*v)) }
func (v *countValue) Plain() any     { return int64(*v) }
func (v *countValue) Shape() Shape   { return Shape{Type: "integer", Name: "number"} }

func (v *countValue) Set(raw any) error {
	n, err := parseInteger(raw)
	if err != nil {
		return err
	}
	if n < 0 || n > math.MaxInt32 {
		return fmt.Errorf("got %d, want a number from 0 to %d", n, math.MaxInt32)
	}
	*v = countValue(n)
	return nil
}

type retriesValue int

func (v *retriesValue) Shape() Shape   { return (*countValue)(nil).Shape() }
func (v *retriesValue) Plain() any     { return int64(max(*v, 0)) }
func (v *retriesValue) String() string { return strconv.Itoa(int(max(*v, 0))) }

func (v *retriesValue) Set(raw any) error {
	var n countValue
	if err := n.Set(raw); err != nil {
		return err
	}
	*v = retriesValue(explicitZero(int64(n)))
	return nil
}

type exitCodeValue int

func (v *exitCodeValue) Plain() any   { return int64(*v) }
func (v *exitCodeValue) Shape() Shape { return Shape{Type: "integer", Name: "code", Most: 255} }

func (v *exitCodeValue) String() string {
	if *v == 0 {
		return ""
	}
	return strconv.Itoa(int(*v))
}

func (v *exitCodeValue) Set(raw any) error {
	n, err := parseInteger(raw)
	if err != nil {
		return err
	}
	if n < 0 || n > int64(v.Shape().Most) {
		return fmt.Errorf("got %d, want an exit code from 1 to 255, or 0 for none", n)
	}
	*v = exitCodeValue(n)
	return nil
}

type rateValue float64

func (v *rateValue) Plain() any   { return float64(*v) }
func (v *rateValue) Shape() Shape { return Shape{Type: "number", Name: "number"} }

func (v *rateValue) String() string {
	return strconv.FormatFloat(float64(*v), 'g', -1, 64)
}

func (v *rateValue) Set(raw any) error {
	f, err := parseNumber(raw)
	if err != nil {
		return err
	}
	if !(f >= 0 && f <= 1e9) { // false for what is not a number, too
		return fmt.Errorf("got %g, want a number from 0 to 1e9", f)
	}
	*v = rateValue(f)
	return nil
}

func parseNumber(raw any) (float64, error) {
	switch r := raw.(type) {
	case float64:
		return r, nil
	case Texts:
		f, err := strconv.ParseFloat(r.last(), 64)
		if err != nil {
			return 0, fmt.Errorf("got %q, want a number", r.last())
		}
		return f, nil
	}
	n, err := parseInteger(raw)
	if err != nil {
		return 0, WrongType(raw, "a number")
	}
	return float64(n), nil
}
