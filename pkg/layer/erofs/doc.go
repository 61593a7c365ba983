// Package erofs makes an EROFS image of a layer, the form in which containerd's erofs
// snapshotter keeps one: one file, however many the layer has.
//
// An [Image] is a [layer.System]: layer.Apply fills it, by the same rules as a folder,
// and where Linux has rules of its own for what is made in a folder (who owns it, what
// ACL it gets, what a change of owner takes away) the image keeps to those of ext4.
// Whiteouts are what overlayfs takes for them: character devices 0:0, and the attribute
// trusted.overlay.opaque. So images that are mounted as the lower layers of an overlay
// give the tree that upper directories would.
//
// The stream is read once. The data of files goes to the image as it comes, in whole
// blocks; what is small, and the inodes, names and attributes, is held in memory, up to
// a bound, until Finish writes it behind the data. Blocks of zeros become holes of the
// file. There is no compression: that would take the time that the format saves. Of
// the times of a file an image has that of its modification alone.
//
// The format is that of linux/fs/erofs/erofs_fs.h: blocks of 4096 bytes, extended
// inodes, content and names of up to half a block beside their inode.
package erofs
