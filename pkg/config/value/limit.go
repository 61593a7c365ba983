package value

import "strconv"

// SizeLimit is a size whose 0 means no limit, while the field's 0 means its
// default and its -1 no limit.
func SizeLimit(field *int64) Value { return (*sizeLimit)(field) }

// CountLimit is a whole number of the same kind.
func CountLimit(field *int64) Value { return (*countLimit)(field) }

type sizeLimit int64

func (v *sizeLimit) String() string { return limitText(int64(*v)) }
func (v *sizeLimit) Plain() any     { return max(int64(*v), 0) }
func (v *sizeLimit) Shape() Shape   { return (*sizeValue)(nil).Shape() }

func (v *sizeLimit) Set(raw any) error {
	var n sizeValue
	if err := n.Set(raw); err != nil {
		return err
	}
	*v = sizeLimit(explicitZero(int64(n)))
	return nil
}

type countLimit int64

func (v *countLimit) String() string { return limitText(int64(*v)) }
func (v *countLimit) Plain() any     { return max(int64(*v), 0) }
func (v *countLimit) Shape() Shape   { return (*countValue)(nil).Shape() }

func (v *countLimit) Set(raw any) error {
	var n countValue
	if err := n.Set(raw); err != nil {
		return err
	}
	*v = countLimit(explicitZero(int64(n)))
	return nil
}

// explicitZero is n for a field whose 0 means its default: a 0 that was set
// becomes -1.
func explicitZero(n int64) int64 {
	if n == 0 {
		return -1
	}
	return n
}

func limitText(n int64) string {
	if n == 0 {
		return ""
	}
	return strconv.FormatInt(max(n, 0), 10)
}
