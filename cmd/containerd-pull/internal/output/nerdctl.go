package output

import (
	"context"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/containerd/containerd/v2/core/images"
	"github.com/containerd/containerd/v2/core/remotes"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/containerd-pull/containerd-pull/pkg/batch"
	"github.com/containerd-pull/containerd-pull/pkg/pull"
)

// The states of a node in nerdctl's frame.
const (
	nodeExists    = "already exists"
	nodeComplete  = "complete"
	nodeExtracted = "extracted"
)

// nerdctlFrame is the last frame that "nerdctl pull" shows: the tree of the
// image under its name.
type nerdctlFrame struct {
	name    string
	target  ocispec.Descriptor
	nodes   []frameNode
	total   int64 // bytes of the tree
	elapsed time.Duration
}

type frameNode struct {
	name     string
	state    string
	children []frameNode
}

// frameOf returns the frame of an image that was pulled.
func frameOf(o batch.Outcome) nerdctlFrame {
	r := o.Result
	f := nerdctlFrame{name: r.Name, target: r.Target, total: r.Fetched + r.Reused, elapsed: r.Duration}
	for _, p := range r.Platforms {
		f.nodes = append(f.nodes, manifestNode(o, p))
	}
	if images.IsIndexType(r.Target.MediaType) {
		f.nodes = []frameNode{{nodeName(r.Target), targetState(o), f.nodes}}
	}
	return f
}

func manifestNode(o batch.Outcome, p pull.Platform) frameNode {
	manifest := ocispec.Descriptor{MediaType: ocispec.MediaTypeImageManifest, Digest: p.Manifest}
	config := ocispec.Descriptor{MediaType: ocispec.MediaTypeImageConfig, Digest: p.Config}
	node := frameNode{nodeName(manifest), blobState(o, p.Manifest), []frameNode{{nodeName(config), blobState(o, p.Config), nil}}}
	if p.Manifest == o.Result.Target.Digest {
		node.state = targetState(o)
	}
	seen := map[digest.Digest]bool{}
	for _, l := range p.Layers {
		if !seen[l.Digest] {
			node.children = append(node.children, frameNode{nodeName(l), blobState(o, l.Digest), nil})
			seen[l.Digest] = true
		}
	}
	return node
}

// targetState returns the state of the target, which is fetched even if it is
// in the store.
func targetState(o batch.Outcome) string {
	if !o.Result.NewTarget() {
		return nodeExists
	}
	return blobState(o, o.Result.Target.Digest)
}

func blobState(o batch.Outcome, dgst digest.Digest) string {
	switch {
	case o.Observed.Unpacked[dgst]:
		return nodeExtracted
	case o.Observed.Fetched[dgst]:
		return nodeComplete
	}
	return nodeExists
}

// nodeName returns the name under which containerd fetches a blob.
func nodeName(desc ocispec.Descriptor) string {
	return remotes.MakeRefKey(context.Background(), desc)
}

// write writes the frame as nerdctl 2.3.5 does, without colour.
func (f nerdctlFrame) write(w io.Writer) {
	fmt.Fprintf(w, "%s\tsaved\t\n", f.name)
	fresh := writeNodes(w, "", f.nodes)
	fmt.Fprintf(w, "%s %s\n", f.target.MediaType, f.target.Digest)
	status := "Pulling"
	if fresh {
		status = "Completed pull"
	}
	elapsed := max(f.elapsed, time.Millisecond)
	fmt.Fprintf(w, "%s from OCI Registry (%s)\telapsed: %-4.1fs\ttotal: %7.6s\t(%s/s)\t\n", status, f.name,
		elapsed.Seconds(), binarySize(float64(f.total)), binarySize(float64(f.total)/elapsed.Seconds()))
}

// binarySize formats a number of bytes as containerd's tools do: "60.0 MiB".
func binarySize(n float64) string {
	units := []string{"B", "KiB", "MiB", "GiB", "TiB", "PiB"}
	for n >= 1024 && len(units) > 1 {
		n, units = n/1024, units[1:]
	}
	return fmt.Sprintf("%.1f %s", n, units[0])
}

// writeNodes writes the nodes below prefix and reports whether any of them was
// not in the store before. Only names next to a bar are cut to their column.
func writeNodes(w io.Writer, prefix string, nodes []frameNode) (fresh bool) {
	const columns, bar = 40, 38
	for i, n := range nodes {
		branch, below := "├──", "│  "
		if i == len(nodes)-1 {
			branch, below = "└──", "   "
		}
		name := prefix + branch + n.name
		if n.state == nodeExists {
			fmt.Fprintf(w, "%s\t%s\t\n", name, n.state)
		} else {
			fresh = true
			fmt.Fprintf(w, "%-*.*s\t%-11s\t|%s|\t\n", columns, columns, name, n.state, strings.Repeat("+", bar))
		}
		fresh = writeNodes(w, prefix+below, n.children) || fresh
	}
	return fresh
}
