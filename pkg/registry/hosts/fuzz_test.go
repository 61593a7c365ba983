package hosts_test

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/containerd-pull/containerd-pull/pkg/registry/hosts"
)

// FuzzHostsFile writes a mirror as hosts.toml and reads it back by containerd's
// reader: the hosts to be asked are those that the options alone mean.
func FuzzHostsFile(f *testing.F) {
	f.Add("https://mirror.example.com", "http://10.0.0.1:5000/v2/x", "X-Key", "canary", true, false, false, int64(0))
	f.Add("mirror.example.com/path", "[::1]:5000", "", "", false, true, true, int64(time.Second))
	f.Add("https://m.example.com:443/v2", "https://M.example.com", "x", "\"\n'''", false, false, false, int64(1))
	f.Add("http://x/%2f/'\"/é", "http://y/[host]", "x-key", "a = 'b'", true, true, false, int64(0))
	f.Add("https://same.example.com", "https://same.example.com", "", "", true, false, false, int64(0))
	f.Fuzz(func(t *testing.T, first, second, key, value string, resolve, override, skip bool, timeout int64) {
		m := hosts.Mirror{
			Host: "reg.example.com", Endpoints: []string{first, second}, Resolve: resolve, OverridePath: override,
			SkipVerify: skip, DialTimeout: time.Duration(timeout),
		}
		if key != "" {
			m.Headers = map[string]string{key: value}
		}
		o := hosts.Options{Mirrors: []hosts.Mirror{m}}
		if _, err := hosts.New(o); err != nil {
			return
		}
		files, err := hosts.Files(o, nil)
		if err != nil || len(files) != 1 {
			t.Fatalf("got %d files and %v for a mirror that may be used, want one", len(files), err)
		}
		dir := t.TempDir()
		if err := os.Mkdir(filepath.Join(dir, files[0].Name), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, files[0].Name, "hosts.toml"), files[0].Text, 0o600); err != nil {
			t.Fatal(err)
		}
		want, err := find(t, o, "reg.example.com/x")
		if err != nil {
			t.Fatalf("got %v of the options, want hosts", err)
		}
		got, err := find(t, hosts.Options{Dirs: []string{dir}}, "reg.example.com/x")
		// Names of headers are the same in any case, and http checks nothing.
		fold := cmpopts.AcyclicTransformer("fold", func(h shown) shown {
			h.Headers = slices.Clone(h.Headers)
			for i, name := range h.Headers {
				h.Headers[i] = strings.ToLower(name)
			}
			h.SkipVerify = h.SkipVerify && strings.HasPrefix(h.URL, "https:")
			return h
		})
		if diff := cmp.Diff(want, got, fold); err != nil || diff != "" {
			t.Errorf("got %v and other hosts (-want +got):\n%s\nfrom\n%s", err, diff, files[0].Text)
		}
	})
}
