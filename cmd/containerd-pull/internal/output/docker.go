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
// layer lines while the pull runs, or all at once if they would be in the way.
type dockerPull struct {
	w    io.Writer
	live *lineWriter // nil while lines are held back

	mu     sync.Mutex
	images []*dockerImage // in the order of the jobs
	closed bool           // events that are late are dropped
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
		return // by its tag and by a digest, an image is there twice
	}
}

// close writes the rest once the pull is over and nothing else is shown.
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
			d.images[i].end(one.Result.Target.Digest, one.Result.Changed)
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
	opened bool // the line with the repository is written
	layers map[digest.Digest]dockerStage
	// present are layers that were there. They are told only beside others
	// that were not: of an image that is up to date docker shows no layer.
	present []digest.Digest
	shown   bool // some layer was not there
	over    bool // it was registered or has failed
}

// dockerStage is how far a layer has come.
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

// take hands out what was written since it was called last.
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
			d.tellPresent()
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

// asked is the reference as docker asks its daemon for it: by the digest alone
// if there is one.
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

// layer writes the lines of a layer up to a stage, each of them once. docker
// begins with the first and leaves none out.
func (d *dockerImage) layer(e progress.Event, to dockerStage) {
	if e.Kind != progress.UnpackDone && e.Blob != progress.Layer {
		return
	}
	d.open()
	d.shown = true
	d.tellPresent()
	if slices.Contains(d.present, e.Digest) {
		d.layers[e.Digest] = max(d.layers[e.Digest], dockerDownloaded)
	}
	for s := d.layers[e.Digest] + 1; s <= to; s++ {
		d.line(e.Digest, s.String())
		d.layers[e.Digest] = s
	}
}

func (d *dockerImage) tellPresent() {
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

// end writes the closing lines.
func (d *dockerImage) end(target digest.Digest, changed bool) {
	d.open()
	status := "Image is up to date for"
	if changed {
		status = "Downloaded newer image for"
	}
	fmt.Fprintf(&d.text, "Digest: %s\nStatus: %s %s\n%s\n", target, status, d.asked().Familiar(), d.ref)
}
