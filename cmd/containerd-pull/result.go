package main

import (
	"sync"

	"github.com/containerd/platforms"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/containerd-pull/containerd-pull/pkg/progress"
	"github.com/containerd-pull/containerd-pull/pkg/pull"
)

// outcome is what became of one reference. It is plain data: all that is
// written about a pull is a function of it.
type outcome struct {
	job    job
	result *pull.Result // nil if err is not
	err    error
	// namespace and snapshotter are empty if no store was opened.
	namespace, snapshotter string
	account                account
}

// host is the platform whose ID is that of the image, for those who know one
// platform only: this machine's if it was pulled.
func (o outcome) host() pull.Platform {
	all := o.result.Platforms
	for _, p := range all {
		if platforms.Default().Match(platforms.Normalize(p.Platform)) {
			return p
		}
	}
	if len(all) == 0 {
		return pull.Platform{}
	}
	return all[0]
}

// account is what the events of a pull say beside its result. Of a pull that
// failed there is nothing else.
type account struct {
	target   ocispec.Descriptor // zero if the reference was not resolved
	host     string             // that resolved it
	retries  int
	warnings []string
	fetched  map[digest.Digest]bool // blobs that came over the network
	unpacked map[digest.Digest]bool // layers
}

// ledger keeps the accounts of a call by the names of its images.
type ledger struct {
	mu       sync.Mutex
	accounts map[string]*account
}

func newLedger() *ledger { return &ledger{accounts: make(map[string]*account)} }

// note is a progress.Sink.
func (l *ledger) note(e progress.Event) {
	switch e.Kind {
	case progress.Resolved, progress.Retry, progress.Warning, progress.FetchDone, progress.UnpackDone:
		l.mu.Lock()
		defer l.mu.Unlock()
		l.account(e.Ref).note(e)
	}
}

func (l *ledger) account(name string) *account {
	if l.accounts[name] == nil {
		l.accounts[name] = &account{fetched: map[digest.Digest]bool{}, unpacked: map[digest.Digest]bool{}}
	}
	return l.accounts[name]
}

// of closes the account of a name.
func (l *ledger) of(name string) account {
	l.mu.Lock()
	defer l.mu.Unlock()
	defer delete(l.accounts, name)
	return *l.account(name)
}

func (a *account) note(e progress.Event) {
	switch e.Kind {
	case progress.Resolved:
		a.target = ocispec.Descriptor{MediaType: e.MediaType, Digest: e.Digest, Size: e.Bytes.Total}
		a.host = e.Host
	case progress.Retry:
		a.retries++
	case progress.Warning:
		a.warnings = append(a.warnings, e.Message)
	case progress.FetchDone:
		a.fetched[e.Digest] = true
	case progress.UnpackDone:
		a.unpacked[e.Digest] = true
	}
}

// tee is a sink that hands each event to all of sinks.
func tee(sinks ...progress.Sink) progress.Sink {
	return func(e progress.Event) {
		for _, s := range sinks {
			s.Emit(e)
		}
	}
}
