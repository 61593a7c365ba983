//go:build unix

package config

import (
	"io/fs"
	"syscall"
)

// ownerOf is the uid of a file's owner.
func ownerOf(info fs.FileInfo) int {
	return int(info.Sys().(*syscall.Stat_t).Uid)
}
