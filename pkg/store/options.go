package store

import "time"

// Options say which store to use. Root and Address exclude each other; with a
// Root there is no daemon.
type Options struct {
	// Address is the containerd socket, with or without "unix://".
	Address string
	// Root is the folder of an embedded store, laid out as containerd's root.
	Root string
	// Namespace is the containerd namespace; empty means "default".
	Namespace string
	// Snapshotter is empty for the namespace's default, else overlayfs.
	Snapshotter string
	// ConnectTimeout bounds the time to reach the daemon, at first and after it
	// went away; 0 means 10 s.
	ConnectTimeout time.Duration
}
