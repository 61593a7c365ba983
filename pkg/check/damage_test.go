package check_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/containerd-pull/containerd-pull/pkg/internal/pulltest"
	"github.com/containerd-pull/containerd-pull/pkg/internal/pulltest/testregistry"
	"github.com/containerd-pull/containerd-pull/pkg/internal/pulltest/teststore"
	"github.com/containerd-pull/containerd-pull/pkg/internal/pulltest/tree"
	"github.com/containerd-pull/containerd-pull/pkg/sample/golden"
	"github.com/containerd-pull/containerd-pull/pkg/store"
)

// The outcomes of a cell.
const (
	healed      = "healed"
	foreseen    = "foreseen"     // what a pull would bring again is planned
	said        = "said"         // with the name of what is damaged, and code 8 or 10
	notAffected = "not affected" // there is nothing wrong for the command
	notRead     = "not read"     // the command does not look at what is wrong
	cannotBe    = "cannot be"    // the store, or this client, does not come so far
)

const (
	plan   = "plan"
	verify = "verify"
	deep   = "verify --deep"
	// somethingToDo is the exit code of a plan with which a pull would do something.
	somethingToDo = 99
	// failing are reads that fail, of a file that is as it was.
	failing teststore.Damage = "failing (EIO)"
	// shares is how many runs it takes to do all cells that are done in turn.
	shares = 8
)

// looking are the commands that change nothing, deep the strictest of them.
func looking() []string { return []string{verify, deep, "gc --dry-run", plan} }

func changing() []string {
	return []string{"pull", "pull --policy missing", "pull --policy never", "verify --repair", "verify --deep --repair", "gc"}
}

func commands() []string { return append(looking(), changing()...) }

// row is a damaged part of a store.
type row struct {
	number int // of the part
	part   part
	damage teststore.Damage
}

// rows are all damages of a depot. Unreadable and failing files are those of an embedded
// root: a daemon is root, and reads by itself.
func (d *depot) rows() (all []row) {
	folders := []teststore.Damage{teststore.Removed, teststore.Emptied, teststore.Replaced, teststore.Unreadable}
	for i, p := range d.parts {
		for _, damage := range append(teststore.Damages(), failing) {
			embedded := damage == teststore.Unreadable || damage == failing
			if p.folder && !slices.Contains(folders, damage) || embedded && d.place.Version != "" || damage == failing && d.place.Snapshotter == store.Native {
				continue
			}
			r := row{i, p, damage}
			if p.whole && d.place.Version != "" { // of what a daemon has, its clients see what it knows
				r.part.said = d.known
			}
			if replaced := p.folder && !p.whole && damage == teststore.Replaced && strings.Contains(p.name, "snapshot"); replaced {
				r.part.deeply, r.part.unread = true, true
			}
			all = append(all, r)
		}
	}
	return all
}

// strictest is the command that sees all of the damage.
func (r row) strictest() string {
	if r.damage == teststore.Unreadable || r.damage == failing {
		return verify
	}
	return deep
}

// mayMiss reports whether code 0 of the command is right although the store is damaged,
// since the bytes are none that it reads: one stat does not show them.
func (r row) mayMiss(command string) bool {
	sameSize := slices.Contains([]teststore.Damage{teststore.Garbled, teststore.Zeroed, teststore.Replaced, teststore.Unreadable, failing}, r.damage)
	switch {
	case strings.HasPrefix(command, "gc"):
		return true
	case asksForImage(command):
		return r.part.unread && (sameSize || r.part.deeply)
	}
	return !strings.Contains(command, "--deep") && r.part.deeply
}

// hurt copies the store, and damages the copy as the row says.
func (d *depot) hurt(t *testing.T, r row) *copied {
	t.Helper()
	c := d.copy(t)
	c.hurt(t, r)
	return c
}

func (c *copied) hurt(t *testing.T, r row) {
	t.Helper()
	at := only(t, c.root, r.part.at)
	c.damage = r.damage
	if r.damage == failing {
		c.failing = at
		return
	}
	r.damage.Do(t, at, only(t, c.other, c.others[r.number].at))
}

// restore puts the part of a row in its place again. A daemon that is running opens
// such a file whenever it reads it.
func (c *copied) restore(t *testing.T, r row) {
	t.Helper()
	there, err := filepath.Glob(filepath.Join(c.root, r.part.at))
	must(t, err)
	for _, path := range there {
		must(t, os.RemoveAll(path))
	}
	from := only(t, c.depot.root, r.part.at)
	rel, err := filepath.Rel(c.depot.root, from)
	must(t, err)
	to := filepath.Join(c.root, rel)
	copyAll(t, from, to)
}

// copyAll copies a file or a folder, with everything that is known of it.
func copyAll(t *testing.T, from, to string) {
	t.Helper()
	must(t, os.MkdirAll(filepath.Dir(to), 0o700))
	if out, err := exec.CommandContext(t.Context(), "cp", "-a", from, to).CombinedOutput(); err != nil {
		t.Fatalf("copying %s: %v: %s", from, err, out)
	}
}

// try runs all commands on the damage of a row, and returns an outcome for each.
func (d *depot) try(t *testing.T, r row) map[string]string {
	outcomes := map[string]string{}
	c := d.hurt(t, r)
	defer c.end(t)
	if !c.start(t) {
		for _, command := range commands() {
			if code, out := c.run(t, d.full(command)); code != 3 {
				t.Errorf("got code %d of %s without a daemon, want 3: %s", code, command, out)
			}
			outcomes[command] = cannotBe
		}
		return outcomes
	}
	before := c.files(t)
	for _, command := range looking() {
		outcomes[command] = c.look(t, r, command)
		if diff := tree.Diff(c.files(t), before); diff != "" {
			t.Errorf("%s changed the store: %s", command, diff)
		}
	}
	damaged := outcomes[r.strictest()] != notAffected
	for _, command := range looking() {
		if damaged && outcomes[command] == notAffected && !strings.HasPrefix(command, "gc") {
			outcomes[command] = notRead
			if !r.mayMiss(command) {
				t.Errorf("got %q of %s, and %q of %s", outcomes[command], command, outcomes[r.strictest()], r.strictest())
			}
		}
	}
	for _, command := range changing() {
		outcomes[command] = d.change(t, r, command, damaged, c)
	}
	return outcomes
}

// asksForImage reports whether a command takes the name of an image, and asks a
// registry for it.
func asksForImage(command string) bool {
	return strings.HasPrefix(command, "pull") || strings.HasPrefix(command, plan)
}

// full is the command with the name of the image, if it takes one.
func (d *depot) full(command string) string {
	verb, flags, _ := strings.Cut(command, " ")
	switch verb {
	case plan:
		flags = fmt.Sprint("--changed-exit-code ", somethingToDo)
	case "pull":
	default:
		return command
	}
	return strings.Join([]string{verb, d.ref, flags}, " ")
}

// look runs a command that changes nothing.
func (c *copied) look(t *testing.T, r row, command string) string {
	if command == deep && r.strictest() != deep {
		return cannotBe
	}
	code, out := c.run(t, c.full(command))
	switch {
	case code == 0:
		return notAffected
	case command == plan && code == somethingToDo:
		return foreseen
	}
	return c.says(t, r, command, code, out)
}

// change runs a command on a store that is damaged anew. Where it succeeds, the store
// is whole, but for what it does not read.
func (d *depot) change(t *testing.T, r row, command string, damaged bool, c *copied) (outcome string) {
	if strings.Contains(command, deep) && r.strictest() != deep {
		return cannotBe
	}
	if c.daemon == nil || r.part.whole {
		c = d.hurt(t, r)
		if !c.start(t) {
			t.Fatalf("containerd started before and does not start now")
		}
		defer c.end(t)
	} else {
		c.restore(t, r)
		c.hurt(t, r)
	}
	was := c.inode(r)
	code, out := c.run(t, d.full(command))
	if code != 0 {
		return c.says(t, r, command, code, out)
	}
	if command == "gc" {
		c.keeps(t, d.hurt(t, r))
		return notAffected
	}
	check := r.strictest()
	if r.part.whole && c.daemon != nil && asksForImage(command) { // it may know of other images that are not there
		check += " " + d.ref
	}
	after, left := c.run(t, check)
	switch {
	case r.damage == failing && damaged && c.inode(r) != was, after == 0 && damaged:
		return healed
	case after == 0:
		return notAffected
	case r.mayMiss(command):
		return notRead
	}
	t.Errorf("got success of %s:\n%s\nand after it code %d of the strictest look:\n%s", command, out, after, left)
	return notAffected
}

// inode is that of the damaged part, 0 if there is none.
func (c *copied) inode(r row) uint64 {
	var st unix.Stat_t
	all, err := filepath.Glob(filepath.Join(c.root, r.part.at))
	if err != nil || len(all) != 1 || unix.Lstat(all[0], &st) != nil {
		return 0
	}
	return st.Ino
}

func isFile(e tree.Entry) bool { return e.Mode&unix.S_IFMT != unix.S_IFDIR }

// keeps wants a collection to have left alone what was damaged and what was not, as it
// is in fresh: all that may have gone is an ingest, and what came from another store,
// which no record names. Databases are written anew.
func (c *copied) keeps(t *testing.T, fresh *copied) {
	t.Helper()
	kept := func(of *copied) (all []tree.Entry) {
		for _, e := range of.files(t) {
			if _, err := os.Lstat(c.depot.root + e.Path); err == nil && isFile(e) && !strings.HasSuffix(e.Path, ".db") && !strings.Contains(e.Path, "/ingest") {
				e.ModTime = 0
				all = append(all, e)
			}
		}
		return all
	}
	if diff := tree.Diff(kept(c), kept(fresh)); diff != "" {
		t.Errorf("gc changed more than ingests: %s", diff)
	}
}

// says wants a failure that names what is damaged, or that the daemon has lost what
// it knew.
func (c *copied) says(t *testing.T, r row, command string, code int, out string) string {
	if c.daemon != nil && (code == 3 || code == 4) {
		return cannotBe
	}
	lacking := code == 4 && strings.HasSuffix(command, "never") // it has no record either
	if code != 8 && code != 10 && !lacking || !r.isNamed(out) || strings.Contains(out, "goroutine ") {
		t.Errorf("got code %d of %s, want 8 or 10 with one of %q and no panic:\n%s", code, command, r.part.said, out)
	}
	return said
}

// isNamed reports whether a text names the damaged part.
func (r row) isNamed(text string) bool {
	return slices.ContainsFunc(r.part.said, func(name string) bool { return strings.Contains(text, name) })
}

// isDue reports whether this run does the row number n of a depot: all rows of an
// embedded root, but for those that take strace, and of the others each in turn.
func isDue(d *depot, r row, n, share int) bool {
	return share < 0 || d.place.Version == "" && r.damage != failing || n%shares == share
}

// shareToDo is the share of cells that this run does: DAMAGE_SHARE, or one that
// follows from the commit; all of them, as -1, if it is "all".
func shareToDo(t *testing.T) int {
	t.Helper()
	switch text := os.Getenv("DAMAGE_SHARE"); text {
	case "":
		return int(commitNumber(t) % shares)
	case "all":
		return -1
	default:
		n, err := strconv.Atoi(text)
		if err != nil || n < 0 || n >= shares {
			t.Fatalf("got DAMAGE_SHARE %q, want all, or a number below %d", text, shares)
		}
		return n
	}
}

// commitNumber differs from commit to commit: the beginning of its hash. It is zero
// outside of a repository.
func commitNumber(t *testing.T) uint32 {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), "git", "rev-parse", "HEAD").Output()
	if err != nil {
		t.Logf("the commit is not known: %v", err)
		return 0
	}
	n, err := strconv.ParseUint(string(out[:8]), 16, 32)
	must(t, err)
	return uint32(n)
}

// damagedPlaces are the kinds of store of the matrix.
func damagedPlaces() []teststore.Place {
	return slices.DeleteFunc(teststore.Places(), func(p teststore.Place) bool { return p.Version == "1.6" })
}

// TestDamageMatrix damages each part of a store in each way while nothing uses it,
// and runs each command on it. The outcomes are those of docs/reliability.md; with
// -update they are written there:
//
//	DAMAGE_SHARE=all .ci/named TestDamageMatrix -update -timeout=60m
func TestDamageMatrix(t *testing.T) {
	pulltest.Need(t, pulltest.Root, pulltest.Program("setpriv"), pulltest.Program("strace"))
	programs := newPrograms(t)
	reg := testregistry.Start(t, testregistry.Options{})
	one, two := damagedImage("one"), damagedImage("two")
	share := shareToDo(t)
	t.Logf("share %d of %d; DAMAGE_SHARE chooses another", share, shares)
	m := readMatrix(t)
	var depots []*depot
	for _, p := range damagedPlaces() {
		depots = append(depots, newDepot(t, programs, p, reg, one, two))
	}
	t.Run("cells", func(t *testing.T) {
		for _, d := range depots {
			m.fill(t, d, share)
		}
	})
	golden.File(t, damagePage, []byte(m.before+m.table()+m.after))
	if t.Failed() {
		t.Log("this page is written with DAMAGE_SHARE=all .ci/named TestDamageMatrix -update -timeout=60m")
	}
	t.Run("several", func(t *testing.T) { several(t, depots[:3]) })
	t.Run("containers", func(t *testing.T) { containers(t, programs, reg) })
}

// fill does the cells of a depot that are due.
func (m *matrix) fill(t *testing.T, d *depot, share int) {
	for n, r := range d.rows() {
		line := m.add(d.place, r)
		if !isDue(d, r, n, share) {
			continue
		}
		t.Run(d.place.Title+", "+r.title(), func(t *testing.T) {
			t.Parallel()
			m.set(line, d.try(t, r))
		})
	}
}

// Where the matrix stands.
const (
	damagePage    = "../../docs/reliability.md"
	damageHeading = "\n## Damage, part by part\n"
	damageHead    = "| damaged | how | store |"
)

// cell names a line of the matrix; a line of the page stands for those that are equal.
type cell struct{ part, damage, store string }

// matrix is the table on its page.
type matrix struct {
	before, after string
	order         []cell
	mu            sync.Mutex
	outcomes      map[cell]string // of all commands, as the page has them
}

// readMatrix reads the page.
func readMatrix(t *testing.T) *matrix {
	t.Helper()
	text, err := os.ReadFile(damagePage)
	if err != nil {
		t.Fatal(err)
	}
	before, below, ok := strings.Cut(string(text), damageHeading)
	intro, table, more := strings.Cut(below, damageHead)
	table, after, last := strings.Cut(table, "\n\n")
	if !ok || !more || !last {
		t.Fatalf("%s has no table below%s", damagePage, damageHeading)
	}
	m := &matrix{before: before + damageHeading + intro, after: "\n" + after, outcomes: map[cell]string{}}
	for _, line := range strings.Split(table, "\n")[2:] {
		fields := strings.SplitN(strings.Trim(line, "| "), " | ", 4)
		for _, damage := range strings.Split(fields[1], ", ") {
			for _, place := range strings.Split(fields[2], ", ") {
				m.outcomes[cell{fields[0], damage, place}] = fields[3]
			}
		}
	}
	return m
}

// add lists a line, and returns its name.
func (m *matrix) add(p teststore.Place, r row) cell {
	c := cell{r.part.name, string(r.damage), p.Title}
	m.order = append(m.order, c)
	return c
}

func (m *matrix) set(c cell, outcomes map[string]string) {
	var all []string
	for _, command := range commands() {
		all = append(all, outcomes[command])
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.outcomes[c] = strings.Join(all, " | ")
}

// table writes the matrix, with one line for damages, and for stores, of which all
// outcomes are equal.
func (m *matrix) table() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s `%s` |\n%s\n", damageHead, strings.Join(commands(), "` | `"), strings.Repeat("|---", len(commands())+3)+"|")
	for _, part := range distinct(m.order, func(c cell) string { return c.part }) {
		of := filter(m.order, func(c cell) bool { return c.part == part })
		all := func(damage string) (text string) { // outcomes in all stores
			for _, c := range of {
				if c.damage == damage {
					text += c.store + m.outcomes[c] + "\n"
				}
			}
			return text
		}
		damages := distinct(of, func(c cell) string { return c.damage })
		for _, outcomes := range distinct(of, func(c cell) string { return all(c.damage) }) {
			same := filter(damages, func(damage string) bool { return all(damage) == outcomes })
			lines := filter(of, func(c cell) bool { return c.damage == same[0] })
			for _, text := range distinct(lines, func(c cell) string { return m.outcomes[c] }) {
				stores := distinct(filter(lines, func(c cell) bool { return m.outcomes[c] == text }), func(c cell) string { return c.store })
				fmt.Fprintf(&b, "| %s | %s | %s | %s |\n", part, strings.Join(same, ", "), strings.Join(stores, ", "), text)
			}
		}
	}
	return b.String()
}

// distinct lists what of is of all, each once.
func distinct[T any](all []T, of func(T) string) (found []string) {
	for _, one := range all {
		if text := of(one); !slices.Contains(found, text) {
			found = append(found, text)
		}
	}
	return found
}

func filter[T any](all []T, keep func(T) bool) (kept []T) {
	for _, one := range all {
		if keep(one) {
			kept = append(kept, one)
		}
	}
	return kept
}
