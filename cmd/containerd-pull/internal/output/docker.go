package output

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"slices"
	"sync"

	"github.com/opencontainers/go-digest"

	"github.com/containerd-pull/containerd-pull/pkg/batch"
	"github.com/containerd-pull/containerd-pull/pkg/progress"
	"github.com/containerd-pull/containerd-pull/pkg/source"
)

// dockerPull writes what "docker pull" writes when it is not on a terminal: the
// layer lines while the pull runs, or all at its end if they would mix with
// other output.
type dockerPull struct {
	w    io.Writer
	live *lineWriter // nil while lines are held back

	mu     sync.Mutex
	images []*dockerImage // in the order of the jobs
	closed bool           // later events are dropped
}

func newDockerPull(w io.Writer, jobs []batch.Job, live bool) *dockerPull {
	d := &dockerPull{w: w}
	for _, j := range jobs {
		d.images = append(d.images, newDockerImage(j))
	}
	if live {
		d.live = newLineWriter(w)
		d.live.put(d.images[0].take())
	}
	return d
}

// event is a progress.Sink.
func (d *dockerPull) event(e progress.Event) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, img := range d.images {
		if d.closed || img.over || img.ref.Name != e.Ref {
			continue
		}
		img.event(e)
		if d.live != nil {
			d.live.put(img.take())
		}
		return // an image may be listed twice, by its tag and by a digest
	}
}

// close writes the rest, after the pull has ended and its display is closed.
func (d *dockerPull) close(all []batch.Outcome) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.closed = true
	var err error
	if d.live != nil {
		err = d.live.close()
	}
	for i, one := range all {
		if one.Err == nil {
			d.images[i].end(one.Result.Target.Digest, one.Result.NewTarget())
		}
		_, werr := d.w.Write(d.images[i].take())
		err = errors.Join(err, werr)
	}
	return err
}

// dockerImage turns the events of one image into docker's lines.
type dockerImage struct {
	ref    source.Ref
	text   bytes.Buffer
	opened bool // whether the line with the repository is written
	layers map[digest.Digest]dockerStage
	// present holds the layers that were in the store. They are shown only next
	// to layers that were not: docker shows no layer of an image that is up to
	// date.
	present []digest.Digest
	shown   bool // whether some layer was not in the store
	over    bool // whether the image was registered or has failed
}

// dockerStage is the progress of a layer.
type dockerStage int

const (
	dockerUnknown dockerStage = iota
	dockerPulling
	dockerDownloaded
	dockerComplete
)

func (s dockerStage) String() string {
	return []string{"", "Pulling fs layer", "Download complete", "Pull complete"}[s]
}

func newDockerImage(j batch.Job) *dockerImage {
	d := &dockerImage{ref: j.Ref, layers: map[digest.Digest]dockerStage{}}
	if j.Untagged {
		fmt.Fprintf(&d.text, "Using default tag: %s\n", j.Ref.Tag)
	}
	return d
}

// take returns the lines that were added since the last call.
func (d *dockerImage) take() []byte {
	defer d.text.Reset()
	return bytes.Clone(d.text.Bytes())
}

func (d *dockerImage) event(e progress.Event) {
	switch e.Kind {
	case progress.Resolved:
		d.open()
	case progress.Present:
		if e.Blob == progress.Layer && d.layers[e.Digest] == dockerUnknown && !slices.Contains(d.present, e.Digest) {
			d.present = append(d.present, e.Digest)
			d.showPresent()
		}
	case progress.FetchStart, progress.FetchProgress:
		d.layer(e, dockerPulling)
	case progress.FetchDone:
		d.layer(e, dockerDownloaded)
	case progress.UnpackDone:
		d.layer(e, dockerComplete)
	case progress.Registered, progress.Error:
		d.over = true
	}
}

// asked returns the reference as docker asks its daemon for it: without the tag
// if it has a digest.
func (d *dockerImage) asked() source.Ref {
	ref := d.ref
	if ref.Digest != "" {
		ref.Tag = ""
	}
	return ref
}

func (d *dockerImage) open() {
	if d.opened {
		return
	}
	d.opened = true
	id := d.asked().Tag
	if id == "" {
		id = d.asked().String()
	}
	fmt.Fprintf(&d.text, "%s: Pulling from %s\n", id, d.ref.Path)
}

// layer adds the lines of a layer up to a stage, each of them once and, as
// docker does, without leaving one out.
func (d *dockerImage) layer(e progress.Event, to dockerStage) {
	if e.Kind != progress.UnpackDone && e.Blob != progress.Layer {
		return
	}
	d.open()
	d.shown = true
	d.showPresent()
	if slices.Contains(d.present, e.Digest) {
		d.layers[e.Digest] = max(d.layers[e.Digest], dockerDownloaded)
	}
	for s := d.layers[e.Digest] + 1; s <= to; s++ {
		d.line(e.Digest, s.String())
		d.layers[e.Digest] = s
	}
}

func (d *dockerImage) showPresent() {
	if !d.shown {
		return
	}
	for _, dgst := range d.present {
		if d.layers[dgst] == dockerUnknown {
			d.line(dgst, "Already exists")
			d.layers[dgst] = dockerDownloaded
		}
	}
}

func (d *dockerImage) line(dgst digest.Digest, status string) {
	const short = 12
	fmt.Fprintf(&d.text, "%s: %s\n", dgst.Encoded()[:short], status)
}

// end adds the closing lines.
func (d *dockerImage) end(target digest.Digest, newer bool) {
	d.open()
	status := "Image is up to date for"
	if newer {
		status = "Downloaded newer image for"
	}
	fmt.Fprintf(&d.text, "Digest: %s\nStatus: %s %s\n%s\n", target, status, d.asked().Familiar(), d.ref)
}
