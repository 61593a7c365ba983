package pull_test

import (
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/containerd-pull/containerd-pull/pkg/internal/pulltest"
	"github.com/containerd-pull/containerd-pull/pkg/internal/pulltest/testregistry"
)

// quarrel is what a mirror and a registry do, either of which may send wrong bytes of
// a layer and break, and how a pull from the two ends.
type quarrel struct {
	name             string
	mirror, registry []testregistry.Behaviour // for the layer, honest behind the end of the list
	alive            int64                    // requests for the layer, before the network is dead; 0 is for ever
	code             int
	says             string
}

func quarrels(layer pulltest.Blob, half testregistry.Behaviour) []quarrel {
	always := func(b testregistry.Behaviour) []testregistry.Behaviour {
		return slices.Repeat([]testregistry.Behaviour{b}, 40)
	}
	after := func(b testregistry.Behaviour) []testregistry.Behaviour {
		return append([]testregistry.Behaviour{half}, always(b)...)
	}
	cut := []testregistry.Behaviour{{Fault: testregistry.Truncate, After: layer.Size / 2}}
	corrupt := always(testregistry.Behaviour{Fault: testregistry.Corrupt, After: layer.Size / 4})
	refuses, gone, dies := testregistry.Behaviour{Status: http.StatusForbidden}, testregistry.Behaviour{Status: http.StatusNotFound}, testregistry.Behaviour{Fault: testregistry.Reset}
	return []quarrel{
		{"mirror cut once and registry wrong", cut, corrupt, 0, 0, ""},
		{"mirror cut once and registry without it", cut, always(gone), 0, 0, ""},
		{"mirror wrong and refuses", after(refuses), nil, 0, 0, ""},
		{"mirror wrong and 404", after(gone), nil, 0, 0, ""},
		{"mirror wrong and dies", after(dies), nil, 0, 0, ""},
		{"mirror wrong and registry cut", after(refuses), cut, 0, 0, ""},
		{"mirror without it and registry wrong", always(gone), corrupt, 0, 8, "wrong bytes"},
		{"both wrong", corrupt, corrupt, 0, 8, "wrong bytes"},
		{"neither has it", always(gone), always(gone), 0, 4, "404"},
		{"network dead after wrong bytes", after(refuses), nil, 2, 7, "wrong bytes came from"},
	}
}

// TestBlameEndsWithTheRightCode pulls and unpacks with the command from a mirror and a
// registry: what one of them can serve is pulled, what neither can is damage or is not
// there, and a network that dies is the network.
func TestBlameEndsWithTheRightCode(t *testing.T) {
	pulltest.Need(t, pulltest.Root)
	program := build(t)
	each(t, twoPlaces(), func(t *testing.T, s *site) {
		for i := range quarrels(pulltest.Blob{}, testregistry.Behaviour{}) {
			img := quarrelImage(byte(i))
			layer := img.Layers[0].Blob
			q := quarrels(layer, halfWrong(t, layer))[i]
			t.Run(q.name, func(t *testing.T) {
				part := *s
				part.t = t
				defer part.close() // a root is the next command's
				q.play(t, &part, program, img)
			})
		}
	})
}

// quarrelImage has one layer that cannot be compressed, other bytes for each seed.
func quarrelImage(seed byte) *pulltest.Image {
	noise := make([]byte, bulk)
	rand.NewChaCha8([32]byte{seed, 17}).Read(noise) // never fails
	return pulltest.NewImage(pulltest.Spec{Layers: []pulltest.Layer{pulltest.NewLayer(pulltest.Uncompressed, pulltest.Regular("noise", string(noise)))}})
}

func (q quarrel) play(t *testing.T, s *site, program string, img *pulltest.Image) {
	var asked atomic.Int64
	layer := testregistry.Object(img.Layers[0].Digest)
	behave := func(list []testregistry.Behaviour) testregistry.Behave {
		alive := testregistry.Sequence(layer, list...)
		return func(r *http.Request) testregistry.Behaviour {
			if layer(r) && asked.Add(1) > q.alive && q.alive > 0 {
				return testregistry.Behaviour{Fault: testregistry.Reset}
			}
			return alive(r)
		}
	}
	reg := testregistry.Start(t, testregistry.Options{Behave: behave(q.registry)})
	mirror := testregistry.StartMirror(t, reg, testregistry.Options{Addr: "127.0.0.2:0", Behave: behave(q.mirror)})
	ref := testregistry.Push(t, reg, "team/app:1", img)
	c := s.command(program, ref, "--hosts-dir", mirrored(t, reg, mirror), "--retry", "3", "--retry-delay", "1ms")
	if code := c.code(t); code != q.code || !strings.Contains(c.stderr.String(), q.says) {
		t.Errorf("got exit code %d, want %d and %q: %s", code, q.code, q.says, &c.stderr)
	}
	if mirror.BlobGets()[img.Layers[0].Digest] == 0 || reg.BlobGets()[img.Layers[0].Digest] == 0 {
		t.Errorf("got %d and %d requests for the layer, want some at both", mirror.BlobGets()[img.Layers[0].Digest], reg.BlobGets()[img.Layers[0].Digest])
	}
	if got := s.image(ref); (got != nil) != (q.code == 0) {
		t.Errorf("got record %+v after exit code %d", got, q.code)
	}
}

// halfWrong sends the first half of a blob with a wrong byte, and cuts.
func halfWrong(t *testing.T, b pulltest.Blob) testregistry.Behaviour {
	t.Helper()
	body, err := b.Open()
	if err != nil {
		t.Fatal(err)
	}
	defer body.Close()
	data, err := io.ReadAll(body)
	if err != nil {
		t.Fatal(err)
	}
	data[len(data)/4] ^= 1
	return testregistry.Behaviour{Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Accept-Ranges", "bytes")
		w.Header().Set("Content-Length", fmt.Sprint(len(data)))
		w.Write(data[:len(data)/2]) // the connection is cut where the length is not reached
	})}
}

// mirrored is a hosts directory in which the registry has a mirror.
func mirrored(t *testing.T, reg, mirror *testregistry.Registry) string {
	t.Helper()
	dir := t.TempDir() // no comma: that would make it two
	folder := filepath.Join(dir, reg.Host())
	if err := os.MkdirAll(folder, 0o700); err != nil {
		t.Fatal(err)
	}
	text := fmt.Sprintf("server = %q\n[host.%q]\ncapabilities = [\"pull\"]\n", reg.URL(), mirror.URL())
	if err := os.WriteFile(filepath.Join(folder, "hosts.toml"), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return dir
}
