package credential

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"

	"github.com/containerd-pull/containerd-pull/pkg/source"
)

// Shared is what the Finders of one call have in common. The zero value works,
// and remembers what programs answered until it is dropped: helpers are slow,
// and some ask a person. Nothing of it is written anywhere.
type Shared struct {
	// Warn takes, once in the call, what ends no pull of ref and should be known.
	// It may be nil.
	Warn func(ref source.Ref, message string)
	// Pause is called before a program may use the terminal, and what it returns
	// afterwards. It may be nil.
	Pause func() (resume func())

	mu       sync.Mutex
	answers  map[string]*answer
	warned   map[string]bool
	terminal sync.Mutex // one program at a time may use it
}

// answer is what one program answered to one question. The turn belongs to the
// request that looks at it.
type answer struct {
	turn  chan struct{}
	known bool
	out   []byte
	err   error
}

// ask runs p unless its answer is known, a failure included. Only the end of ctx
// is no answer.
func (s *Shared) ask(ctx context.Context, p program) ([]byte, error) {
	a := s.answer(p.key())
	release, err := a.take(ctx)
	if err != nil {
		return nil, err
	}
	defer release()
	if a.known {
		return a.out, a.err
	}
	out, err := s.run(ctx, p)
	if ctx.Err() == nil {
		a.keep(out, err)
	}
	return out, err
}

// take waits for the turn; release gives it back.
func (a *answer) take(ctx context.Context) (release func(), err error) {
	select {
	case a.turn <- struct{}{}:
		return func() { <-a.turn }, nil
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

func (a *answer) keep(out []byte, err error) { a.out, a.err, a.known = out, err, true }

func (s *Shared) answer(key string) *answer {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.answers == nil {
		s.answers = map[string]*answer{}
	}
	a := s.answers[key]
	if a == nil {
		a = &answer{turn: make(chan struct{}, 1)}
		s.answers[key] = a
	}
	return a
}

// key identifies a program and what it is asked.
func (p program) key() string {
	return strings.Join(slices.Concat([]string{p.path, p.stdin}, p.args, []string{""}, p.env), "\x00")
}

// run lets p use the terminal if there is one, alone and with the display out of
// its way.
func (s *Shared) run(ctx context.Context, p program) ([]byte, error) {
	if p.detached {
		return p.output(ctx, nil)
	}
	tty := openTerminal()
	if tty == nil {
		return p.output(ctx, nil)
	}
	defer tty.Close()
	s.terminal.Lock()
	defer s.terminal.Unlock()
	if s.Pause != nil {
		defer s.Pause()()
	}
	return p.output(ctx, tty)
}

// warn says something about the search for q once in the call.
func (q question) warn(format string, args ...any) {
	s, message := q.shared, fmt.Sprintf(format, args...)
	s.mu.Lock()
	known := s.warned[message]
	if s.warned == nil {
		s.warned = map[string]bool{}
	}
	s.warned[message] = true
	s.mu.Unlock()
	if s.Warn != nil && !known {
		s.Warn(q.ref, message)
	}
}
