package output

import (
	"fmt"
	"strings"
	"testing"

	"github.com/containerd-pull/containerd-pull/pkg/config"
)

// TestFormat: a template is checked where its dot is the result.
func TestFormat(t *testing.T) {
	for text, wrong := range map[string]string{
		"{{.name}} {{.bytesFetched}}":                                "",
		"{{range .platforms}}{{.platform}}{{end}}":                   "",
		"{{with .error}}{{.class}}{{else}}{{.nmae}}{{end}}":          "nmae",
		"{{range .platform}}{{end}}":                                 "platform",
		"{{if and .changed .Digest}}x{{end}}":                        "Digest",
		"{{if .changed}}x{{else if .digest}}{{.target.size}}{{end}}": "",
		"{{printf \"%s\" (index .names 0) | json}}":                  "",
		"{{(index .platfroms 0).config}}":                            "platfroms",
		"{{$.name}}{{$x := .ref}}{{$x}}{{$.nam}}":                    "nam",
		"{{.labels.anything}}":                                       "",
	} {
		_, err := newForm[shownPull](config.FormatTemplate+text, pullColumns)
		if got := err != nil; got != (wrong != "") || got && !strings.Contains(err.Error(), fmt.Sprintf("%q", wrong)) {
			t.Errorf("%s: got error %v, want one about %q", text, err, wrong)
		}
	}
}
