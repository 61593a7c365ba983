package progress

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/containerd/errdefs"

	"github.com/containerd-pull/containerd-pull/pkg/failure"
)

// maxRecord bounds one line of a stream that is read. The longest that Encoder
// writes is the one that lists the images of a call.
const maxRecord = 4 << 20

// maxStream bounds all lines, and maxNames the images and blobs that they name,
// each of which a display keeps.
const (
	maxStream = 256 << 20
	maxNames  = 50_000
)

// ReadEvents reads a stream that Encoder wrote and calls each with its events,
// without what the stream does not hold. It skips lines that are no objects,
// because other programs may have written to the same file, and a last line
// without an end, which a killed process leaves. Any other line that is no event
// is an errdefs.ErrInvalidArgument with its number, and so is a stream without
// any event.
func ReadEvents(r io.Reader, each func(Event)) error {
	limited := &io.LimitedReader{R: r, N: maxStream}
	lines := bufio.NewReaderSize(limited, 64<<10)
	events, known := 0, names{}
	for number := 1; ; number++ {
		line, err := readLine(lines)
		if errors.Is(err, io.EOF) && limited.N > 0 {
			break
		}
		if errors.Is(err, io.EOF) {
			return failure.New(errdefs.ErrInvalidArgument, "the events take %s or more", Size(maxStream))
		}
		if err != nil {
			return fmt.Errorf("reading line %d: %w", number, err)
		}
		if !bytes.HasPrefix(line, []byte("{")) {
			continue
		}
		e, err := parseEvent(line)
		if err != nil {
			return failure.New(errdefs.ErrInvalidArgument, "reading line %d: %w", number, err)
		}
		if known.add(e); len(known) > maxNames {
			return failure.New(errdefs.ErrInvalidArgument, "the events name more than %d images and blobs", maxNames)
		}
		each(e)
		events++
	}
	if events == 0 {
		return failure.New(errdefs.ErrInvalidArgument, "no events in it: want what --progress json writes")
	}
	return nil
}

// names are the images, and the blobs of each, that events are about.
type names map[[2]string]struct{}

func (n names) add(e Event) {
	n[[2]string{e.Ref, e.Digest.String()}] = struct{}{}
	for _, ref := range e.Refs {
		n[[2]string{ref, ""}] = struct{}{}
	}
}

// readLine returns the next line that has an end.
func readLine(r *bufio.Reader) ([]byte, error) {
	var line []byte
	for {
		part, err := r.ReadSlice('\n')
		line = append(line, part...)
		if len(line) > maxRecord {
			return nil, failure.New(errdefs.ErrInvalidArgument, "longer than %s", Size(maxRecord))
		}
		if !errors.Is(err, bufio.ErrBufferFull) {
			return line, err
		}
	}
}

func parseEvent(line []byte) (Event, error) {
	var r record
	if err := json.Unmarshal(line, &r); err != nil {
		return Event{}, err
	}
	if r.Version != 1 {
		return Event{}, fmt.Errorf("got version %d, want 1", r.Version)
	}
	at, err := time.Parse(time.RFC3339Nano, r.Time)
	if err != nil {
		return Event{}, err
	}
	e := r.read()
	e.Time = at
	return e, nil
}

// read returns the event that r was written for.
func (r record) read() Event {
	e := Event{
		Kind: r.Event, Ref: r.Ref, Refs: r.Refs, Digest: r.Digest, MediaType: r.MediaType, Blob: r.Kind,
		Phase: r.Phase, ChainID: r.ChainID, Previous: r.Previous, NewLabels: r.NewLabels, Host: r.Host, Engine: r.Engine,
		Attempt: r.Attempt, Reason: r.Reason, Message: r.Message,
		Duration: ofMillis(r.Duration), Wait: ofMillis(r.WaitMs),
	}
	if r.Changed != nil {
		e.Changed = *r.Changed
	}
	switch r.Event {
	case Planned, FetchStart:
		e.Bytes = Bytes{number(r.Offset), number(r.Size)}
	case FetchProgress, UnpackProgress:
		e.Consumed = max(r.Consumed, 0)
		if r.Detail != nil {
			e.Bytes = Bytes{r.Detail.Current, r.Detail.Total}
		}
	case FetchDone:
		e.Bytes = Bytes{number(r.Size), number(r.Size)}
	case Present:
		e.Bytes.Total = number(r.Size)
	case UnpackDone:
		e.Bytes = Bytes{number(r.Bytes), number(r.Bytes)}
	case PhaseDone:
		e.Bytes.Done = number(r.Bytes)
	case Registered:
		e.Traffic = Traffic{number(r.Fetched), number(r.Reused)}
	case Summary:
		e.Counts = Counts{number(r.Images), number(r.Failed)}
	case Error:
		e.Err = errors.New(r.Message)
	}
	return e
}

func number[N int | int64](n *N) N {
	if n == nil {
		return 0
	}
	return max(*n, 0)
}

// ofMillis is a number of milliseconds, at most the longest duration.
func ofMillis(ms *int64) time.Duration {
	const longest = int64(1<<63-1) / int64(time.Millisecond)
	return time.Duration(min(number(ms), longest)) * time.Millisecond
}
