// Package layer applies a layer, a tar stream, to a directory with the
// semantics of containerd's archive.Apply, which is its oracle: both refuse an
// archive or both make the same tree of it. The few exceptions are listed, each
// with its reason, beside the tests that compare the two.
//
// It does not decompress, hash or verify anything, and it neither prepares nor
// commits snapshots: see package unpack/pipeline for the former and package
// unpack for the latter.
//
// # How names become files
//
// An entry's parent is resolved inside the root, and everything else happens
// relative to a handle of that parent ([tree], file tree.go). The kernel
// resolves names that meet no symbolic link, by openat2 beneath the root. Names
// that do are rewritten link by link (resolve.go) by the rules of the oracle,
// whose answers differ from a kernel's where ".." follows a link. Nothing
// outside the root is ever created, followed or changed.
//
// # What an entry costs
//
// An ordinary file needs five system calls: create, stat, write, set times,
// close. Owner and mode are only set where the stat shows that they are not
// right already, so that the umask of the process, set-group-ID parents,
// default ACLs and mount options need no special care. Directories are handles
// of a small cache, so that a parent is looked up once and not per entry. What
// the layer takes up is counted on the way (usage.go), which takes whiteouts,
// hard links and files with extended attributes one more call.
//
// The package needs /proc and, as containerd's applier does, expects to be root
// unless the archive names no other owner and no device.
//
// layer.go is where to enter: Apply, whose run goes through the archive entry by
// entry (entry.go). What Apply could not know without the layers below, Inherit
// completes (inherit.go).
package layer
