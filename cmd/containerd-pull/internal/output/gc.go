package output

import (
	"fmt"
	"io"

	"github.com/containerd-pull/containerd-pull/pkg/progress"
	"github.com/containerd-pull/containerd-pull/pkg/store"
)

// Freed is the result of gc in JSON. The names are API.
type Freed struct {
	SchemaVersion int      `json:"schemaVersion"`
	DryRun        bool     `json:"dryRun"`
	Leases        []string `json:"leases"`
	Ingests       sum      `json:"ingests"`
	Blobs         sum      `json:"blobs"`
	Snapshots     sum      `json:"snapshots"`
	Running       int      `json:"running"` // leases left to pulls that run
}

type sum struct {
	Count int   `json:"count"`
	Bytes int64 `json:"bytes"`
}

// NewFreed returns what was removed, or would be, for showing.
func NewFreed(f store.Freed, dryRun bool) Freed {
	return Freed{
		SchemaVersion: 1, DryRun: dryRun, Leases: append([]string{}, f.Leases...),
		Ingests: sum(f.Ingests), Blobs: sum(f.Blobs), Snapshots: sum(f.Snapshots), Running: f.Running,
	}
}

// Write writes one line, and a second one if pulls are running.
func (f Freed) Write(w io.Writer) {
	freed := "freed"
	if f.DryRun {
		freed = "would free"
	}
	fmt.Fprintf(w, "%s %s, %s, %s, %s\n", freed,
		progress.Plural(len(f.Leases), "lease"), f.Ingests.text("ingest"), f.Blobs.text("blob"), f.Snapshots.text("snapshot"))
	if f.Running > 0 {
		fmt.Fprintf(w, "left %s to pulls that are running\n", progress.Plural(f.Running, "lease"))
	}
}

func (s sum) text(what string) string {
	if s.Count == 0 {
		return progress.Plural(0, what)
	}
	return fmt.Sprintf("%s (%s)", progress.Plural(s.Count, what), progress.Size(s.Bytes))
}
