package pull_test

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/containerd/errdefs"

	"github.com/containerd-pull/containerd-pull/pkg/internal/pulltest"
	"github.com/containerd-pull/containerd-pull/pkg/internal/pulltest/testregistry"
	"github.com/containerd-pull/containerd-pull/pkg/pull"
	"github.com/containerd-pull/containerd-pull/pkg/registry/hosts"
)

// TestTransferSpeaksAsTheEngines: with the same settings the daemon's transfer
// service asks a registry on loopback over the scheme that the other engines ask
// it over. A daemon before 2.0 has no such service of use.
func TestTransferSpeaksAsTheEngines(t *testing.T) {
	type setting struct {
		name   string
		secure bool   // the registry has a certificate
		toml   string // of its host, HOST and CA are replaced; empty for no directory
	}
	settings := []setting{
		{name: "no setting"},
		{name: "server in hosts.toml", toml: "server = \"http://HOST\"\n"},
		{name: "host in hosts.toml", toml: "server = \"http://HOST\"\n[host.\"http://HOST\"]\ncapabilities = [\"pull\", \"resolve\"]\n"},
		{name: "certificate in hosts.toml", secure: true, toml: "server = \"https://HOST\"\nca = \"CA\"\n"},
	}
	for _, version := range []string{"2.4", "1.7"} {
		t.Run(version, func(t *testing.T) {
			s := newSite(t, place{snapshotter: "overlayfs", version: version})
			for i, set := range settings {
				reg := testregistry.Start(t, testregistry.Options{TLS: set.secure})
				testregistry.Push(t, reg, "team/app:1", small(t, set.name, pulltest.Gzip, pulltest.Spec{}))
				host := reg.Host()
				if !set.secure {
					host = plainOnly(t, host)
				}
				s.options.Hosts = hosts.Options{Dirs: hostsDir(t, reg, host, set.toml)}
				ref := host + "/team/app:1"
				for _, engine := range []pull.Engine{pull.EngineTransfer, pull.EngineClient} {
					result, err := s.pull(ref, withEngine(engine))
					if engine == pull.EngineTransfer && version == "1.7" {
						if !errdefs.IsFailedPrecondition(err) || !strings.Contains(err.Error(), "2.0") {
							t.Errorf("%s: got %v, want that it takes containerd 2.0", set.name, err)
						}
						continue
					}
					if err != nil || result.Engine != engine {
						t.Errorf("%s: got %+v, %v by engine %s of %d", set.name, result, err, engine, i)
					}
				}
			}
		})
	}
}

// hostsDir is a hosts directory with a hosts.toml for the registry, none without
// a text.
func hostsDir(t *testing.T, reg *testregistry.Registry, host, text string) []string {
	t.Helper()
	if text == "" {
		return nil
	}
	dir := t.TempDir()
	of := filepath.Join(dir, host)
	ca := filepath.Join(of, "ca.pem")
	text = strings.NewReplacer("HOST", host, "CA", ca).Replace(text)
	if err := os.Mkdir(of, 0o755); err != nil {
		t.Fatal(err)
	}
	files := map[string]string{"hosts.toml": text}
	if strings.HasPrefix(reg.URL(), "https:") {
		files["ca.pem"] = string(reg.CA())
	}
	for name, content := range files {
		if err := os.WriteFile(filepath.Join(of, name), []byte(content), 0o644); err != nil {
			t.Fatal(fmt.Errorf("preparing the hosts directory: %w", err))
		}
	}
	return []string{dir}
}

// plainOnly returns an address on loopback of the plain server at address, which
// does not answer those who begin with TLS.
func plainOnly(t *testing.T, address string) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var running sync.WaitGroup
	t.Cleanup(func() { l.Close(); running.Wait() })
	running.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go passPlain(conn, address)
		}
	})
	return l.Addr().String()
}

func passPlain(conn net.Conn, address string) {
	defer conn.Close()
	const handshake = 0x16 // the first byte of TLS
	in := bufio.NewReader(conn)
	if first, err := in.Peek(1); err != nil || first[0] == handshake {
		return
	}
	to, err := net.Dial("tcp", address)
	if err != nil {
		return
	}
	defer to.Close()
	go io.Copy(to, in)
	io.Copy(conn, to)
}
