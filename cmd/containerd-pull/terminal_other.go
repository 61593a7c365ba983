//go:build !linux

package main

import (
	"errors"
	"io"
)

func isTerminal(io.Writer) bool { return false }

// mute refuses: a prompt that shows the password is worse than none.
func mute(int) (restore func(), err error) {
	return nil, errors.New("the echo of a terminal can be turned off on Linux only")
}
