package fetch_test

import (
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/containerd/errdefs"

	"github.com/containerd-pull/containerd-pull/pkg/fetch"
	"github.com/containerd-pull/containerd-pull/pkg/internal/pulltest/testregistry"
	"github.com/containerd-pull/containerd-pull/pkg/progress"
	"github.com/containerd-pull/containerd-pull/pkg/registry"
	"github.com/containerd-pull/containerd-pull/pkg/registry/hosts"
)

// wrongUpTo answers from offset 0 with a wrong byte and a cut after n bytes, and
// what comes later as rest says.
func wrongUpTo(data []byte, n int, rest testregistry.Behaviour) testregistry.Behave {
	wrong := append([]byte{^data[0]}, data[1:n]...)
	return func(r *http.Request) testregistry.Behaviour {
		if from := r.Header.Get("Range"); from != "" && !strings.HasPrefix(from, "bytes=0-") {
			return rest
		}
		return testregistry.Behaviour{Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Accept-Ranges", "bytes")
			w.Header().Set("Content-Length", fmt.Sprint(len(data)))
			w.Write(wrong) // the connection is cut where the length is not reached
		})}
	}
}

// afterWrong is what a host does after it has sent wrong bytes.
func afterWrong() map[string]testregistry.Behaviour {
	status := func(code int) testregistry.Behaviour { return testregistry.Behaviour{Status: code} }
	return map[string]testregistry.Behaviour{
		"goes on": {}, "403": status(http.StatusForbidden), "404": status(http.StatusNotFound), "500": status(http.StatusInternalServerError),
		"cut": {Fault: testregistry.Truncate}, "reset": {Fault: testregistry.Reset}, "short": {Fault: testregistry.Short, After: 10},
	}
}

// mirrored puts a mirror before the registry and keeps patience short.
func (b *bench) mirrored(behave testregistry.Behave) *testregistry.Registry {
	b.t.Helper()
	mirror := testregistry.StartMirror(b.t, b.reg, testregistry.Options{Addr: "127.0.0.2:0", Behave: behave})
	b.options.Hosts.Mirrors = []hosts.Mirror{{Host: b.reg.Host(), Endpoints: []string{mirror.URL()}}}
	b.options.Retry = registry.Retry{Count: 3, Delay: time.Millisecond}
	b.options.Progress = b.emit
	return mirror
}

// isBlamed reports whether an event says that host served wrong bytes.
func (b *bench) isBlamed(host string) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, e := range b.events {
		if e.Kind == progress.HostFailed && e.Host == host && (e.Reason == "digest" || e.Reason == "short") {
			return true
		}
	}
	return false
}

// retries counts the waits for another try.
func (b *bench) retries() (n int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, e := range b.events {
		if e.Kind == progress.Retry {
			n++
		}
	}
	return n
}

// lengths are those of blobs by the number of connections: more than a piece for several.
func lengths() map[int]int { return map[int]int{1: size / 8, 4: fetch.PieceSize + 12345} }

// TestBlameOfMirrors brings a blob whose first half a mirror sends wrong, whatever
// it does then, and blames the mirror only for what it sent alone.
func TestBlameOfMirrors(t *testing.T) {
	for name, rest := range afterWrong() {
		for conns, length := range lengths() {
			t.Run(fmt.Sprintf("%s over %d", name, conns), func(t *testing.T) {
				each(t, length, func(t *testing.T, b *bench) {
					sent := length / 2
					if name == "goes on" {
						sent = length
					}
					mirror := b.mirrored(wrongUpTo(b.data, sent, rest))
					f := b.fetcher()
					f.BeginWith(conns)
					n, err := f.Store(b.ctx, b.blob, nil)
					if err != nil {
						t.Fatal(err)
					}
					b.stored()
					if n > int64(2*length) {
						t.Errorf("got %d bytes fetched, want the blob twice at most, %d", n, 2*length)
					}
					if proven := name == "goes on"; b.isBlamed(mirror.Host()) != proven {
						t.Errorf("got the mirror blamed: %v, want %v", !proven, proven)
					}
				})
			})
		}
	}
}

// TestBlameOfBoth names both hosts where neither has the blob.
func TestBlameOfBoth(t *testing.T) {
	for name, rest := range afterWrong() {
		t.Run(name, func(t *testing.T) {
			each(t, size, func(t *testing.T, b *bench) {
				mirror := b.mirrored(wrongUpTo(b.data, size/2, rest))
				b.reg.SetBehave(testregistry.Always(testregistry.Blobs, testregistry.Behaviour{Fault: testregistry.Corrupt, After: size / 4}))
				_, err := b.fetcher().Store(b.ctx, b.blob, nil)
				if !errdefs.IsDataLoss(err) || !strings.Contains(err.Error(), mirror.Host()) || !strings.Contains(err.Error(), b.reg.Host()) {
					t.Errorf("got %v, want data loss that names %s and %s", err, mirror.Host(), b.reg.Host())
				}
			})
		})
	}
}

// conduct is what a host does, all the time, with requests for a blob.
type conduct struct {
	name   string
	serves bool             // the blob can be had from it alone
	wrong  bool             // it sends wrong bytes, or fewer than it says
	fails  func(error) bool // the class of its failure, for one that does not serve
	behave func(half int64) testregistry.Behave
}

func conducts() []conduct {
	always := func(b testregistry.Behaviour) func(int64) testregistry.Behave {
		return func(int64) testregistry.Behave { return testregistry.Always(testregistry.Blobs, b) }
	}
	return []conduct{
		{"honest", true, false, nil, always(testregistry.Behaviour{})},
		{"cut", true, false, nil, func(half int64) testregistry.Behave {
			return testregistry.Times(2, testregistry.Blobs, testregistry.Behaviour{Fault: testregistry.Truncate, After: half})
		}},
		{"corrupt", false, true, errdefs.IsDataLoss, always(testregistry.Behaviour{Fault: testregistry.Corrupt, After: 1000})},
		// A part that is shorter than its own header says is no answer of a registry.
		{"short", false, true, func(err error) bool { return errdefs.IsDataLoss(err) || errdefs.IsInvalidArgument(err) }, always(testregistry.Behaviour{Fault: testregistry.Short, After: 1000})},
		{"404 in the middle", false, false, errdefs.IsNotFound, func(half int64) testregistry.Behave {
			return func(r *http.Request) testregistry.Behaviour {
				if from := r.Header.Get("Range"); from != "" && !strings.HasPrefix(from, "bytes=0-") {
					return testregistry.Behaviour{Status: http.StatusNotFound}
				}
				return testregistry.Behaviour{Fault: testregistry.Truncate, After: half}
			}
		}},
	}
}

// TestBlameOfPairs brings a blob from each pair of conducts of a mirror and a
// registry, over one connection and several: it comes where one of the two has it,
// and only who sent wrong bytes is blamed.
func TestBlameOfPairs(t *testing.T) {
	each(t, 1, func(t *testing.T, b *bench) {
		for _, mirror := range conducts()[1:] { // behind an honest one, no other is asked
			for _, own := range conducts() {
				for conns, length := range lengths() {
					t.Run(fmt.Sprintf("%s and %s over %d", mirror.name, own.name, conns), func(t *testing.T) {
						b.another(t, length).pair(mirror, own, conns)
					})
				}
			}
		}
	})
}

// pair brings the blob from two hosts.
func (b *bench) pair(mirror, own conduct, conns int) {
	b.t.Helper()
	half := b.blob.Desc.Size / 2
	first := b.mirrored(mirror.behave(half))
	b.reg.SetBehave(own.behave(half))
	f := b.fetcher()
	f.BeginWith(conns)
	n, err := f.Store(b.ctx, b.blob, nil)
	switch {
	case mirror.serves || own.serves:
		if err != nil {
			b.t.Fatal(err)
		}
		b.stored()
	case mirror.wrong && errdefs.IsDataLoss(err), own.fails != nil && own.fails(err):
	default:
		b.t.Errorf("got %v, want damage, or why the registry does not serve it", err)
	}
	if b.isBlamed(first.Host()) && !mirror.wrong || b.isBlamed(b.reg.Host()) && !own.wrong {
		b.t.Error("got a host blamed that sent no wrong bytes")
	}
	if most := 4 * b.blob.Desc.Size; n > most {
		b.t.Errorf("got %d bytes fetched, want %d at most", n, most)
	}
}

// TestBlameOfRegistries brings a blob that the registry always sends wrong, and the
// mirror only after it was cut once: the mirror is waited for.
func TestBlameOfRegistries(t *testing.T) {
	each(t, size, func(t *testing.T, b *bench) {
		mirror := b.mirrored(testregistry.Sequence(testregistry.Blobs, testregistry.Behaviour{Fault: testregistry.Truncate, After: size / 2}))
		b.reg.SetBehave(testregistry.Always(testregistry.Blobs, testregistry.Behaviour{Fault: testregistry.Corrupt, After: size / 4}))
		if _, err := b.fetcher().Store(b.ctx, b.blob, nil); err != nil {
			t.Fatal(err)
		}
		b.stored()
		if b.isBlamed(mirror.Host()) || b.reg.BlobBytes() == 0 {
			t.Errorf("got %d bytes of the registry, want some, and the mirror without blame", b.reg.BlobBytes())
		}
	})
}

// TestDeadNetworkAfterWrongBytes ends with the failure of the network, after one
// budget of tries and what a last wait adds to it, wherever the network dies.
func TestDeadNetworkAfterWrongBytes(t *testing.T) {
	for name, alive := range map[string]int{"after wrong bytes of both": 2, "in the blob that one is to send alone": 3} {
		t.Run(name, func(t *testing.T) {
			each(t, size, func(t *testing.T, b *bench) {
				var asked atomic.Int64
				dying := func(behave testregistry.Behave) testregistry.Behave {
					return func(r *http.Request) testregistry.Behaviour {
						if testregistry.Blobs(r) && asked.Add(1) > int64(alive) {
							return testregistry.Behaviour{Fault: testregistry.Reset}
						}
						return behave(r)
					}
				}
				mirror := b.mirrored(dying(wrongUpTo(b.data, size/2, testregistry.Behaviour{Status: http.StatusForbidden})))
				b.options.Retry.Count = 5
				b.reg.SetBehave(dying(testregistry.Sequence(testregistry.Blobs, testregistry.Behaviour{}, testregistry.Behaviour{Fault: testregistry.Truncate, After: size / 4})))
				_, err := b.fetcher().Store(b.ctx, b.blob, nil)
				if !errdefs.IsUnavailable(err) || errdefs.IsDataLoss(err) || !strings.Contains(err.Error(), "wrong bytes came from "+mirror.Host()) {
					t.Errorf("got %v, want a failure of the network that names who sent wrong bytes before", err)
				}
				if n := b.retries(); n > 1+b.options.Retry.Count+1 {
					t.Errorf("got %d more tries, want one behind the cut, %d, and one of another host", n, b.options.Retry.Count)
				}
			})
		})
	}
}

// TestBlameOfEarlierPulls falls on no host: where the wrong bytes came from is not
// known.
func TestBlameOfEarlierPulls(t *testing.T) {
	each(t, size, func(t *testing.T, b *bench) {
		mirror := b.mirrored(nil)
		w := b.ingest()
		if _, err := w.Write(noise(size / 2)[:size/2-1]); err != nil {
			t.Fatal(err)
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		if _, err := b.fetcher().Store(b.ctx, b.blob, nil); err != nil {
			t.Fatal(err)
		}
		b.stored()
		if b.isBlamed(mirror.Host()) || b.reg.BlobBytes() != 0 {
			t.Errorf("got %d bytes of the registry, want the mirror trusted again", b.reg.BlobBytes())
		}
	})
}

// TestBlameByPlan lets a mirror answer by random plans, wrong or broken at random
// places. The registry is honest, so the blob always comes.
func TestBlameByPlan(t *testing.T) {
	for seed := range uint64(12) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			each(t, size, func(t *testing.T, b *bench) {
				rng := rand.New(rand.NewPCG(seed, 17))
				faults := []testregistry.Fault{testregistry.Corrupt, testregistry.Truncate, testregistry.Reset, testregistry.Honest}
				plan := []testregistry.Behaviour{{Handler: wrongUpTo(b.data, 1+rng.IntN(size-1), testregistry.Behaviour{})(&http.Request{}).Handler}}
				for range rng.IntN(8) {
					plan = append(plan, testregistry.Behaviour{Fault: faults[rng.IntN(len(faults))], After: rng.Int64N(size)})
				}
				b.mirrored(testregistry.Sequence(testregistry.Blobs, plan...))
				in := b.open()
				defer in.Close()
				for round := 0; ; round++ {
					err := in.Receive(b.ctx, io.Discard)
					if err == nil {
						break
					}
					if !errdefs.IsDataLoss(err) || round == 3 {
						t.Fatal(err)
					}
				}
				if err := in.Commit(b.ctx, nil); err != nil {
					t.Fatal(err)
				}
				b.stored()
			})
		})
	}
}

// TestBlameAfterGivingUp knows whose bytes an ingest holds that was closed in the
// middle, as that of a layer is which cannot be unpacked.
func TestBlameAfterGivingUp(t *testing.T) {
	each(t, size, func(t *testing.T, b *bench) {
		mirror := b.mirrored(wrongUpTo(b.data, size/2, testregistry.Behaviour{Status: http.StatusForbidden}))
		f := b.fetcher()
		stop := errors.New("cannot be unpacked")
		in, err := f.Open(b.ctx, b.blob)
		if err != nil {
			t.Fatal(err)
		}
		if err := in.Receive(b.ctx, failing{stop}); !errors.Is(err, stop) {
			t.Fatalf("got %v, want the consumer's error", err)
		}
		if err := in.Close(); err != nil {
			t.Fatal(err)
		}
		if n, err := f.Store(b.ctx, b.blob, nil); err != nil || n > 2*size {
			t.Fatalf("got %d bytes fetched and %v, want the rest and the blob", n, err)
		}
		b.stored()
		if b.isBlamed(mirror.Host()) {
			t.Error("got the mirror blamed, want it under suspicion only")
		}
	})
}

type failing struct{ err error }

func (f failing) Write([]byte) (int, error) { return 0, f.err }
