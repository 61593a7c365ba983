// Package allowance bounds the time that hosts take for their answers: for each by
// itself, and for all tries and all documents of a pull together. It is a part of package
// registry.
//
// That each answer ends in time is not enough: a host that sends a byte now and then
// would be asked again as often as an outage deserves, and an image has many documents.
// A host that says nothing at all spends nothing here; how long it is waited for is a
// question of patience, which the caller has.
//
// Start reading at Wait, which is one answer, then Book.
package allowance

import (
	"context"
	"sync"
	"time"
)

const (
	// wholeStalls is how many stall time-outs an answer may take from its first byte to
	// its last, unless it is that of a blob.
	wholeStalls = 2
	// leastTogether is the least time that the answers of one host have together, for a
	// machine that is busy. Otherwise it is one and a half stall time-outs: with the
	// default of 30 s, a host that is slow on purpose is given up within a minute.
	leastTogether = 10 * time.Second
	// freeShare is the share of a stall time-out within which an answer costs nothing,
	// so that many documents that come at an ordinary pace cost nothing together.
	freeShare = 30
)

// Book has the accounts of many pulls, by the name of each. It is safe for many
// goroutines.
type Book struct {
	whole, total, free time.Duration

	mu    sync.Mutex
	pulls map[string]*accounts
}

// New returns an empty book for hosts that may say nothing for as long as stall.
func New(stall time.Duration) *Book {
	return &Book{whole: wholeStalls * stall, total: max(stall+stall/2, leastTogether), free: stall / freeShare, pulls: map[string]*accounts{}}
}

// Renew begins the accounts of a pull anew.
func (b *Book) Renew(pull string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	delete(b.pulls, pull)
}

// contextKey is the key under which a context has the accounts of a pull.
type contextKey struct{}

// Charge has the answers that are waited for in the context spend the time of a pull.
func (b *Book) Charge(ctx context.Context, pull string) context.Context {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.pulls[pull] == nil {
		b.pulls[pull] = &accounts{book: b, left: map[string]time.Duration{}}
	}
	return context.WithValue(ctx, contextKey{}, b.pulls[pull])
}

// accounts are those of one pull: the time that each host has left. A nil one has time
// without an end.
type accounts struct {
	book *Book

	mu   sync.Mutex
	left map[string]time.Duration // the total where there is none
}

// take takes an answer's time off what the host has left, and returns how long the next
// answer may take.
func (s *accounts) take(host string, took time.Duration) time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	left, ok := s.left[host]
	if !ok {
		left = s.book.total
	}
	left -= max(0, took-s.book.free)
	s.left[host] = left
	return max(left, s.book.free)
}
