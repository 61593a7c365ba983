package check_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
	"golang.org/x/sys/unix"

	"github.com/containerd-pull/containerd-pull/pkg/internal/pulltest"
	"github.com/containerd-pull/containerd-pull/pkg/internal/pulltest/testregistry"
	"github.com/containerd-pull/containerd-pull/pkg/internal/pulltest/teststore"
	"github.com/containerd-pull/containerd-pull/pkg/internal/pulltest/tree"
	"github.com/containerd-pull/containerd-pull/pkg/sample/golden"
	"github.com/containerd-pull/containerd-pull/pkg/store"
)

// Where the damage matrix stands.
const (
	matrixPage    = "../../docs/reliability.md"
	matrixHeading = "\n## Damage, part by part\n"
	matrixHead    = "| damaged | how |"
	contentFolder = "io.containerd.content.v1.content"
	snapshotsOf   = "io.containerd.snapshotter.v1.overlayfs"
)

// The outcomes of a cell.
const (
	healed      = "healed"
	said        = "said" // with the name of what is damaged, and code 8 or 10
	notAffected = "not affected"
	cannotBe    = "cannot be" // the client may not do it
)

// looking are the commands that change nothing, deep the strictest of them.
func looking() []string { return []string{"verify", deep, "gc --dry-run"} }

const deep = "verify --deep"

func changing() []string { return []string{"pull", "pull --policy missing", "verify --repair", "gc"} }

// part is a file or folder of a store that is damaged.
type part struct {
	name   string
	at     string   // a pattern below the root
	said   []string // a message about the damage has one of these
	folder bool     // which has no bytes of its own
	unread bool     // bytes that no pull reads as long as they are unpacked
	deeply bool     // bytes that only --deep reads
}

func blobPart(kind string, dgst digest.Digest) part {
	return part{name: kind, at: filepath.Join(contentFolder, "blobs/sha256", dgst.Encoded()), said: []string{dgst.Encoded()}}
}

// parts are those of a store with img.
func parts(img *pulltest.Image) []part {
	manifest := img.Children[0]
	chain := manifest.ChainIDs()[0].Encoded()
	layer := blobPart("layer", manifest.Layers[0].Digest)
	layer.unread = true
	return []part{
		{name: "`meta.db`", at: "io.containerd.metadata.v1.bolt/meta.db", said: []string{"meta.db"}},
		{name: "`metadata.db`", at: snapshotsOf + "/metadata.db", said: []string{"metadata.db"}},
		blobPart("index", img.Desc.Digest), blobPart("manifest", manifest.Desc.Digest), blobPart("config", manifest.Config.Digest), layer,
		{name: "ingest", at: contentFolder + "/ingest/*", said: []string{contentFolder + "/ingest/"}, folder: true},
		{name: "data of an ingest", at: contentFolder + "/ingest/*/data"},
		{name: "folder of a snapshot", at: snapshotsOf + "/snapshots/1", said: []string{chain, "snapshots/1"}, folder: true},
		{name: "file of a snapshot", at: snapshotsOf + "/snapshots/1/fs/data", said: []string{chain}, unread: true, deeply: true},
		{name: "folder of the snapshotter", at: snapshotsOf, said: []string{snapshotsOf, chain}, folder: true},
		{name: "folder of the content", at: contentFolder, said: []string{contentFolder, img.Desc.Digest.Encoded()}, folder: true},
	}
}

// row is a part and its damage.
type row struct {
	part
	damage teststore.Damage
}

func rows(img *pulltest.Image) (all []row) {
	for _, p := range parts(img) {
		for _, d := range teststore.Damages() {
			if !p.folder || slices.Contains([]teststore.Damage{teststore.Removed, teststore.Emptied, teststore.Replaced, teststore.Unreadable}, d) {
				p := p
				if p.deeply = p.deeply || p.folder && p.at == snapshotsOf+"/snapshots/1" && d == teststore.Replaced; p.deeply {
					p.unread = true
				}
				all = append(all, row{p, d})
			}
		}
	}
	return all
}

func (r row) title() string { return fmt.Sprintf("| %s | %s |", r.name, r.damage) }

// strictest is the command that sees all of the damage.
func (r row) strictest() string {
	if r.damage == teststore.Unreadable {
		return "verify"
	}
	return deep
}

// quiet reports whether code 0 of the command is right although the store is damaged,
// since the bytes are none that it reads.
func (r row) quiet(command string) bool {
	sameSize := slices.Contains([]teststore.Damage{teststore.Garbled, teststore.Zeroed, teststore.Replaced, teststore.Unreadable}, r.damage)
	switch {
	case strings.HasPrefix(command, "gc"):
		return true
	case strings.HasPrefix(command, "pull"):
		return r.unread && (sameSize || r.deeply)
	}
	return strings.HasPrefix(command, "verify") && command != deep && r.deeply
}

// kept is a kind of store in which everything is damaged, beside another of its kind.
type kept struct {
	program      string
	root, other  string // what is copied, and what replaces it
	ref          string
	rows, others []row // of the same parts
}

// keep makes the two stores.
func keep(t *testing.T, program string) *kept {
	t.Helper()
	k := &kept{program: program, root: filepath.Join(t.TempDir(), "root"), other: filepath.Join(t.TempDir(), "root")}
	reg := testregistry.Start(t, testregistry.Options{})
	one, two := matrixImage("one"), matrixImage("two")
	k.ref = testregistry.Push(t, reg, "team/app:1", one)
	k.rows, k.others = rows(one), rows(two)
	k.fill(t, k.root, k.ref, "begun")
	k.fill(t, k.other, testregistry.Push(t, reg, "team/app:2", two), "begun, too")
	return k
}

// matrixImage is an index of one image, whose files have pages enough.
func matrixImage(seed string) *pulltest.Image {
	noise := make([]byte, 40<<10)
	rand.NewChaCha8([32]byte([]byte(strings.Repeat(seed, 32))[:32])).Read(noise) // never fails
	return pulltest.NewIndex(pulltest.NewImage(pulltest.Spec{Layers: []pulltest.Layer{
		pulltest.NewLayer(pulltest.Gzip, pulltest.Regular("data", string(noise)), pulltest.Regular("name", seed)),
		pulltest.NewLayer(pulltest.Gzip, pulltest.Directory("etc"), pulltest.Regular("etc/name", seed)),
	}}))
}

// fill pulls ref into a new root, and begins a blob.
func (k *kept) fill(t *testing.T, root, ref, begun string) {
	t.Helper()
	t.Run("fill", func(t *testing.T) {
		if code, out := (copied{kept: k, root: root}).run(t, "pull "+ref); code != 0 {
			t.Fatalf("got code %d of the first pull: %s", code, out)
		}
		s := teststore.Open(t, store.Options{Root: root})
		teststore.Ingest(s.Context(t.Context()), t, s, strings.Repeat(begun, 4096))
	})
}

// copied is a copy of a store.
type copied struct {
	*kept
	root   string
	damage teststore.Damage
}

// run runs the command; where a part is unreadable, as a user whom permissions bind.
func (s copied) run(t *testing.T, command string) (code int, out string) {
	t.Helper()
	bound := "-audit_read" // which it needs for nothing
	if s.damage == teststore.Unreadable {
		bound = "-dac_override,-dac_read_search"
	}
	args := append([]string{"--bounding-set", bound, s.program}, strings.Fields(command)...)
	args = append(args, "--root", s.root)
	if strings.HasPrefix(command, "pull") || strings.Contains(command, "--repair") {
		args = append(args, "--plain-http", "--progress", "plain")
	}
	c := exec.CommandContext(t.Context(), "setpriv", args...)
	text, err := c.CombinedOutput()
	if _, exited := errors.AsType[*exec.ExitError](err); err != nil && !exited {
		t.Fatal(err)
	}
	return c.ProcessState.ExitCode(), string(text)
}

// hurt copies the store, and damages the copy as the row says.
func (k *kept) hurt(t *testing.T, n int) copied {
	t.Helper()
	root := filepath.Join(t.TempDir(), "root")
	if out, err := exec.CommandContext(t.Context(), "cp", "-a", k.root, root).CombinedOutput(); err != nil {
		t.Fatalf("copying the store: %v: %s", err, out)
	}
	r := k.rows[n]
	r.damage.Do(t, only(t, root, r.at), only(t, k.other, k.others[n].at))
	return copied{kept: k, root: root, damage: r.damage}
}

// only is the one path below root that the pattern matches.
func only(t *testing.T, root, pattern string) string {
	t.Helper()
	all, err := filepath.Glob(filepath.Join(root, pattern))
	if err != nil || len(all) != 1 {
		t.Fatalf("got %q below %s and %v, want one %s", all, root, err, pattern)
	}
	return all[0]
}

// try runs all commands on the damage of a row, and returns an outcome for each.
func (k *kept) try(t *testing.T, n int) (outcomes map[string]string) {
	outcomes = map[string]string{}
	s := k.hurt(t, n)
	before := s.files(t)
	for _, command := range looking() {
		outcomes[command] = s.look(t, k.rows[n], command)
		if diff := tree.Diff(s.files(t), before); diff != "" {
			t.Errorf("%s changed the store: %s", command, diff)
		}
	}
	strictest := outcomes[k.rows[n].strictest()]
	if outcomes["verify"] != strictest && !k.rows[n].quiet("verify") {
		t.Errorf("got %q of verify, and %q of --deep", outcomes["verify"], strictest)
	}
	for _, command := range changing() {
		outcomes[command] = k.change(t, n, command, strictest == said)
	}
	return outcomes
}

// files lists the root.
func (s copied) files(t *testing.T) []tree.Entry {
	t.Helper()
	all, err := tree.Read(s.root)
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// look runs a command that changes nothing.
func (s copied) look(t *testing.T, r row, command string) string {
	if command == deep && r.strictest() != deep {
		return cannotBe
	}
	code, out := s.run(t, command)
	if code == 0 {
		return notAffected
	}
	return r.says(t, command, code, out)
}

// change runs a command on a damaged store of its own. Where it succeeds, the store
// is whole, but for what it does not read.
func (k *kept) change(t *testing.T, n int, command string, damaged bool) string {
	s, r := k.hurt(t, n), k.rows[n]
	full := command
	if verb, flags, _ := strings.Cut(command, " "); verb == "pull" {
		full = strings.Join([]string{verb, k.ref, flags}, " ")
	}
	code, out := s.run(t, full)
	if code != 0 {
		return r.says(t, command, code, out)
	}
	if command == "gc" {
		s.keeps(t, n)
	}
	after, left := s.run(t, r.strictest())
	switch {
	case after == 0 && damaged:
		return healed
	case after == 0, r.quiet(command):
		return notAffected
	}
	t.Errorf("got success of %s:\n%s\nand after it code %d of the strictest look:\n%s", command, out, after, left)
	return notAffected
}

// keeps wants a collection to have left alone what was damaged and what was not: all
// that may have gone is an ingest, and what came from another store, which no record
// names. Databases are written anew.
func (s copied) keeps(t *testing.T, n int) {
	t.Helper()
	fresh := s.hurt(t, n) // at another time
	mayDiffer := func(e tree.Entry) bool {
		_, err := os.Lstat(s.kept.root + e.Path)
		return err != nil || strings.HasSuffix(e.Path, ".db") || strings.Contains(e.Path, "/ingest") || e.Mode&unix.S_IFMT == unix.S_IFDIR
	}
	before, after := slices.DeleteFunc(fresh.files(t), mayDiffer), slices.DeleteFunc(s.files(t), mayDiffer)
	for _, all := range [][]tree.Entry{before, after} {
		for i := range all {
			all[i].ModTime = 0
		}
	}
	if diff := tree.Diff(after, before); diff != "" {
		t.Errorf("gc changed more than ingests: %s", diff)
	}
}

// says wants a failure that names what is damaged.
func (r row) says(t *testing.T, command string, code int, out string) string {
	named := slices.ContainsFunc(r.said, func(name string) bool { return strings.Contains(out, name) })
	if code != 8 && code != 10 || !named || strings.Contains(out, "goroutine ") {
		t.Errorf("got code %d of %s, want 8 or 10 with one of %q and no panic:\n%s", code, command, r.said, out)
	}
	return said
}

//go:generate ../../.ci/named TestDamageMatrix -update

// TestDamageMatrix damages each part of a store in each way while nothing uses it,
// and runs each command on it. The outcomes are those of docs/reliability.md; with
// -update they are written there.
func TestDamageMatrix(t *testing.T) {
	pulltest.Need(t, pulltest.Root, pulltest.Program("setpriv"))
	program := filepath.Join(t.TempDir(), "containerd-pull")
	if out, err := exec.CommandContext(t.Context(), "go", "build", "-o", program, "../../cmd/containerd-pull").CombinedOutput(); err != nil {
		t.Fatalf("building the command: %v\n%s", err, out)
	}
	page := readMatrix(t)
	k := keep(t, program)
	for n, r := range k.rows {
		t.Run(r.name+" "+string(r.damage), func(t *testing.T) { page.set(r, k.try(t, n)) })
	}
	page.compare(t)
}

// matrix is the table on its page: for each row and command an outcome.
type matrix struct {
	before, after string
	cells         map[string]string // by title of the row and command
}

func key(r row, command string) string { return r.title() + command }

// readMatrix reads the page around the table.
func readMatrix(t *testing.T) matrix {
	t.Helper()
	text, err := os.ReadFile(matrixPage)
	if err != nil {
		t.Fatal(err)
	}
	before, below, ok := strings.Cut(string(text), matrixHeading)
	intro, table, more := strings.Cut(below, matrixHead)
	_, after, last := strings.Cut(table, "\n\n")
	if !ok || !more || !last {
		t.Fatalf("%s has no table below%s", matrixPage, matrixHeading)
	}
	m := matrix{before: before + matrixHeading + intro, after: after, cells: map[string]string{}}
	return m
}

func (m matrix) set(r row, outcomes map[string]string) {
	for command, outcome := range outcomes {
		m.cells[key(r, command)] = outcome
	}
}

// compare compares the page with the outcomes.
func (m matrix) compare(t *testing.T) {
	t.Helper()
	commands := append(looking(), changing()...)
	var table strings.Builder
	fmt.Fprintf(&table, "%s `%s` |\n%s\n", matrixHead, strings.Join(commands, "` | `"), strings.Repeat("|---", len(commands)+2)+"|")
	for _, r := range rows(matrixImage("one")) {
		table.WriteString(r.title())
		for _, command := range commands {
			fmt.Fprintf(&table, " %s |", m.cells[key(r, command)])
		}
		table.WriteString("\n")
	}
	golden.File(t, matrixPage, []byte(m.before+table.String()+"\n"+m.after))
}
