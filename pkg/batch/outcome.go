package batch

import (
	"sync"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/containerd-pull/containerd-pull/pkg/progress"
	"github.com/containerd-pull/containerd-pull/pkg/pull"
)

// Outcome is what became of a job. It is plain data: all that is written about
// a pull is a function of it.
type Outcome struct {
	Job
	Result *pull.Result // nil if Err is not, and of a plan
	// Outlook is what would be done and Hosts whom would be asked, where only that
	// was asked for.
	Outlook *pull.Outlook
	Hosts   []Host
	Err     error
	// Namespace and Snapshotter are empty if no store was opened.
	Namespace, Snapshotter string
	Observed               Observed
}

// Observed is what the events of a pull say beside its result. Of a pull that
// failed there is nothing else.
type Observed struct {
	Target   ocispec.Descriptor // zero if the reference was not resolved
	Host     string             // that resolved it
	Retries  int
	Warnings []string
	Fetched  map[digest.Digest]bool // blobs that came over the network
	Unpacked map[digest.Digest]bool // layers
}

// observer collects what is observed of each image, by its name.
type observer struct {
	mu     sync.Mutex
	images map[string]*Observed
}

// event is a progress.Sink.
func (o *observer) event(e progress.Event) {
	switch e.Kind {
	case progress.Resolved, progress.Retry, progress.Warning, progress.FetchDone, progress.UnpackDone:
		o.mu.Lock()
		defer o.mu.Unlock()
		o.image(e.Ref).event(e)
	}
}

func (o *observer) image(name string) *Observed {
	if o.images == nil {
		o.images = make(map[string]*Observed)
	}
	if o.images[name] == nil {
		o.images[name] = &Observed{Fetched: map[digest.Digest]bool{}, Unpacked: map[digest.Digest]bool{}}
	}
	return o.images[name]
}

// take returns what was observed of an image and forgets it, for the next job
// of that name.
func (o *observer) take(name string) Observed {
	o.mu.Lock()
	defer o.mu.Unlock()
	defer delete(o.images, name)
	return *o.image(name)
}

func (o *Observed) event(e progress.Event) {
	switch e.Kind {
	case progress.Resolved:
		o.Target = ocispec.Descriptor{MediaType: e.MediaType, Digest: e.Digest, Size: e.Bytes.Total}
		o.Host = e.Host
	case progress.Retry:
		o.Retries++
	case progress.Warning:
		o.Warnings = append(o.Warnings, e.Message)
	case progress.FetchDone:
		o.Fetched[e.Digest] = true
	case progress.UnpackDone:
		o.Unpacked[e.Digest] = true
	}
}
