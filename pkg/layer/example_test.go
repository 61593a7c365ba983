package layer_test

import (
	"archive/tar"
	"bytes"
	"context"
	"fmt"
	"log"
	"os"
	"path/filepath"

	"github.com/containerd-pull/containerd-pull/pkg/layer"
)

// A layer adds a file to a directory that it does not list. The directory takes
// its mode from the layer below.
func Example() {
	work, err := os.MkdirTemp("", "layer")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(work)
	lower, upper := filepath.Join(work, "1"), filepath.Join(work, "2")

	open := func(root string) *os.File { // the process ends with the example
		dir, err := os.Open(root)
		if err != nil {
			log.Fatal(err)
		}
		return dir
	}

	apply := func(root string, whiteouts layer.Whiteouts, hdr tar.Header) layer.Result {
		if err := os.Mkdir(root, 0o755); err != nil {
			log.Fatal(err)
		}
		var stream bytes.Buffer
		w := tar.NewWriter(&stream)
		hdr.Uid, hdr.Gid = os.Geteuid(), os.Getegid()
		if err := w.WriteHeader(&hdr); err != nil {
			log.Fatal(err)
		}
		if err := w.Close(); err != nil {
			log.Fatal(err)
		}
		res, err := layer.Apply(context.Background(), layer.Folder(open(root)), &stream, layer.Options{Whiteouts: whiteouts})
		if err != nil {
			log.Fatal(err)
		}
		return res
	}
	apply(lower, layer.InPlace, tar.Header{Typeflag: tar.TypeDir, Name: "tmp/", Mode: 0o1777})
	res := apply(upper, layer.Overlay, tar.Header{Typeflag: tar.TypeReg, Name: "tmp/file", Mode: 0o644})

	mode := func() os.FileMode {
		info, err := os.Stat(filepath.Join(upper, "tmp"))
		if err != nil {
			log.Fatal(err)
		}
		return info.Mode()
	}
	fmt.Println(len(res.Implicit), "implicit:", mode())
	if err := layer.Inherit(layer.Folder(open(upper)), []layer.Reader{layer.Folder(open(lower))}, res.Implicit); err != nil {
		log.Fatal(err)
	}
	fmt.Println("inherited:", mode())
	// Output:
	// 1 implicit: drwxr-xr-x
	// inherited: dtrwxrwxrwx
}
