//go:build linux

package main

// Main is the program, for the tests' own binary to become it.
func Main() { main() }
