package config

import "strconv"

// boundValue is a size whose 0 means no bound, while the option's 0 means its
// default.
type boundValue int64

func (v *boundValue) shape() shape { return (*sizeValue)(nil).shape() }
func (v *boundValue) plain() any   { return max(int64(*v), 0) }

func (v *boundValue) String() string { return boundText(int64(*v)) }

func (v *boundValue) set(raw any) error {
	var n sizeValue
	if err := n.set(raw); err != nil {
		return err
	}
	*v = boundValue(orNone(int64(n)))
	return nil
}

// factorValue is a count of the same kind.
type factorValue int64

func (v *factorValue) shape() shape { return (*countValue)(nil).shape() }
func (v *factorValue) plain() any   { return max(int64(*v), 0) }

func (v *factorValue) String() string { return boundText(int64(*v)) }

func (v *factorValue) set(raw any) error {
	var n countValue
	if err := n.set(raw); err != nil {
		return err
	}
	*v = factorValue(orNone(int64(n)))
	return nil
}

// orNone is n as an option that is negative for no bound.
func orNone(n int64) int64 {
	if n == 0 {
		return -1
	}
	return n
}

func boundText(n int64) string {
	if n == 0 {
		return ""
	}
	return strconv.FormatInt(max(n, 0), 10)
}
