package progress_test

import (
	"bytes"
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/containerd-pull/containerd-pull/pkg/internal/pulltest"
	"github.com/containerd-pull/containerd-pull/pkg/internal/pulltest/testregistry"
	"github.com/containerd-pull/containerd-pull/pkg/progress"
	"github.com/containerd-pull/containerd-pull/pkg/progress/display"
	"github.com/containerd-pull/containerd-pull/pkg/progress/internal/scene"
	"github.com/containerd-pull/containerd-pull/pkg/pull"
	"github.com/containerd-pull/containerd-pull/pkg/registry"
	"github.com/containerd-pull/containerd-pull/pkg/source"
	"github.com/containerd-pull/containerd-pull/pkg/store"
	"github.com/containerd-pull/containerd-pull/pkg/store/root"
)

// documented is what docs/progress.md says of the JSON stream.
type documented struct {
	always, sometimes map[string][]string // fields by event
	types             map[string]string   // by field
}

func readDocumentation(t *testing.T) documented {
	t.Helper()
	text, err := os.ReadFile("../../docs/progress.md")
	if err != nil {
		t.Fatalf("reading the documentation: %v", err)
	}
	doc := documented{map[string][]string{}, map[string][]string{}, map[string]string{}}
	_, tables, _ := strings.Cut(string(text), "### Events")
	events, fields, _ := strings.Cut(tables, "### Fields")
	for _, cells := range tableRows(events) {
		doc.always[words(cells[0])[0]] = append(words(cells[2]), "v", "time", "event")
		doc.sometimes[words(cells[0])[0]] = words(cells[3])
	}
	for _, cells := range tableRows(fields) {
		doc.types[words(cells[0])[0]] = strings.TrimSpace(cells[1])
	}
	return doc
}

// tableRows returns the cells of the rows that begin with a word in code type.
func tableRows(text string) [][]string {
	var rows [][]string
	for line := range strings.Lines(text) {
		if strings.HasPrefix(line, "| `") {
			rows = append(rows, strings.Split(strings.TrimPrefix(line, "|"), "|"))
		}
	}
	return rows
}

// words returns the words in code type.
func words(cell string) []string {
	var all []string
	for _, match := range regexp.MustCompile("`([^`]+)`").FindAllStringSubmatch(cell, -1) {
		all = append(all, match[1])
	}
	return all
}

// check reports how an event differs from the documentation.
func (doc documented) check(object map[string]any) []string {
	var faults []string
	event := fmt.Sprint(object["event"])
	always, known := doc.always[event]
	if !known {
		return []string{"event " + event + " is not documented"}
	}
	for _, field := range always {
		if _, ok := object[field]; !ok {
			faults = append(faults, fmt.Sprintf("%s has no %s", event, field))
		}
	}
	for field, value := range object {
		if !slices.Contains(always, field) && !slices.Contains(doc.sometimes[event], field) {
			faults = append(faults, fmt.Sprintf("%s has a field %s that is not documented", event, field))
		}
		if got, want := typeName(value), doc.types[field]; got != want {
			faults = append(faults, fmt.Sprintf("%s of %s is of type %s, want %q", field, event, got, want))
		}
	}
	return faults
}

// typeName is the JSON type of a decoded value.
func typeName(value any) string {
	switch v := value.(type) {
	case string:
		return "string"
	case bool:
		return "boolean"
	case []any:
		return "array"
	case map[string]any:
		return "object"
	case float64:
		if v == float64(int64(v)) {
			return "integer"
		}
	}
	return fmt.Sprintf("%T", value)
}

// everything is a stream with every kind of event, with and without what is
// optional.
func everything() []progress.Event {
	bare, full := []progress.Event{}, []progress.Event{}
	for _, kind := range []progress.Kind{
		progress.Start, progress.Resolved, progress.Planned, progress.HostFailed, progress.FetchStart,
		progress.FetchProgress, progress.FetchDone, progress.Present, progress.Retry, progress.Stalled, progress.UnpackStart,
		progress.UnpackProgress, progress.UnpackDone, progress.PhaseDone, progress.Verify, progress.VerifyProgress,
		progress.VerifyDone, progress.Verified, progress.Registered, progress.Warning,
		progress.Error, progress.Summary,
	} {
		e := progress.Event{Kind: kind, Digest: scene.Layer, Host: scene.Hub, Attempt: 1, ChainID: scene.Chain, Phase: progress.Fetch,
			Blob: progress.Layer, Refs: []string{scene.Debian}, Ref: scene.Debian, Message: "text"}
		if kind == progress.Start || kind == progress.Summary {
			e.Ref, e.Digest = "", ""
		}
		bare = append(bare, e)
		e.Bytes, e.Traffic, e.Counts, e.Findings = progress.Bytes{Done: 5, Total: 10}, progress.Traffic{Fetched: 5, Reused: 10}, progress.Counts{Images: 10, Failed: 5}, 10
		e.Consumed = 5
		e.Duration, e.Wait, e.Reason = time.Second, time.Second, "reset"
		e.Err, e.MediaType, e.Engine, e.Changed, e.Previous, e.NewLabels = scene.Reset(), "application/json", "client", true, scene.Nth(1), []string{"team"}
		full = append(full, e)
	}
	return append(bare, full...)
}

// Every event of a stream is as documented, and every documented event and
// field is written.
func TestDocumentation(t *testing.T) {
	doc := readDocumentation(t)
	var out bytes.Buffer
	var state progress.State
	enc := progress.Encoder{Out: &out}
	enc.Log("a log line")
	for _, e := range slices.Concat(scene.Pull(), everything()) {
		state.Apply(e)
		enc.Event(&state, e)
	}
	events, fields := map[string]bool{}, map[string]bool{}
	for _, object := range objects(t, out.String()) {
		for _, fault := range doc.check(object) {
			t.Error(fault)
		}
		events[fmt.Sprint(object["event"])] = true
		for field := range object {
			fields[field] = true
		}
	}
	for event := range doc.always {
		if !events[event] {
			t.Errorf("got no event %s, which is documented", event)
		}
	}
	for field := range doc.types {
		if !fields[field] {
			t.Errorf("got no field %s, which is documented", field)
		}
	}
}

// What a real pull emits is as documented, too: once with everything to fetch,
// once with everything there.
func TestDocumentationOfPull(t *testing.T) {
	pulltest.Need(t, pulltest.Root)
	doc := readDocumentation(t)
	reg := testregistry.Start(t, testregistry.Options{})
	img := pulltest.MultiPlatform(pulltest.Gzip)
	ref, err := source.ParseRef(testregistry.Push(t, reg, "doc/sample:v1", img))
	if err != nil {
		t.Fatal(err)
	}
	var buf bytes.Buffer
	d, err := display.New(display.Options{Out: &buf, Mode: display.ModeJSON})
	if err != nil {
		t.Fatal(err)
	}
	root := t.TempDir()
	for range 2 {
		pullInto(t, root, ref, d.Sink())
	}
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	counts := map[string]int{}
	for _, object := range objects(t, buf.String()) {
		for _, fault := range doc.check(object) {
			t.Error(fault)
		}
		counts[fmt.Sprint(object["event"])]++
	}
	for _, event := range []string{"resolve", "fetch.start", "fetch.progress", "fetch.done", "unpack.done", "register"} {
		if counts[event] == 0 {
			t.Errorf("got no event %s of a pull: %v", event, counts)
		}
	}
}

func pullInto(t *testing.T, dir string, ref source.Ref, sink progress.Sink) {
	t.Helper()
	st, err := root.Open(t.Context(), store.Options{Root: dir})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := st.Close(); err != nil {
			t.Error(err)
		}
	}()
	reg, err := registry.New(registry.Options{})
	if err != nil {
		t.Fatal(err)
	}
	p := &pull.Puller{Store: st, Source: reg, Progress: sink}
	if _, err := p.Pull(t.Context(), pull.Request{Ref: ref}); err != nil {
		t.Fatal(err)
	}
}
