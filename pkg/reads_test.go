package pkg_test

import (
	"go/ast"
	"go/token"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// limit is what bounds a read: how much of it is held, and when it ends.
type limit struct{ memory, time string }

// ending are the sources, by limit.time, in whose place none without an end can be put. A
// file that ends is one that this process has opened as a regular one, or a folder whose
// entries lie on a disk; of a daemon's answers each is bounded by gRPC.
var ending = []string{
	"memory", "the kernel", "the tests", "a folder", "a folder of root's daemon",
	"a regular file", "a regular file, or the daemon", "the file ends", "the files end",
	"a file of this process", "the file that this process wrote", "a file of root's", "a program of root's",
	"no layer of a store is waited for", "the time-out of a look", "the time-out of the lock",
	"until Docker or the pull ends",
}

// endless are the words by which tests call a source that never ends.
var endless = []string{"Endless", "endless", "forever", "flood", `"/dev/zero"`}

// reads are all places that read a stream, a file or a folder, by room, function
// and call, with their bounds (security rule 7).
var reads = map[string]limit{
	"cmd/containerd-pull/internal/process holds filepath.Glob":     {"the files that a process has open", "the kernel"},
	"cmd/containerd-pull/internal/process parent os.ReadFile":      {"one line", "the kernel"},
	"cmd/containerd-pull readLine bufio.NewReader":                 {"64 KiB", "the user's own stdin, as long as the user likes"},
	"cmd/containerd-pull/internal/complete get io.ReadAll":         {"4 MiB", "a regular file"},
	"cmd/containerd-pull/internal/complete put .ReadDir":           {"the cache of completion, which put keeps small", "a folder"},
	"cmd/containerd-pull/internal/output fieldsOf json.NewDecoder": {"what this program has encoded", "memory"},
	"cmd/containerd-pull/internal/named readStdin io.ReadAll":      {"what its caller bounds", "the user's own stdin, until an interrupt"},
	"pkg/source/list jsonDocuments json.NewDecoder":                {"the 32 MiB of a file", "memory"},
	"pkg/source/list documents yaml.NewDecoder":                    {"the 32 MiB of a file, 100 deep", "memory"},
	"pkg/source/list listsIn os.ReadDir":                           {"names alone", "a folder"},
	"pkg/check names os.ReadDir":                                   {"a folder of a snapshot", "a folder"},
	"pkg/check proveDiffID io.Copy":                                {"into a hash; the file ends", "no layer of a store is waited for"},
	"pkg/check sameBytes io.ReadFull":                              {"a buffer of each file", "the files end"},
	"pkg/config Probe os.ReadDir":                                  {"names alone", "a folder"},
	"pkg/config/file DropIns filepath.Glob":                        {"names alone", "a folder"},
	"pkg/fetch read io.ReadAll":                                    {"the size of the descriptor, which plan bounds", "the time of all documents together"},
	"pkg/fetch start io.ReadFull":                                  {"a piece of a blob", "the stall time-out of blobs"},
	"pkg/layer newApplier bufio.NewReaderSize":                     {"its buffer; limits of the layer", "the stall time-out of blobs"},
	"pkg/layer newApplier tar.NewReader":                           {"a header of 1 MiB; limits of the layer", "the stall time-out of blobs"},
	"pkg/layer newUsage os.ReadDir":                                {"a snapshot that has to be empty", "a folder"},
	"pkg/layer Names os.ReadDir":                                   {"a folder of the layer", "a folder"},
	"pkg/layer run io.Copy":                                        {"nothing is kept; limits of the layer", "the stall time-out of blobs"},
	"pkg/plugin Follow io.Copy":                                    {"nothing is kept", "until Docker or the pull ends"},
	"pkg/progress ReadEvents bufio.NewReaderSize":                  {"256 MiB, 4 MiB a line, 50,000 names", "the file that the user named"},
	"pkg/registry drain io.CopyN":                                  {"16 KiB; nothing is kept", "the time-out of the answer"},
	"pkg/registry finish io.ReadFull":                              {"one byte", "the stall time-out of blobs"},
	"pkg/progress/internal/scene Texts xml.NewDecoder":             {"a picture of this program's", "memory"},
	"pkg/registry/words xmlWords xml.NewDecoder":                   {"the 64 KiB of explain, the 1 MiB of a token server", "memory"},
	"pkg/registry/words jsonWords json.NewDecoder":                 {"the 64 KiB of explain, the 1 MiB of a token server", "memory"},
	"pkg/registry read io.ReadAll":                                 {"1 MiB", "the time of all documents together"},
	"pkg/registry readDocument io.ReadAll":                         {"limits.manifest_bytes", "the time of all documents together"},
	"pkg/registry explain io.ReadAll":                              {"64 KiB", "the time of all documents together"},
	"pkg/registry skip io.CopyN":                                   {"what was asked for; nothing is kept", "the stall time-out of blobs"},
	"pkg/registry/coding begin bufio.NewReaderSize":                {"its buffer; an eighth more than the decoded bytes", "that of the body"},
	"pkg/registry/coding codings gzip.NewReader":                   {"an eighth more than the decoded bytes", "that of the body"},
	"pkg/registry/coding codings zstd.NewReader":                   {"the same, and a bounded window", "that of the body"},
	"pkg/registry/coding isTwice io.ReadFull":                      {"a few bytes of what is buffered", "memory"},
	"pkg/registry/credential childrenOf os.ReadFile":               {"children of a process", "the kernel"},
	"pkg/registry/credential childrenOf filepath.Glob":             {"the threads of a process", "the kernel"},
	"pkg/registry/hosts LeftOut os.ReadDir":                        {"names alone", "a folder"},
	"pkg/registry/hosts certificateNames os.ReadDir":               {"names alone", "a folder"},
	"pkg/registry/hosts directoryNames os.ReadDir":                 {"names alone", "a folder"},
	"pkg/sample/golden File os.ReadFile":                           {"a file of the tests", "the tests"},
	"pkg/store Empty .Readdirnames":                                {"names alone", "a folder"},
	"pkg/store besideAny .Readdirnames":                            {"names alone", "a folder"},
	"pkg/store IsWhole io.Copy":                                    {"into a hash", "the file ends"},
	"pkg/store StartTime os.ReadFile":                              {"one line", "the kernel"},
	"pkg/store isEmpty .Readdirnames":                              {"one name", "a folder"},
	"pkg/store owner os.ReadFile":                                  {"one line", "the kernel"},
	"pkg/store readDocument io.ReadFull":                           {"64 MiB", "a regular file, or the daemon"},
	"pkg/store/contentdir OpenIngest .Readdirnames":                {"names alone", "a folder of root's daemon"},
	"pkg/store/contentdir ingestsIn os.ReadDir":                    {"names alone", "a folder"},
	"pkg/store/contentdir note io.ReadAll":                         {"4 KiB", "a regular file"},
	"pkg/store/contentdir onlyFiles os.ReadDir":                    {"names alone", "a folder"},
	"pkg/store/contentdir readDir os.ReadDir":                      {"names alone", "a folder"},
	"pkg/store/contentdir readSmall io.ReadAll":                    {"4 KiB", "a regular file"},
	"pkg/store/daemon Manifest content.ReadBlob":                   {"4 MiB", "the time-out of a look"},
	"pkg/store/daemon configFile os.ReadFile":                      {"a command line", "the kernel"},
	"pkg/store/daemon contains io.ReadFull":                        {"its buffer", "a regular file"},
	"pkg/store/daemon handOver io.Copy":                            {"the daemon's ingest; nothing is kept", "the file that this process wrote"},
	"pkg/store/daemon imports filepath.Glob":                       {"names alone; 1,000 files", "a folder"},
	"pkg/store/daemon readConfig io.ReadAll":                       {"4 MiB", "10 s"},
	"pkg/store/daemon parse bolt.Open":                             {"64 MiB, checked page by page before", "memory"},
	"pkg/store/daemon readCopy io.Copy":                            {"64 MiB", "a regular file"},
	"pkg/store/daemon readIdentity io.ReadAll":                     {"a short text", "a regular file"},
	"pkg/store/root Apply io.Copy":                                 {"into a hash; limits of the layer", "the file ends"},
	"pkg/store/root checkFolders os.ReadDir":                       {"names alone", "a folder"},
	"pkg/store/root checkOwn os.ReadDir":                           {"names alone", "a folder"},
	"pkg/store/root handToBolt bolt.Open":                          {"mapped, checked page by page before", "the time-out of the lock"},
	"pkg/store/root holder os.ReadFile":                            {"one word", "the kernel"},
	"pkg/store/root holderIn bufio.NewScanner":                     {"64 KiB a line", "the kernel"},
	"pkg/store/root isBare os.ReadDir":                             {"names alone", "a folder"},
	"pkg/store/root loadFrom bolt.Open":                            {"a copy that was checked page by page", "a file of this process"},
	"pkg/store/root lookAtBlobs os.ReadDir":                        {"names alone", "a folder"},
	"pkg/store/root snapshots os.ReadDir":                          {"names alone", "a folder"},
	"pkg/store/root sweep os.ReadDir":                              {"names alone", "a folder"},
	"pkg/trust ready os.ReadDir":                                   {"names alone", "a folder"},
	"pkg/unpack drain io.Copy":                                     {"nothing is kept", "the stall time-out of blobs"},
	"pkg/unpack drain io.CopyN":                                    {"nothing is kept; limits of the layer", "the stall time-out of blobs"},
	"pkg/unpack/pipeline Open zstd.NewReader":                      {"a window of 128 MiB; limits of the layer", "the stall time-out of blobs"},
	"pkg/unpack/pipeline sniff bufio.NewReaderSize":                {"its buffer", "the stall time-out of blobs"},
	"pkg/unpack/pipeline unzstdInto zstd.NewReader":                {"a window of 128 MiB; limits of the layer", "the stall time-out of blobs"},
	"pkg/userfile overflowID os.ReadFile":                          {"one line", "the kernel"},
	"pkg/userfile readAll io.ReadAll":                              {"as many as the caller says", "10 s to begin, 30 s to end"},
	"pkg/userfile readIDs bufio.NewScanner":                        {"64 KiB a line", "the kernel"},
	"pkg/userns countIDs os.ReadFile":                              {"a few lines", "the kernel"},
	"pkg/userns mapIDs .CombinedOutput":                            {"complaints of a program of root's", "a program of root's"},
	"pkg/userns readRanges bufio.NewScanner":                       {"64 KiB a line", "a file of root's"},
}

// runs are the tests, by room and name, that run a read against a source that never ends.
var runs = map[string]string{
	"cmd/containerd-pull readLine bufio.NewReader":            "cmd/containerd-pull TestRule7EndlessPassword",
	"cmd/containerd-pull/internal/named readStdin io.ReadAll": "cmd/containerd-pull/internal/named TestRule7EndlessStdin",
	"pkg/fetch read io.ReadAll":                               "pkg/pull TestFaults",
	"pkg/fetch start io.ReadFull":                             "pkg/pull TestFaults",
	"pkg/layer newApplier bufio.NewReaderSize":                "pkg/layer TestRule7EndlessLayers",
	"pkg/layer newApplier tar.NewReader":                      "pkg/layer TestRule7EndlessLayers",
	"pkg/layer run io.Copy":                                   "pkg/layer TestRule7EndlessLayers",
	"pkg/progress ReadEvents bufio.NewReaderSize":             "pkg/progress TestRule7EndlessEvents",
	"pkg/registry drain io.CopyN":                             "pkg/registry TestRule7EveryReaderIsBounded",
	"pkg/registry finish io.ReadFull":                         "pkg/registry TestRule7EveryReaderIsBounded",
	"pkg/registry read io.ReadAll":                            "pkg/registry TestRule7EveryReaderIsBounded",
	"pkg/registry readDocument io.ReadAll":                    "pkg/registry TestRule7EveryReaderIsBounded",
	"pkg/registry explain io.ReadAll":                         "pkg/registry TestRule7EveryReaderIsBounded",
	"pkg/registry skip io.CopyN":                              "pkg/registry TestRule7EveryReaderIsBounded",
	"pkg/registry/coding begin bufio.NewReaderSize":           "pkg/registry/coding TestM3UndoIsBounded",
	"pkg/registry/coding codings gzip.NewReader":              "pkg/registry/coding TestM3UndoIsBounded",
	"pkg/registry/coding codings zstd.NewReader":              "pkg/registry/coding TestM3UndoIsBounded",
	"pkg/store/daemon readConfig io.ReadAll":                  "pkg/store/daemon TestRule7EndlessConfiguration",
	"pkg/unpack drain io.Copy":                                "pkg/unpack TestRule7EndlessDrain",
	"pkg/unpack drain io.CopyN":                               "pkg/unpack TestRule7EndlessDrain",
	"pkg/unpack/pipeline Open zstd.NewReader":                 "pkg/unpack/pipeline TestRule7EndlessStreams",
	"pkg/unpack/pipeline sniff bufio.NewReaderSize":           "pkg/unpack/pipeline TestRule7EndlessStreams",
	"pkg/unpack/pipeline unzstdInto zstd.NewReader":           "pkg/unpack/pipeline TestRule7EndlessStreams",
	"pkg/userfile readAll io.ReadAll":                         "pkg/userfile TestBounds",
}

// readers are the functions and methods by which a program reads to an end that the
// other side chooses.
var readers = map[string][]string{
	"io":       {"ReadAll", "Copy", "CopyN", "CopyBuffer", "ReadFull", "ReadAtLeast"},
	"os":       {"ReadFile", "ReadDir"},
	"fs":       {"ReadFile", "ReadDir", "WalkDir", "Glob"},
	"ioutil":   {"ReadAll", "ReadFile", "ReadDir"},
	"filepath": {"Walk", "WalkDir", "Glob"},
	"bufio":    {"NewScanner", "NewReader", "NewReaderSize", "NewReadWriter"},
	"json":     {"NewDecoder"},
	"toml":     {"NewDecoder"},
	"yaml":     {"NewDecoder"},
	"xml":      {"NewDecoder"},
	"csv":      {"NewReader"},
	"gzip":     {"NewReader"},
	"zstd":     {"NewReader"},
	"tar":      {"NewReader"},
	"bolt":     {"Open"},
	"content":  {"ReadBlob"},
	"":         {"ReadDir", "Readdir", "Readdirnames", "ReadFrom", "WriteTo", "Output", "CombinedOutput"},
}

// TestRule7EveryReadHasABound wants a row for each read in the sources, and no row
// without one.
func TestRule7EveryReadHasABound(t *testing.T) {
	met := map[string]bool{}
	for _, s := range sources(t) {
		if covered(s.room, []string{"pkg/internal/pulltest", "pkg/internal/pulltest/", "cmd/quickstart", ".ci/"}) {
			continue // not of the program
		}
		for _, read := range s.reads() {
			if _, ok := reads[read]; !ok {
				t.Errorf("%s in %s: bound it in bytes, memory and time, and give it a row", read, s.name)
			}
			met[read] = true
		}
	}
	for read := range reads {
		if !met[read] {
			t.Errorf("%s has a row and does not exist", read)
		}
	}
}

// TestRule7EveryReadIsRunAgainstAnEndlessSource wants for each row a test that is there
// and has such a source, unless the row's own source ends.
func TestRule7EveryReadIsRunAgainstAnEndlessSource(t *testing.T) {
	rooms := map[string]mentions{}
	for read, l := range reads {
		if slices.Contains(ending, l.time) {
			continue
		}
		room, test, _ := strings.Cut(runs[read], " ")
		if rooms[room] == nil {
			rooms[room] = mentionsIn(t, room)
		}
		if !rooms[room].reach(test, endless) {
			t.Errorf("%s: want a test with a source that never ends among the runs, got %q", read, runs[read])
		}
	}
	for read := range runs {
		if _, ok := reads[read]; !ok {
			t.Errorf("%s is run and does not exist", read)
		}
	}
}

// mentions are what the declarations of the tests of a room name, by their own names:
// identifiers and literals.
type mentions map[string][]string

func mentionsIn(t *testing.T, room string) mentions {
	t.Helper()
	files, err := filepath.Glob(filepath.Join("..", room, "*_test.go"))
	if err != nil {
		t.Fatal(err)
	}
	m := mentions{}
	for _, file := range files {
		m.add(parse(t, room, file, nil))
	}
	return m
}

func (m mentions) add(s source) {
	for _, declared := range s.file.Decls {
		name := declaredName(declared)
		ast.Inspect(declared, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.Ident:
				m[name] = append(m[name], n.Name)
			case *ast.BasicLit:
				m[name] = append(m[name], n.Value)
			}
			return true
		})
	}
}

// reach reports whether the declaration, or one that it names, mentions one of words.
func (m mentions) reach(name string, words []string) bool {
	met := map[string]bool{}
	for next := []string{name}; len(next) > 0; {
		now := next[len(next)-1]
		next = next[:len(next)-1]
		for _, said := range m[now] {
			if slices.Contains(words, said) {
				return true
			}
			if !met[said] {
				met[said] = true
				next = append(next, said)
			}
		}
	}
	return false
}

// TestEndlessSourcesAreFound shows that a test needs one, by itself or by what it calls.
func TestEndlessSourcesAreFound(t *testing.T) {
	m := mentions{}
	m.add(parse(t, "pkg/x", "x_test.go", `package x
func TestOwn() { os.Open("/dev/zero") }
func TestCalled() { table() }
func table() { rows() }
func rows() { table(); _ = pulltest.Endless{} }
func TestNone() { os.Open("/dev/null") }
`))
	for name, want := range map[string]bool{"TestOwn": true, "TestCalled": true, "TestNone": false, "TestGone": false} {
		if got := m.reach(name, endless); got != want {
			t.Errorf("%s: got %v, want %v", name, got, want)
		}
	}
}

// TestReadsAreFound shows that a read cannot hide from the table.
func TestReadsAreFound(t *testing.T) {
	s := parse(t, "pkg/x", "x.go", `package x
var all = io.ReadAll
func f() { read := os.ReadFile; read("x"); (&b).ReadFrom(r); json.Unmarshal(nil, nil) }
`)
	want := []string{"pkg/x all io.ReadAll", "pkg/x f os.ReadFile", "pkg/x f .ReadFrom"}
	if got := s.reads(); !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

// reads lists the reads of a file.
func (s source) reads() (all []string) {
	for _, declared := range s.file.Decls {
		name := declaredName(declared)
		ast.Inspect(declared, func(n ast.Node) bool {
			if call := readBy(n); call != "" {
				all = append(all, s.room+" "+name+" "+call)
			}
			return true
		})
	}
	return all
}

// readBy returns the reader that n names, called or not.
func readBy(n ast.Node) string {
	selector, ok := n.(*ast.SelectorExpr)
	if !ok {
		return ""
	}
	if of, ok := selector.X.(*ast.Ident); ok && slices.Contains(readers[of.Name], selector.Sel.Name) {
		return of.Name + "." + selector.Sel.Name
	}
	if slices.Contains(readers[""], selector.Sel.Name) {
		return "." + selector.Sel.Name
	}
	return ""
}

// declaredName is the name of a function, or the first of a declaration.
func declaredName(d ast.Decl) string {
	switch d := d.(type) {
	case *ast.FuncDecl:
		return d.Name.Name
	case *ast.GenDecl:
		if v, ok := d.Specs[0].(*ast.ValueSpec); ok && d.Tok != token.IMPORT {
			return v.Names[0].Name
		}
	}
	return ""
}
