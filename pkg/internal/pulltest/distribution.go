package pulltest

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// Distribution is distribution's registry in a process of its own, with its
// storage in a temporary folder. It speaks plain HTTP on loopback.
type Distribution struct {
	addr    string
	dir     string
	process *process
}

// NewDistribution starts the registry and waits until it answers. The caller
// closes it.
func NewDistribution(ctx context.Context) (*Distribution, error) {
	program, err := Tool("registry")
	if err != nil {
		return nil, err
	}
	addr, err := freeAddr()
	if err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp("", "distribution")
	if err != nil {
		return nil, fmt.Errorf("starting registry: %w", err)
	}
	d := &Distribution{addr: addr, dir: dir}
	if err := d.start(ctx, program); err != nil {
		return nil, errors.Join(err, d.Close())
	}
	return d, nil
}

// freeAddr is an address that was free a moment ago: the registry cannot say
// which port it chose.
func freeAddr() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", fmt.Errorf("finding a free port: %w", err)
	}
	return l.Addr().String(), l.Close()
}

func (d *Distribution) start(ctx context.Context, program string) error {
	config := filepath.Join(d.dir, "config.yml")
	text := fmt.Sprintf("version: 0.1\nlog: {level: error, accesslog: {disabled: true}}\n"+
		"storage: {filesystem: {rootdirectory: %q}, delete: {enabled: true}}\nhttp: {addr: %q}\n",
		filepath.Join(d.dir, "storage"), d.addr)
	if err := os.WriteFile(config, []byte(text), 0o644); err != nil {
		return fmt.Errorf("configuring registry: %w", err)
	}
	env := []string{"OTEL_TRACES_EXPORTER=none"}
	p, err := startProcess(filepath.Join(d.dir, "log"), env, program, "serve", config)
	if err != nil {
		return err
	}
	d.process = p
	return d.wait(ctx)
}

func (d *Distribution) wait(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	for {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, d.URL()+"/v2/", nil)
		if err != nil {
			return err
		}
		resp, err := http.DefaultClient.Do(req)
		if err == nil {
			return resp.Body.Close()
		}
		if dead := d.process.dead(); dead != nil {
			return dead
		}
		if !pause(ctx, 20*time.Millisecond) {
			return fmt.Errorf("waiting for registry: %w\n%s", err, tail(d.process.log, 20))
		}
	}
}

// Host is what stands before the first slash of a reference.
func (d *Distribution) Host() string { return d.addr }

// URL is the registry's address with its scheme.
func (d *Distribution) URL() string { return "http://" + d.addr }

// Ref completes "repository:tag" to a reference.
func (d *Distribution) Ref(name string) string { return d.addr + "/" + name }

// Push uploads the image under "repository:tag".
func (d *Distribution) Push(ctx context.Context, name string, img *Image) error {
	return PushHTTP(ctx, http.DefaultClient, d.URL(), name, img)
}

// Close stops the registry and removes its storage.
func (d *Distribution) Close() error {
	var err error
	if d.process != nil {
		err = d.process.stop()
	}
	return errors.Join(err, os.RemoveAll(d.dir))
}

// StartDistribution starts a registry that ends with the test.
func StartDistribution(t testing.TB) *Distribution {
	t.Helper()
	Need(t, Tools("registry"))
	d := Must(NewDistribution(t.Context()))(t)
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("registry wrote:\n%s", tail(filepath.Join(d.dir, "log"), 60))
		}
		if err := d.Close(); err != nil {
			t.Errorf("closing registry: %v", err)
		}
	})
	return d
}
