package boltcheck_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"
	"time"

	bolt "go.etcd.io/bbolt"

	"github.com/containerd-pull/containerd-pull/pkg/internal/boltcheck"
)

// database makes one with buckets in buckets, some of them within a page, long values,
// and free pages, and returns its bytes.
func database(t testing.TB, records int, o bolt.Options) []byte {
	t.Helper()
	path := filepath.Join(t.TempDir(), "db")
	o.NoSync = true
	db, err := bolt.Open(path, 0o600, &o)
	if err != nil {
		t.Fatal(err)
	}
	fill := func(tx *bolt.Tx) error {
		top, err := tx.CreateBucketIfNotExists([]byte("v1"))
		if err != nil {
			return err
		}
		for i := range records {
			b, err := top.CreateBucketIfNotExists(fmt.Appendf(nil, "record %d", i))
			if err != nil {
				return err
			}
			if err := errors.Join(b.Put([]byte("name"), fmt.Appendf(nil, "%0*d", 1+i%40*i%97, i)), b.SetSequence(uint64(i))); err != nil {
				return err
			}
		}
		return top.Put([]byte("long"), bytes.Repeat([]byte("x"), 3*os.Getpagesize()))
	}
	half := func(tx *bolt.Tx) error {
		for i := range records / 2 {
			if err := tx.Bucket([]byte("v1")).DeleteBucket(fmt.Appendf(nil, "record %d", i)); err != nil {
				return err
			}
		}
		return nil
	}
	if err := errors.Join(db.Update(fill), db.Update(half), db.Close()); err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// both are the options of containerd's two databases.
func both() map[string]bolt.Options {
	return map[string]bolt.Options{"with a freelist": *bolt.DefaultOptions, "without": {NoFreelistSync: true, FreelistType: bolt.FreelistMapType}}
}

func check(data []byte) error { return boltcheck.Pages(bytes.NewReader(data), int64(len(data))) }

// use does with a database what this program and a daemon do: all of it is read, and
// replaced. It panics, or worse, if the database is damaged.
func use(t testing.TB, data []byte, o bolt.Options) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "db")
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
	o.NoSync = true
	db, err := bolt.Open(path, 0o600, &o)
	if err != nil {
		t.Fatalf("bolt cannot open what was found whole: %v", err)
	}
	defer db.Close()
	err = db.Update(func(tx *bolt.Tx) error {
		var names [][]byte
		err := tx.ForEach(func(name []byte, b *bolt.Bucket) error {
			names = append(names, bytes.Clone(name))
			return walk(b)
		})
		for _, name := range names {
			err = errors.Join(err, tx.DeleteBucket(name))
		}
		b, cerr := tx.CreateBucket([]byte("anew"))
		if cerr != nil {
			return errors.Join(err, cerr)
		}
		for i := range 200 {
			err = errors.Join(err, b.Put(fmt.Appendf(nil, "%d", i), make([]byte, 100)))
		}
		return err
	})
	if err != nil {
		t.Fatalf("using what was found whole: %v", err)
	}
}

func walk(b *bolt.Bucket) error {
	return b.ForEach(func(key, value []byte) error {
		if value == nil {
			return walk(b.Bucket(key))
		}
		return nil
	})
}

func TestWholeDatabases(t *testing.T) {
	for name, o := range both() {
		for _, records := range []int{0, 1, 10, 3000} {
			data := database(t, records, o)
			if err := check(data); err != nil {
				t.Errorf("%s, %d records: got %v, want it whole", name, records, err)
			}
			use(t, data, o)
		}
	}
}

// TestF2EveryPage garbles, zeroes and exchanges each page of a database, cuts it at
// each, and flips bits. What is found whole after that is of use to bolt.
func TestF2EveryPage(t *testing.T) {
	for name, o := range both() {
		t.Run(name, func(t *testing.T) {
			data := database(t, 60, o)
			size := os.Getpagesize()
			found := 0
			try := func(what string, damaged []byte) {
				t.Helper()
				err := check(damaged)
				if _, ok := errors.AsType[*boltcheck.Damage](err); err != nil && !ok {
					t.Errorf("%s: got %v, want a Damage", what, err)
				}
				if err != nil {
					found++
					return
				}
				use(t, damaged, o)
			}
			for at := 0; at < len(data); at += size {
				garbled, zeroed := bytes.Clone(data), bytes.Clone(data)
				copy(garbled[at:at+size], bytes.Repeat([]byte("garbled "), size/8))
				clear(zeroed[at : at+size])
				try(fmt.Sprintf("page %d garbled", at/size), garbled)
				try(fmt.Sprintf("page %d zeroed", at/size), zeroed)
				try(fmt.Sprintf("cut at page %d", at/size), data[:at])
				other := (at/size*7 + 3) % (len(data) / size) * size
				swapped := bytes.Clone(data)
				copy(swapped[at:at+size], data[other:other+size])
				try(fmt.Sprintf("page %d is page %d", at/size, other/size), swapped)
			}
			if found < len(data)/size {
				t.Errorf("got %d damages found in %d pages, want more", found, len(data)/size)
			}
			random := rand.New(rand.NewPCG(1, 2))
			for range 300 {
				flipped := bytes.Clone(data)
				for range 1 + random.IntN(8) {
					at := random.IntN(len(data)/size)*size + random.IntN(64) // where the headers are
					flipped[at] ^= 1 << random.IntN(8)
				}
				try("flipped bits", flipped)
			}
		})
	}
}

// TestF2NoDatabase refuses what was never one.
func TestF2NoDatabase(t *testing.T) {
	for name, data := range map[string][]byte{
		"a text":       []byte("#!/bin/sh\n"),
		"zeros":        make([]byte, 1<<20),
		"a short file": make([]byte, 100),
		"one byte":     {0},
	} {
		if _, ok := errors.AsType[*boltcheck.Damage](check(data)); !ok {
			t.Errorf("%s: got %v, want a Damage", name, check(data))
		}
	}
}

// failing is a disk that cannot read from a byte on.
type failing struct {
	data []byte
	at   int64
}

func (f failing) ReadAt(p []byte, off int64) (int, error) {
	if off+int64(len(p)) > f.at {
		return 0, errDisk
	}
	return bytes.NewReader(f.data).ReadAt(p, off)
}

var errDisk = errors.New("the disk fails")

// TestReadErrors are no damage.
func TestReadErrors(t *testing.T) {
	data := database(t, 100, *bolt.DefaultOptions)
	for at := range int64(len(data) / os.Getpagesize()) {
		err := boltcheck.Pages(failing{data, at * int64(os.Getpagesize())}, int64(len(data)))
		if err != nil && !errors.Is(err, errDisk) {
			t.Errorf("got %v where page %d cannot be read, want the error of the disk", err, at)
		}
	}
}

// TestBounds refuses what would cost too much to look at.
func TestBounds(t *testing.T) {
	data := database(t, 1, *bolt.DefaultOptions)
	if err := boltcheck.Pages(bytes.NewReader(data), 1<<40); err == nil {
		t.Error("got a database of a terabyte, want it refused")
	}
	long := bytes.Clone(data)
	for at := 2 * os.Getpagesize(); at < len(long); at += os.Getpagesize() {
		binary.NativeEndian.PutUint32(long[at+12:], 1<<30)
	}
	start := time.Now()
	if err := check(long); err == nil {
		t.Error("got pages that never end, want them refused")
	}
	if took := time.Since(start); took > time.Second {
		t.Errorf("got an answer after %s, want it at once", took)
	}
}

// FuzzPages damages a database at random. What is found whole must be of use.
func FuzzPages(f *testing.F) {
	data := database(f, 40, *bolt.DefaultOptions)
	f.Add(uint32(0), []byte("x"))
	f.Add(uint32(2*os.Getpagesize()+8), []byte{0, 0, 0xff, 0xff})
	f.Fuzz(func(t *testing.T, at uint32, with []byte) {
		damaged := bytes.Clone(data)
		copy(damaged[int(at)%len(damaged):], with)
		if check(damaged) == nil {
			use(t, damaged, *bolt.DefaultOptions)
		}
	})
}

func BenchmarkPages(b *testing.B) {
	data := database(b, 20000, bolt.Options{NoFreelistSync: true})
	b.SetBytes(int64(len(data)))
	for b.Loop() {
		if err := check(data); err != nil {
			b.Fatal(err)
		}
	}
}
