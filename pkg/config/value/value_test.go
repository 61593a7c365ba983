package value_test

import (
	"errors"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/containerd-pull/containerd-pull/pkg/config/value"
)

type mirror struct {
	host    string
	urls    []string
	headers map[string]string
}

func mirrors(field *[]mirror) value.Value {
	return value.Tables(field, []value.Member[mirror]{
		value.Required("host", "the host", func(m *mirror) value.Value { return value.Text(&m.host) }),
		value.Optional("urls", "its URLs", func(m *mirror) value.Value { return value.List(&m.urls) }),
		value.Optional("headers", "for it", func(m *mirror) value.Value { return value.Secrets(&m.headers) }),
	}, func(m mirror) error {
		if strings.Contains(m.host, "/") {
			return errors.New("host is a path")
		}
		return nil
	})
}

// TestSet sets each kind of value from texts, as of a flag, and from what a file
// holds. A want of "error: " is a part of the error.
func TestSet(t *testing.T) {
	colours := []value.Word{{Text: "red"}, {Text: "green", Meaning: "as grass"}}
	kinds := map[string]func() value.Value{
		"text":      func() value.Value { return value.Text(new(string)) },
		"path":      func() value.Value { return value.Path(new(string)) },
		"secret":    func() value.Value { return value.Secret(new(string)) },
		"user":      func() value.Value { return value.User(new(string)) },
		"url":       func() value.Value { return value.URL(new(string)) },
		"bool":      func() value.Value { return value.Bool(new(bool)) },
		"not":       func() value.Value { return value.Not(new(bool)) },
		"duration":  func() value.Value { return value.Duration(new(time.Duration)) },
		"count":     func() value.Value { return value.Count(new(int)) },
		"retries":   func() value.Value { return value.Retries(new(int)) },
		"exit code": func() value.Value { return value.ExitCode(new(int)) },
		"rate":      func() value.Value { return value.Rate(new(float64)) },
		"size":      func() value.Value { return value.Size(new(int64)) },
		"reserve":   func() value.Value { return value.Reserve(new(int64), new(float64)) },
		"limit":     func() value.Value { return value.SizeLimit(new(int64)) },
		"word":      func() value.Value { return value.OneOf(new(string), colours...) },
		"words":     func() value.Value { return value.SomeOf(new([]string), colours...) },
		"list":      func() value.Value { return value.List(new([]string)) },
		"platforms": func() value.Value { return value.Platforms(new([]ocispec.Platform)) },
		"labels":    func() value.Value { return value.Labels(new(map[string]string)) },
		"secrets":   func() value.Value { return value.Secrets(new(map[string]string)) },
		"tables":    func() value.Value { return mirrors(new([]mirror)) },
	}
	type texts = value.Texts
	for _, tc := range []struct {
		kind string
		raw  any
		want string
	}{
		{"text", texts{"a", "b"}, "b"},
		{"text", 1, "error: got a number, want a text"},
		{"path", "/a", "/a"},
		{"secret", "canary", "***"},
		{"secret", "", ""},
		{"user", texts{"me:canary"}, "me:***"},
		{"user", texts{"me"}, "me"},
		{"url", "http://me:canary@proxy:1", "http://xxxxx@proxy:1"},
		{"url", "http://canary@proxy:1", "http://xxxxx@proxy:1"},
		{"url", "", ""},
		{"url", texts{"canary"}, "error: want a URL"},
		{"bool", texts{"1"}, "true"},
		{"bool", true, "true"},
		{"bool", texts{"maybe"}, `error: got "maybe", want true or false`},
		{"bool", "true", "error: got a text, want true or false"},
		{"not", true, "true"},
		{"not", texts{"false"}, "false"},
		{"duration", "1m30s", "1m30s"},
		{"duration", "-1s", `error: got "-1s", want a duration`},
		{"count", int64(3), "3"},
		{"count", float64(3), "3"},
		{"count", 3.5, "error: got a number, want a whole number"},
		{"count", int64(math.MaxInt32) + 1, "error: want a number from 0"},
		{"retries", texts{"0"}, "0"},
		{"exit code", texts{"90"}, "90"},
		{"exit code", texts{"0"}, ""},
		{"exit code", texts{"256"}, "error: from 1 to 255"},
		{"rate", texts{"0.5"}, "0.5"},
		{"rate", int64(2), "2"},
		{"rate", texts{"NaN"}, "error: from 0 to 1e9"},
		{"rate", "1", "error: got a text, want a number"},
		{"size", texts{"512"}, "512"},
		{"size", "20MB/s", "20000000"},
		{"size", "1.5KiB", "1536"},
		{"size", int64(7), "7"},
		{"size", "0x10", `error: got "0x10", want a size`},
		{"size", "9999999T", "error: want a size"},
		{"reserve", texts{"20GiB"}, "21474836480"},
		{"reserve", "7.5%", "7.5%"},
		{"reserve", int64(7), "7"},
		{"reserve", texts{"0"}, ""},
		{"reserve", "0%", ""},
		{"reserve", "100%", `error: got "100%", want a size such as 20GiB or a percentage such as 10%`},
		{"reserve", "-1%", "error: want a size such as"},
		{"reserve", "1e1%", "error: want a size such as"},
		{"reserve", "1MB/s", "error: want a size such as"},
		{"reserve", "", "error: want a size such as"},
		{"limit", texts{"0"}, "0"},
		{"limit", "1k", "1000"},
		{"word", texts{"green"}, "green"},
		{"word", "blue", `error: got "blue", want one of red, green`},
		{"words", texts{"green,red"}, "green,red"},
		{"words", []any{"blue"}, `error: got "blue"`},
		{"list", texts{"a, b", "", "c"}, "a,b,c"},
		{"list", []any{"a,b"}, "a,b"},
		{"list", []any{1}, "error: got a number, want a text in the list"},
		{"platforms", texts{"arm64"}, "linux/arm64"},
		{"platforms", texts{"lin ux/x"}, "error: want a platform"},
		{"labels", texts{"b", "a=1,2"}, "a=1,2,b=true"},
		{"labels", map[string]any{"a": "{{.Ref}}"}, "a={{.Ref}}"},
		{"labels", texts{"a={{.Host}}"}, "error: want no other field"},
		{"labels", texts{"containerd.io/x=y"}, "error: reserved for containerd"},
		{"secrets", map[string]any{"X": "canary"}, "X:***"},
		{"secrets", map[string]any{"X": 1}, `error: got a number, want a text for "X"`},
		{"tables", []any{map[string]any{"host": "a", "urls": []any{"u"}}, map[string]any{"host": "b"}}, "host=a urls=u; host=b"},
		{"tables", map[string]any{"host": "a"}, "host=a"},
		{"tables", texts{`[{"host":"a","headers":{"X":"canary"}}]`}, "host=a headers=X:***"},
		{"tables", texts{"canary"}, "error: want JSON"},
		{"tables", map[string]any{"urls": []any{"u"}}, "error: [0]: host is missing"},
		{"tables", map[string]any{"hots": "a"}, `error: unknown key "hots"`},
		{"tables", map[string]any{"host": "a/b"}, "error: host is a path"},
	} {
		v := kinds[tc.kind]()
		err := v.Set(tc.raw)
		part, fails := strings.CutPrefix(tc.want, "error: ")
		switch {
		case fails && (err == nil || !strings.Contains(err.Error(), part) || strings.Contains(err.Error(), "canary")):
			t.Errorf("%s of %v: got error %v, want one with %q", tc.kind, tc.raw, err, part)
		case !fails && (err != nil || v.String() != tc.want):
			t.Errorf("%s of %v: got %q, %v; want %q", tc.kind, tc.raw, v, err, tc.want)
		}
	}
}

// TestFields: a 0 that was set differs from one that was not, where the field's
// 0 stands for a default.
func TestFields(t *testing.T) {
	var retries int
	var size, count int64
	for _, v := range []value.Value{value.Retries(&retries), value.SizeLimit(&size), value.CountLimit(&count)} {
		if err := v.Set(value.Texts{"0"}); err != nil {
			t.Fatal(err)
		}
	}
	if retries != -1 || size != -1 || count != -1 {
		t.Errorf("fields after 0: got %d, %d, %d; want -1", retries, size, count)
	}
}

func TestLabelsMergeIntoACopy(t *testing.T) {
	first := map[string]string{"a": "1", "b": "1"}
	field := first
	if err := value.Labels(&field).Set(value.Texts{"b=2"}); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(map[string]string{"a": "1", "b": "2"}, field); diff != "" {
		t.Errorf("merged (-want +got):\n%s", diff)
	}
	if first["b"] != "1" {
		t.Errorf("the map of another layer: got b=%s, want 1", first["b"])
	}
}

func TestPlainHidesSecrets(t *testing.T) {
	var m []mirror
	v := mirrors(&m)
	if err := v.Set(value.Texts{`{"host":"a","headers":{"X":"canary"}}`}); err != nil {
		t.Fatal(err)
	}
	want := []map[string]any{{"host": "a", "headers": map[string]string{"X": "***"}}}
	if diff := cmp.Diff(want, v.Plain()); diff != "" {
		t.Errorf("plain (-want +got):\n%s", diff)
	}
}

func TestHoldsSecret(t *testing.T) {
	for _, tc := range []struct {
		v    value.Value
		node any
		want bool
	}{
		{value.Secret(new(string)), "x", true},
		{value.Text(new(string)), "x", false},
		{value.URL(new(string)), "http://me:x@proxy", true},
		{value.URL(new(string)), "http://me@proxy", false},
		{value.URL(new(string)), "::", true},
	} {
		if got := tc.v.Shape().HoldsSecret(tc.node); got != tc.want {
			t.Errorf("%s of %v holds a secret: got %v, want %v", tc.v.Shape().Name, tc.node, got, tc.want)
		}
	}
}

func TestUnknownWordHint(t *testing.T) {
	for word, want := range map[string]string{"gren": `did you mean "green"?`, "mauve": ""} {
		e := &value.UnknownWord{Word: word, Known: []string{"red", "green"}}
		if got := e.Hint(); got != want {
			t.Errorf("hint for %q: got %q, want %q", word, got, want)
		}
	}
}

// TestL13OnlyTheProgramOfACommandIsShown, as its arguments may hold a secret.
func TestL13OnlyTheProgramOfACommandIsShown(t *testing.T) {
	words := []string{"pass", "--token", "canary"}
	v := value.Command(&words)
	if got, want := v.String(), "pass,***,***"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	if diff := cmp.Diff([]string{"pass", "***", "***"}, v.Plain()); diff != "" {
		t.Errorf("as a file would hold it (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]string{"pass", "--token", "canary"}, words); diff != "" {
		t.Errorf("the words have changed (-want +got):\n%s", diff)
	}
}
