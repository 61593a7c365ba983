package value

import (
	"fmt"
	"strconv"
)

// Bool is true or false.
func Bool(field *bool) Value { return (*boolValue)(field) }

// Not is a boolean whose field holds the opposite.
func Not(field *bool) Value { return (*notValue)(field) }

type boolValue bool

func (v *boolValue) String() string { return strconv.FormatBool(bool(*v)) }
func (v *boolValue) Plain() any     { return bool(*v) }
func (v *boolValue) Shape() Shape   { return Shape{Type: "boolean"} }

func (v *boolValue) Set(raw any) error {
	if b, ok := raw.(bool); ok {
		*v = boolValue(b)
		return nil
	}
	t, ok := raw.(Texts)
	if !ok {
		return WrongType(raw, "true or false")
	}
	b, err := strconv.ParseBool(t.last())
	if err != nil {
		return fmt.Errorf("got %q, want true or false", t.last())
	}
	*v = boolValue(b)
	return nil
}

type notValue bool

func (v *notValue) String() string { return strconv.FormatBool(!bool(*v)) }
func (v *notValue) Plain() any     { return !bool(*v) }
func (v *notValue) Shape() Shape   { return Shape{Type: "boolean"} }

func (v *notValue) Set(raw any) error {
	var b boolValue
	err := b.Set(raw)
	if err == nil {
		*v = notValue(!b)
	}
	return err
}
