package main

import "golang.org/x/sys/unix"

// mute turns the echo of a terminal off and returns what turns it on again.
func mute(fd int) (restore func(), err error) {
	state, err := unix.IoctlGetTermios(fd, unix.TCGETS)
	if err != nil {
		return nil, err
	}
	quiet := *state
	quiet.Lflag &^= unix.ECHO
	if err := unix.IoctlSetTermios(fd, unix.TCSETS, &quiet); err != nil {
		return nil, err
	}
	// A terminal that has gone away in the meantime needs no echo.
	return func() { _ = unix.IoctlSetTermios(fd, unix.TCSETS, state) }, nil
}
