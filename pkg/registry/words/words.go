// Package words finds, in the body of an answer with an error, what a host says about
// it: in any of the forms that registries and the stores behind them use.
package words

import (
	"bytes"
	"encoding/json"
	"encoding/xml"
	"strings"

	"github.com/containerd-pull/containerd-pull/pkg/printable"
)

const (
	// MaxMessage bounds, in characters, what is repeated of what a host says.
	MaxMessage = 300
	maxCode    = 64
)

// In finds them, cut to their bounds; each is empty if there is none. They are still
// foreign text.
func In(body []byte) (code, message string) {
	body = bytes.TrimSpace(body)
	switch {
	case len(body) == 0:
		return "", ""
	case body[0] == '{' || body[0] == '[':
		code, message = jsonWords(body)
	case body[0] == '<':
		code, message = xmlWords(body)
	default:
		message = string(body)
	}
	return folded(code, maxCode), folded(message, MaxMessage)
}

// jsonWords finds code and message in the list of errors of the distribution
// specification, or in an object of another form. A code may be a number.
func jsonWords(body []byte) (code, message string) {
	var doc any
	decoder := json.NewDecoder(bytes.NewReader(body))
	decoder.UseNumber()
	if decoder.Decode(&doc) != nil {
		return "", ""
	}
	return wordsIn(doc, 4)
}

// wordsIn looks depth levels deep.
func wordsIn(doc any, depth int) (code, message string) {
	if depth == 0 {
		return "", ""
	}
	switch doc := doc.(type) {
	case string:
		return "", doc
	case []any:
		if len(doc) > 0 {
			return wordsIn(doc[0], depth-1)
		}
	case map[string]any:
		code = firstText(doc, "code", "Code", "errorCode")
		message = firstText(doc, "message", "Message", "msg", "error_description", "details", "detail", "reason")
		for _, name := range []string{"errors", "error"} {
			if code == "" && message == "" {
				code, message = wordsIn(doc[name], depth-1)
			}
		}
	}
	return code, message
}

// firstText is the first of the fields that is a text or a number.
func firstText(doc map[string]any, names ...string) string {
	for _, name := range names {
		switch v := doc[name].(type) {
		case string:
			if v != "" {
				return v
			}
		case json.Number:
			return v.String()
		}
	}
	return ""
}

// xmlWords finds code and message in an error of an object store, or the title of
// a page.
func xmlWords(body []byte) (code, message string) {
	var doc struct {
		XMLName xml.Name
		Code    string
		Message string
		Head    struct {
			Title string `xml:"title"`
		} `xml:"head"`
	}
	decoder := xml.NewDecoder(bytes.NewReader(body))
	decoder.Strict, decoder.AutoClose, decoder.Entity = false, xml.HTMLAutoClose, xml.HTMLEntity
	if decoder.Decode(&doc) != nil && doc.Code == "" && doc.Head.Title == "" {
		return "", ""
	}
	if doc.Code == "" && doc.Message == "" {
		return "", doc.Head.Title
	}
	return doc.Code, doc.Message
}

// folded is a foreign text with each run of white space as one space, cut to
// most characters.
func folded(s string, most int) string {
	return printable.Short(strings.Join(strings.Fields(s), " "), most)
}
