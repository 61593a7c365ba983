package output

import (
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/containerd-pull/containerd-pull/pkg/config"
	"github.com/containerd-pull/containerd-pull/pkg/printable"
	"github.com/containerd-pull/containerd-pull/pkg/progress"
	"github.com/containerd-pull/containerd-pull/pkg/store"
)

// LabelPinned, as PinnedValue, has the kubelet keep an image.
const (
	LabelPinned = "io.cri-containerd.pinned"
	PinnedValue = "pinned"
)

// Images is what there is of images, in JSON. The names are API.
type Images struct {
	SchemaVersion int     `json:"schemaVersion"`
	Images        []Image `json:"images"`
	// Blobs and Snapshots are those of all images, each once.
	Blobs     sum `json:"blobs"`
	Snapshots sum `json:"snapshots"`
}

// Image is what there is of one image.
type Image struct {
	Name        string            `json:"name"`
	Digest      string            `json:"digest"`
	MediaType   string            `json:"mediaType"`
	Namespace   string            `json:"namespace"`
	Snapshotter string            `json:"snapshotter"`
	Platforms   []imagePlatform   `json:"platforms"`
	Unpacked    bool              `json:"unpacked"`
	Pinned      bool              `json:"pinned"`
	Bytes       int64             `json:"bytes"`
	Blobs       sum               `json:"blobs"`
	Snapshots   sum               `json:"snapshots"`
	Created     string            `json:"created"`
	Updated     string            `json:"updated"`
	Labels      map[string]string `json:"labels"`

	updated time.Time
}

type imagePlatform struct {
	Platform string `json:"platform"`
	Unpacked bool   `json:"unpacked"`
	Fetched  bool   `json:"fetched"`
}

// Add adds the images of a store.
func (l *Images) Add(st *store.Store, all []store.Held) {
	for _, h := range all {
		img := Image{
			Name: printable.Line(h.Image.Name), Digest: h.Image.Target.Digest.String(), MediaType: printable.Line(h.Image.Target.MediaType),
			Namespace: st.Namespace, Snapshotter: st.Name,
			Platforms: []imagePlatform{}, Unpacked: len(h.Platforms) > 0, Pinned: h.Image.Labels[LabelPinned] == PinnedValue,
			Blobs: sum(store.SumOf(h.Blobs)), Snapshots: sum(store.SumOf(h.Snapshots)),
			Created: h.Image.CreatedAt.UTC().Format(time.RFC3339), Updated: h.Image.UpdatedAt.UTC().Format(time.RFC3339), updated: h.Image.UpdatedAt,
			Labels: map[string]string{},
		}
		img.Bytes = img.Blobs.Bytes + img.Snapshots.Bytes
		for _, p := range h.Platforms {
			img.Platforms = append(img.Platforms, imagePlatform{printable.Line(p.Platform), p.Unpacked, p.Fetched})
			img.Unpacked = img.Unpacked && p.Unpacked
		}
		for key, text := range h.Image.Labels {
			img.Labels[printable.Line(key)] = printable.Line(text)
		}
		l.Images = append(l.Images, img)
	}
	blobs, snapshots := store.Total(all)
	l.Blobs, l.Snapshots = l.Blobs.plus(sum(blobs)), l.Snapshots.plus(sum(snapshots))
}

func (s sum) plus(more sum) sum { return sum{s.Count + more.Count, s.Bytes + more.Bytes} }

// ImagesForm writes lists of images as --format says.
type ImagesForm struct{ form *form }

// NewImagesForm refuses a form in which no list could be written.
func NewImagesForm(format string) (*ImagesForm, error) {
	if format == "" || format == config.FormatTable {
		return &ImagesForm{}, nil
	}
	if err := config.CheckFormat(format); err != nil {
		return nil, fmt.Errorf("--format: %w", err)
	}
	f, err := newForm[Image](format, "")
	return &ImagesForm{f}, err
}

// Write writes the list: as a table, as one JSON object, or each image by a template.
func (f *ImagesForm) Write(w io.Writer, l Images, now time.Time) error {
	switch {
	case f.form == nil:
		return Text(w, func(w io.Writer) { l.table(w, now) })
	case f.form.template == nil:
		return JSON(w, l)
	}
	all := make([]any, len(l.Images))
	for i, img := range l.Images {
		all[i] = img
	}
	return f.form.execute(w, all)
}

func (l Images) table(w io.Writer, now time.Time) {
	fmt.Fprintln(w, "NAME\tDIGEST\tPLATFORMS\tON DISK\tSTATE\tPULLED")
	for _, img := range l.Images {
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\n", img.Name, shortDigest(img.Digest), img.platforms(), progress.Size(img.Bytes), img.state(), ago(now.Sub(img.updated)))
	}
}

func shortDigest(text string) string {
	_, hex, _ := strings.Cut(text, ":")
	return hex[:min(12, len(hex))]
}

func (i Image) platforms() string {
	var names []string
	for _, p := range i.Platforms {
		if p.Platform != "" {
			names = append(names, p.Platform)
		}
	}
	if len(names) == 0 {
		return "-"
	}
	return strings.Join(names, ",")
}

// state says in words what there is of the image, the least of its platforms.
func (i Image) state() string {
	state := "unpacked"
	for _, p := range i.Platforms {
		switch {
		case !p.Unpacked && !p.Fetched:
			state = "incomplete"
		case !p.Unpacked && state == "unpacked":
			state = "fetched"
		}
	}
	if len(i.Platforms) == 0 {
		state = "incomplete"
	}
	if i.Pinned {
		state += ", pinned"
	}
	return state
}

// ago is a time in the past in its largest unit.
func ago(d time.Duration) string {
	const day = 24 * time.Hour
	switch {
	case d < time.Minute:
		return "just now"
	case d < time.Hour:
		return progress.Plural(int(d/time.Minute), "minute") + " ago"
	case d < day:
		return progress.Plural(int(d/time.Hour), "hour") + " ago"
	}
	return progress.Plural(int(d/day), "day") + " ago"
}

// Summary counts what all images have, each thing once.
func (l Images) Summary() string {
	return fmt.Sprintf("%s: %s, %s", progress.Plural(len(l.Images), "image"), l.Blobs.text("blob"), l.Snapshots.text("snapshot"))
}

// Removed is the result of rm in JSON. The names are API.
type Removed struct {
	SchemaVersion int      `json:"schemaVersion"`
	Removed       []string `json:"removed"`
}

// Write writes the names, one a line.
func (r Removed) Write(w io.Writer) {
	for _, name := range r.Removed {
		fmt.Fprintln(w, name)
	}
}
