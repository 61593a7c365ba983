package value

import (
	"fmt"
	"net/url"
	"strings"

	"github.com/containerd/containerd/v2/pkg/identifiers"
)

// Text is any text.
func Text(field *string) Value { return (*textValue)(field) }

// Namespace is the name of a namespace of containerd's.
func Namespace(field *string) Value { return namespaceValue{(*textValue)(field)} }

// Path is the name of a file or folder.
func Path(field *string) Value { return pathValue{(*textValue)(field)} }

// Secret is a text that must not be shown.
func Secret(field *string) Value { return secretValue{(*textValue)(field)} }

// User is USER[:PASSWORD], of which only the first half may be shown.
func User(field *string) Value { return userValue{(*textValue)(field)} }

// URL is a URL whose user and password, if it holds them, must not be shown:
// either may be a token.
func URL(field *string) Value { return urlValue{(*textValue)(field)} }

type textValue string

func (v *textValue) String() string { return string(*v) }
func (v *textValue) Plain() any     { return string(*v) }
func (v *textValue) Shape() Shape   { return Shape{Type: "string", Name: "text"} }

func (v *textValue) Set(raw any) error {
	s, err := ParseText(raw)
	if err == nil {
		*v = textValue(s)
	}
	return err
}

type namespaceValue struct{ *textValue }

func (v namespaceValue) Set(raw any) error {
	s, err := ParseText(raw)
	if err != nil {
		return err
	}
	if s != "" && identifiers.Validate(s) != nil {
		return fmt.Errorf("got %q, want letters and digits, with one of . _ - between them, 76 characters at most", s)
	}
	*v.textValue = textValue(s)
	return nil
}

type pathValue struct{ *textValue }

func (v pathValue) Shape() Shape { return Shape{Type: "string", Name: "path", Path: true} }

type secretValue struct{ *textValue }

func (v secretValue) String() string { return mask(string(*v.textValue)) }
func (v secretValue) Plain() any     { return v.String() }
func (v secretValue) Shape() Shape   { return Shape{Type: "string", Name: "secret", Secret: true} }

type userValue struct{ *textValue }

func (v userValue) Plain() any { return v.String() }

func (v userValue) String() string {
	name, _, ok := strings.Cut(string(*v.textValue), ":")
	if !ok {
		return name
	}
	return name + ":" + masked
}

type urlValue struct{ *textValue }

func (v urlValue) Plain() any   { return v.String() }
func (v urlValue) Shape() Shape { return Shape{Type: "string", Name: "URL", URL: true} }

func (v urlValue) String() string {
	u, err := url.Parse(string(*v.textValue))
	if err != nil {
		return masked
	}
	if u.User != nil {
		u.User = url.User("xxxxx") // as URL.Redacted says it
	}
	return u.String()
}

func (v urlValue) Set(raw any) error {
	s, err := ParseText(raw)
	if err != nil {
		return err
	}
	if u, err := url.Parse(s); s != "" && (err != nil || u.Host == "") {
		return fmt.Errorf("got something else, want a URL such as http://proxy.example.com:3128")
	}
	*v.textValue = textValue(s)
	return nil
}
