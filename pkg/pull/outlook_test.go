package pull_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/opencontainers/go-digest"

	"github.com/containerd-pull/containerd-pull/pkg/internal/pulltest"
	"github.com/containerd-pull/containerd-pull/pkg/internal/pulltest/testregistry"
	"github.com/containerd-pull/containerd-pull/pkg/pull"
)

// outlook plans ref and checks that this leaves no lease and no ingest.
func (s *site) outlook(t *testing.T, ref string, edits ...func(*pull.Request)) *pull.Outlook {
	t.Helper()
	p := s.puller(nil)
	ready, err := p.Prepare(t.Context(), s.request(ref, edits...))
	if err != nil {
		t.Fatal(err)
	}
	before := [2]int{len(s.leases()), len(s.ingests())}
	o, err := p.Outlook(t.Context(), ready)
	if err != nil {
		t.Fatal(err)
	}
	if after := [2]int{len(s.leases()), len(s.ingests())}; after != before {
		t.Errorf("got %v leases and ingests after %v", after, before)
	}
	return o
}

// wantForeseen pulls ref and compares what was served with what was foreseen: the
// bytes of each blob, how many layers were unpacked, and whether anything changed.
func (s *site) wantForeseen(t *testing.T, reg *testregistry.Registry, ref string, nothing bool) {
	t.Helper()
	o := s.outlook(t, ref)
	if o.Nothing != nothing || o.Misfit != nil {
		t.Errorf("got nothing to do %v, misfit %v, want %v and none", o.Nothing, o.Misfit, nothing)
	}
	reg.ResetLog()
	result := s.mustPull(ref)
	served := map[digest.Digest]int64{}
	for _, req := range reg.Requests() {
		dgst := digest.Digest(req.Target())
		if _, wanted := o.Wanted[dgst]; wanted && req.Kind() == "blobs" {
			served[dgst] += req.Bytes
		}
	}
	for dgst := range o.Wanted {
		if served[dgst] != o.Fetch[dgst] {
			t.Errorf("blob %s: %d bytes were served, %d foreseen", dgst, served[dgst], o.Fetch[dgst])
		}
	}
	if want := pull.Sum(o.Fetch) + pull.Sum(o.Documents); result.Fetched != want {
		t.Errorf("%d bytes were fetched, %d foreseen", result.Fetched, want)
	}
	if result.Engine != o.Engine {
		t.Errorf("engine %s worked, %s was foreseen", result.Engine, o.Engine)
	}
	if bytes, exact := o.Unpacked(); exact && bytes != result.Unpacked {
		t.Errorf("%d bytes were unpacked, exactly %d foreseen", result.Unpacked, bytes)
	}
}

// TestOutlookIsWhatIsServed compares plans of stores in each state with the pulls
// after them.
func TestOutlookIsWhatIsServed(t *testing.T) {
	for _, c := range []pulltest.Compression{pulltest.Gzip, pulltest.Uncompressed} {
		img := pulltest.SmallVariant(pulltest.Spec{}, c, "foreseen")
		layers, chain := manifestOf(t, img).Layers, img.ChainIDs()
		top := layers[len(layers)-1]
		t.Run("compression "+string(c), func(t *testing.T) {
			each(t, twoPlaces(), func(t *testing.T, s *site) {
				reg := testregistry.Start(t, testregistry.Options{})
				ref := testregistry.Push(t, reg, "team/app:1", img)
				blob := filepath.Join(s.root, "io.containerd.content.v1.content/blobs/sha256", top.Digest.Encoded())

				s.wantForeseen(t, reg, ref, false) // cold
				s.wantForeseen(t, reg, ref, true)  // present
				s.remove(t, top.Digest, chain[len(chain)-1])
				s.wantForeseen(t, reg, ref, false) // partly present
				if err := os.Truncate(blob, top.Size/2); err != nil {
					t.Fatal(err)
				}
				s.wantForeseen(t, reg, ref, false) // damaged
				if err := os.Remove(blob); err != nil {
					t.Fatal(err)
				}
				s.wantForeseen(t, reg, ref, false)
				if o := s.outlook(t, ref); !o.Nothing || o.Present() != pull.Sum(o.Wanted) {
					t.Errorf("got %+v, want that all is present", o.Load)
				}
			})
		})
	}
}

// TestLoadsAddUp: what two images share counts once.
func TestLoadsAddUp(t *testing.T) {
	a := pull.Load{Fetch: map[digest.Digest]int64{"a": 1, "b": 2}, Unpack: map[digest.Digest]pull.Unpacked{"x": {Bytes: 3, Exact: true}}}
	b := pull.Load{Fetch: map[digest.Digest]int64{"b": 2, "c": 4}, Unpack: map[digest.Digest]pull.Unpacked{"x": {Bytes: 3, Exact: true}, "y": {Bytes: 8}}}
	var all pull.Load
	all.Add(a)
	all.Add(b)
	n, exact := all.Unpacked()
	if pull.Sum(all.Fetch) != 7 || n != 11 || exact {
		t.Errorf("got %d bytes to fetch, %d to unpack, exact %v; want 7, 11 and not", pull.Sum(all.Fetch), n, exact)
	}
}
