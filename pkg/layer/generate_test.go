package layer_test

import (
	"archive/tar"
	"math/rand/v2"
	"os"
	"strconv"
	"strings"
	"testing"
)

// chooser makes the decisions of a generated archive: a number below n.
type chooser func(n int) int

func pick[T any](choose chooser, of ...T) T { return of[choose(len(of))] }

// bytesChooser makes a fuzzer's input decide. When it runs out, it decides 0.
func bytesChooser(data []byte) chooser {
	return func(n int) int {
		if len(data) == 0 {
			return 0
		}
		b := int(data[0])
		data = data[1:]
		return b % n
	}
}

// generateName has few names to choose from, so that they meet.
func generateName(choose chooser) string {
	parts := make([]string, 1+choose(3))
	for i := range parts {
		parts[i] = pick(choose, "a", "b", "c", "d")
	}
	prefix := pick(choose, "", "", "", "", "", "/", "./", "../")
	return prefix + strings.Join(parts, "/")
}

// generateTarget is where a link of that name leads: by way of links that come
// before it in the alphabet only. In circles names could grow with each of the
// links that are followed, and one comparison take seconds; those are in the
// corpus.
func generateTarget(choose chooser, name string) string {
	on, end := []string{"..", ".", ""}, []string{"..", ".", "e"}
	for _, link := range []string{"a", "b", "c", "d"} {
		if link < name[len(name)-1:] {
			on, end = append(on, link, link), append(end, link, link)
		}
	}
	target := pick(choose, "", "", "/")
	for range choose(3) {
		target += pick(choose, on...) + "/"
	}
	return target + pick(choose, end...)
}

func generateWhiteout(choose chooser) string {
	name := generateName(choose)
	i := strings.LastIndexByte(name, '/') + 1
	if choose(3) == 0 {
		return name[:i] + ".wh..wh..opq"
	}
	return name[:i] + ".wh." + name[i:]
}

// generateOption is an attribute out of the ordinary, or nothing.
func generateOption(choose chooser) option {
	return pick(choose,
		func(*entry) {}, func(*entry) {},
		owner(1, 2), owner(0, 3), owner(-1, 5),
		mode(0o4755), mode(0o2777), mode(0o1777), mode(0),
		xattr("user.a", "1"), xattr("user.b", "2"), xattr("trusted.c", "3"),
		xattr("security.capability", capability), xattr("system.posix_acl_access", acl),
		xattr("system.posix_acl_access", plainACL), xattr("system.posix_acl_default", otherACL), xattr("system.posix_acl_default", plainACL),
		at(stamp(123)), accessed(stamp(999)),
	)
}

func generateEntry(choose chooser) entry {
	opts := []option{generateOption(choose), generateOption(choose)}
	switch choose(16) {
	case 0, 1, 2:
		return file(generateName(choose), pick(choose, "", "one", "two"), opts...)
	case 3, 4, 5:
		return dir(generateName(choose), opts...)
	case 6, 7, 8, 9:
		name := generateName(choose)
		return symlink(name, generateTarget(choose, name), opts...)
	case 10, 11:
		return hardlink(generateName(choose), generateTarget(choose, "z"), opts...)
	case 12, 13, 14:
		return whiteout(generateWhiteout(choose), opts...)
	}
	return special(pick[byte](choose, tar.TypeFifo, tar.TypeChar, tar.TypeBlock), generateName(choose), append(opts, number(1, 3))...)
}

func generate(choose chooser, n int) []entry {
	entries := make([]entry, n)
	for i := range entries {
		entries[i] = generateEntry(choose)
	}
	return entries
}

// settle compares Apply with containerd's on entries, again and again without the
// entry that containerd refused, until it takes what is left. It returns that. After some refusals it leaves out what follows them as well.
func (sc *scene) settle(t testing.TB, entries []entry) []byte {
	t.Helper()
	for n := 0; ; n++ {
		data := archive(t, entries...)
		read, err := sc.check(t, data)
		if err == nil {
			return data
		}
		i := refusedEntry(t, entries, read)
		if n < 4 {
			entries = append(entries[:i:i], entries[i+1:]...)
		} else {
			entries = entries[:i]
		}
	}
}

// refusedEntry finds the entry that containerd refused from how far it read. If
// that is all, it refused the times of a directory that is gone, for which the
// last one is blamed.
func refusedEntry(t testing.TB, entries []entry, read int) int {
	t.Helper()
	last := 0
	for i, e := range entries {
		if e.Typeflag == tar.TypeDir {
			last = i
		}
		if end := len(archive(t, entries[:i+1]...)) - trailer; read <= end {
			return i
		}
	}
	return last
}

// trailer is the size of the mark that ends an archive.
const trailer = 1024

// seeds is how many generated archives are tried: LAYER_SEEDS, or a few.
func seeds(t testing.TB) uint64 {
	t.Helper()
	s := os.Getenv("LAYER_SEEDS")
	switch {
	case s != "":
	case testing.Short():
		return 1
	default:
		return 5
	}
	n, err := strconv.ParseUint(s, 10, 32)
	if err != nil {
		t.Fatalf("LAYER_SEEDS: %v", err)
	}
	return n
}

// TestGenerated compares Apply with containerd's on stacks of three layers made
// at random, always the same ones.
func TestGenerated(t *testing.T) {
	needRoot(t)
	for seed := range seeds(t) {
		for setting, set := range settings {
			t.Run(setting+"/"+strconv.FormatUint(seed, 10), func(t *testing.T) {
				t.Parallel()
				choose := rand.New(rand.NewPCG(seed, uint64(set))).IntN
				var below [][]byte
				for range 3 {
					below = append(below, newScene(t, set, below...).settle(t, generate(choose, 16)))
				}
			})
		}
	}
}
