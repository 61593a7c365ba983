package daemon

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"time"

	contentapi "github.com/containerd/containerd/api/services/content/v1"
	"github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/containerd/v2/pkg/namespaces"
	"github.com/containerd/containerd/v2/pkg/protobuf"
	"github.com/containerd/errdefs"
	"github.com/containerd/errdefs/pkg/errgrpc"
	"github.com/opencontainers/go-digest"
	"google.golang.org/grpc"

	"github.com/containerd-pull/containerd-pull/pkg/failure"
	"github.com/containerd-pull/containerd-pull/pkg/store"
	"github.com/containerd-pull/containerd-pull/pkg/store/contentdir"
)

const (
	// messageSize is the data of one message. Larger ones gain nothing; with its
	// header it must fit the largest buffers that a daemon's gRPC pools, 1 MiB,
	// or each message is memory that the daemon must clear and collect.
	messageSize = 1<<20 - 1<<10
	// inFlight is how many messages may be without an answer: the daemon
	// writes one while the next is on its way.
	inFlight = 4
	// heldFor is how long bytes are collected for a message: on a slow network
	// that, and not messageSize, bounds what is lost with this process.
	heldFor = 20 * time.Millisecond
)

// contentStore is the daemon's content store with other writers: one that does
// not wait for the answer to each message before it sends the next, and one that
// writes into the daemon's file.
type contentStore struct {
	content.Store
	client  contentapi.ContentClient
	buffers *sync.Pool   // of *[messageSize]byte
	site    func() *site // of the daemon of now
	// committed is called when a blob is there.
	committed func(context.Context, digest.Digest) error
}

// ingest opens the file in which the daemon collects what s sends; nil if it is not
// proven to be that.
func (c *contentStore) ingest(s *sender, ns string, flags int) *os.File {
	site := c.site()
	root, err := site.folder(site.content)
	if err != nil {
		return nil
	}
	return contentdir.OpenIngest(root, ns, s.ref, s.started, flags)
}

// Writer implements content.Ingester.
func (c *contentStore) Writer(ctx context.Context, opts ...content.WriterOpt) (content.Writer, error) {
	var o content.WriterOpts
	for _, opt := range opts {
		if err := opt(&o); err != nil {
			return nil, err
		}
	}
	ns, err := namespaces.NamespaceRequired(ctx)
	if err != nil {
		return nil, err
	}
	s, err := c.open(ctx, ns, o)
	if err != nil {
		return nil, err
	}
	if s.offset > 0 || !suits(o.Desc) || !c.site().proof.holds() {
		return s, nil
	}
	return c.inPlace(ctx, s, ns, o), nil
}

// open opens an ingest to send its bytes.
func (c *contentStore) open(ctx context.Context, ns string, o content.WriterOpts) (*sender, error) {
	ctx, end := store.Outlive(ctx)
	stream, err := c.client.Write(ctx, grpc.ForceCodecV2(byReference{}))
	if err != nil {
		end()
		return nil, errgrpc.ToNative(err)
	}
	s := &sender{ref: o.Ref, stream: stream, end: end, buffers: c.buffers, committed: c.committed}
	s.early.Find = func() *os.File { return c.ingest(s, ns, os.O_RDONLY) }
	answer, err := s.ask(&contentapi.WriteContentRequest{
		Action: contentapi.WriteAction_STAT, Ref: o.Ref, Total: o.Desc.Size, Expected: o.Desc.Digest.String(),
	})
	if err != nil {
		err = s.given(ctx, err, o.Desc.Digest)
		end()
		return nil, err
	}
	s.offset, s.started = answer.Offset, protobuf.FromTimestamp(answer.StartedAt)
	return s, nil
}

// sender writes one ingest over a stream of messages. It numbers the offsets
// itself, collects what it is given into large messages, and reads the answers
// when it has to. It belongs to one goroutine.
type sender struct {
	ref     string
	stream  contentapi.Content_WriteClient
	end     func()    // of the stream's context
	started time.Time // as the daemon says
	offset  int64     // of the next message
	digest  digest.Digest
	buf     *[messageSize]byte // being filled, nil if empty
	fill    int
	began   time.Time            // to fill it
	sent    []*[messageSize]byte // not answered, oldest first
	buffers *sync.Pool
	early   contentdir.Writeback // of the file that the daemon will sync when it commits
	closed  bool
	// committed is called when the blob is there.
	committed func(context.Context, digest.Digest) error
}

// Write implements io.Writer.
func (s *sender) Write(p []byte) (int, error) {
	for rest := p; len(rest) > 0; {
		if s.buf == nil {
			s.buf, s.began = s.buffer(), time.Now()
		}
		n := copy(s.buf[s.fill:], rest)
		s.fill += n
		rest = rest[n:]
		if s.fill == messageSize || time.Since(s.began) > heldFor {
			if err := s.flush(); err != nil {
				return 0, err
			}
		}
	}
	return len(p), nil
}

func (s *sender) buffer() *[messageSize]byte {
	if buf, ok := s.buffers.Get().(*[messageSize]byte); ok {
		return buf
	}
	return new([messageSize]byte)
}

// flush sends what has been collected. The buffer is lent to the transport
// until the answer to its message has come.
func (s *sender) flush() error {
	if s.fill == 0 {
		return nil
	}
	if len(s.sent) == inFlight {
		if err := s.settle(); err != nil {
			return err
		}
	}
	req := &contentapi.WriteContentRequest{Action: contentapi.WriteAction_WRITE, Offset: s.offset, Data: s.buf[:s.fill]}
	if err := s.send(req); err != nil {
		return err
	}
	s.sent = append(s.sent, s.buf)
	s.offset += int64(s.fill)
	s.buf, s.fill = nil, 0
	return nil
}

// settle reads the answer to the oldest message.
func (s *sender) settle() error {
	answer, err := s.receive()
	if err != nil {
		return err
	}
	s.digest = digest.Digest(answer.Digest)
	s.buffers.Put(s.sent[0])
	s.sent = s.sent[1:]
	s.early.Grown(answer.Offset)
	return nil
}

// quiet sends everything and waits for all answers.
func (s *sender) quiet() error {
	if err := s.flush(); err != nil {
		return err
	}
	for len(s.sent) > 0 {
		if err := s.settle(); err != nil {
			return err
		}
	}
	return nil
}

func (s *sender) send(req *contentapi.WriteContentRequest) error {
	err := s.stream.Send(req)
	if errors.Is(err, io.EOF) { // the stream has ended; why is in its last answer
		for {
			if _, err := s.receive(); err != nil {
				return err
			}
		}
	}
	return errgrpc.ToNative(err)
}

func (s *sender) receive() (*contentapi.WriteContentResponse, error) {
	answer, err := s.stream.Recv()
	if errors.Is(err, io.EOF) {
		return nil, failure.New(errdefs.ErrUnavailable, "containerd ended the ingest: %w", io.ErrUnexpectedEOF)
	}
	return answer, errgrpc.ToNative(err)
}

func (s *sender) ask(req *contentapi.WriteContentRequest) (*contentapi.WriteContentResponse, error) {
	if err := s.quiet(); err != nil {
		return nil, err
	}
	if err := s.send(req); err != nil {
		return nil, err
	}
	answer, err := s.receive()
	if err != nil {
		return nil, err
	}
	s.digest = digest.Digest(answer.Digest)
	return answer, nil
}

// Digest implements content.Writer. It is that of the bytes whose message was
// answered.
func (s *sender) Digest() digest.Digest { return s.digest }

// Status implements content.Writer.
func (s *sender) Status() (content.Status, error) {
	answer, err := s.ask(&contentapi.WriteContentRequest{Action: contentapi.WriteAction_STAT})
	if err != nil {
		return content.Status{}, err
	}
	return content.Status{
		Ref: s.ref, Offset: answer.Offset, Total: answer.Total,
		StartedAt: protobuf.FromTimestamp(answer.StartedAt), UpdatedAt: protobuf.FromTimestamp(answer.UpdatedAt),
	}, nil
}

// Truncate implements content.Writer. The daemon empties the ingest when a
// message with offset 0 follows, which is the only size it can cut to.
func (s *sender) Truncate(size int64) error {
	if err := s.quiet(); err != nil {
		return err
	}
	if size != 0 {
		return fmt.Errorf("truncating an ingest to %d bytes: only 0 is possible", size)
	}
	s.offset = 0
	return nil
}

// Commit implements content.Writer.
func (s *sender) Commit(ctx context.Context, size int64, expected digest.Digest, opts ...content.Opt) error {
	var info content.Info
	for _, opt := range opts {
		if err := opt(&info); err != nil {
			return err
		}
	}
	err := s.quiet() // the offset of the commit is behind all data
	if err == nil {
		_, err = s.ask(&contentapi.WriteContentRequest{
			Action: contentapi.WriteAction_COMMIT, Total: size, Offset: s.offset, Expected: expected.String(), Labels: info.Labels,
		})
	}
	return errors.Join(s.given(ctx, err, expected), s.Close())
}

// given tells that a blob is there, if err says so: by this commit, or by that of
// another client. What fails then says more than that the blob exists.
func (s *sender) given(ctx context.Context, err error, dgst digest.Digest) error {
	if err != nil && !errdefs.IsAlreadyExists(err) {
		return err
	}
	if lost := s.committed(ctx, dgst); lost != nil {
		return lost
	}
	return err
}

// Close ends the stream and waits for the daemon to let go of the ingest. What
// the ingest holds stays, and so does what was collected here so far, if the
// daemon still takes it: bytes that it does not take were never reported as stored.
func (s *sender) Close() error {
	if s.closed {
		return nil
	}
	s.closed = true
	defer s.end()
	defer s.early.Release()
	_ = s.quiet()
	err := s.stream.CloseSend()
	for {
		if _, end := s.stream.Recv(); end != nil {
			return err
		}
	}
}
