package main

import "golang.org/x/sys/unix"

// mute turns the echo of a terminal off, so that what is typed before the
// prompt is read does not show either.
func mute(fd int) error {
	state, err := unix.IoctlGetTermios(fd, unix.TCGETS)
	if err != nil {
		return err
	}
	state.Lflag &^= unix.ECHO
	return unix.IoctlSetTermios(fd, unix.TCSETS, state)
}
