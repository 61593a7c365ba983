package testdaemon

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"testing"

	"golang.org/x/sys/unix"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/proto"
)

// FrontOptions say what a Front is and how it lies. The zero value says the truth
// as root.
type FrontOptions struct {
	// UID is the user that the kernel says listens.
	UID int
	// Dir is where the socket lies; if empty, a folder of that user's own.
	Dir string
	// Lies change the answers of methods that succeed, by their full name.
	Lies map[string]Lie
	// Before is called before each call is passed on, many at once.
	Before func(method string)
}

// Lie changes the answer of a call, or makes it fail. It gets what was asked too.
type Lie func(asked, answer []byte) ([]byte, error)

// Tell is the Lie that changes the message of an answer.
func Tell[Asked, Answer any, A interface {
	*Asked
	proto.Message
}, B interface {
	*Answer
	proto.Message
}](change func(A, B) error) Lie {
	return func(asked, answer []byte) ([]byte, error) {
		a, b := A(new(Asked)), B(new(Answer))
		if err := errors.Join(proto.Unmarshal(asked, a), proto.Unmarshal(answer, b)); err != nil {
			return nil, err
		}
		if err := change(a, b); err != nil {
			return nil, err
		}
		return proto.Marshal(b)
	}
}

// Front is the socket of a daemon that passes all calls on to the one at address
// and changes some of the answers: a daemon that runs elsewhere, or lies. It ends
// with the test.
func Front(t testing.TB, address string, o FrontOptions) string {
	t.Helper()
	if o.Dir == "" {
		dir, err := os.MkdirTemp("", "front") // short enough for a socket
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { os.RemoveAll(dir) })
		if err := os.Chown(dir, o.UID, -1); err != nil {
			t.Fatal(err)
		}
		o.Dir = dir
	}
	path := filepath.Join(o.Dir, "containerd.sock")
	l, err := listenAs(o.UID, path)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(path, 0o666); err != nil {
		t.Fatal(err)
	}
	behind, err := grpc.NewClient("unix:"+address, grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithDefaultCallOptions(grpc.ForceCodec(frames{}), grpc.MaxCallRecvMsgSize(16<<20)))
	if err != nil {
		t.Fatal(err)
	}
	f := front{behind: behind, lies: o.Lies, before: o.Before}
	server := grpc.NewServer(grpc.ForceServerCodec(frames{}), grpc.UnknownServiceHandler(f.pass), grpc.MaxRecvMsgSize(16<<20))
	served := make(chan error, 1)
	go func() { served <- server.Serve(l) }()
	t.Cleanup(func() {
		server.Stop()
		if err := errors.Join(<-served, behind.Close()); err != nil {
			t.Errorf("ending the front: %v", err)
		}
	})
	return path
}

// listenAs listens as another user, as far as the kernel tells: on a thread that
// has that user's IDs and ends afterwards.
func listenAs(uid int, path string) (l net.Listener, err error) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		if uid != os.Geteuid() {
			runtime.LockOSThread() // and never unlock it
			if _, _, errno := unix.RawSyscall(unix.SYS_SETRESUID, uintptr(uid), uintptr(uid), uintptr(uid)); errno != 0 {
				err = errno
				return
			}
		}
		l, err = net.Listen("unix", path)
	}()
	<-done
	return l, err
}

// front passes calls on.
type front struct {
	behind *grpc.ClientConn
	lies   map[string]Lie
	before func(method string)
}

// pass handles a call of whatever method.
func (f front) pass(_ any, in grpc.ServerStream) error {
	method, _ := grpc.MethodFromServerStream(in)
	if f.before != nil {
		f.before(method)
	}
	ctx, cancel := context.WithCancel(in.Context())
	defer cancel()
	if md, ok := metadata.FromIncomingContext(ctx); ok {
		ctx = metadata.NewOutgoingContext(ctx, md)
	}
	out, err := f.behind.NewStream(ctx, &grpc.StreamDesc{ServerStreams: true, ClientStreams: true}, method)
	if err != nil {
		return err
	}
	first := make(chan []byte, 1)
	go f.ask(in, out, first)
	var asked []byte
	for {
		var answer []byte
		err := out.RecvMsg(&answer)
		if errors.Is(err, io.EOF) {
			return nil
		}
		if lie := f.lies[method]; lie != nil && err == nil {
			if asked == nil {
				asked = <-first
			}
			answer, err = lie(asked, answer)
		}
		if err != nil {
			return err
		}
		if err := in.SendMsg(&answer); err != nil {
			return err
		}
	}
}

// ask passes the questions of a call on, and keeps the first.
func (f front) ask(in grpc.ServerStream, out grpc.ClientStream, first chan<- []byte) {
	for n := 0; ; n++ {
		var asked []byte
		err := in.RecvMsg(&asked)
		if n == 0 {
			first <- asked
		}
		if err != nil {
			_ = out.CloseSend() // the answers end with it
			return
		}
		if out.SendMsg(&asked) != nil {
			return // why is in the answer
		}
	}
}

// frames leaves messages as they are.
type frames struct{}

// Name implements encoding.Codec; it is that of what is in the frames.
func (frames) Name() string { return "proto" }

// Marshal implements encoding.Codec.
func (frames) Marshal(v any) ([]byte, error) {
	if p, ok := v.(*[]byte); ok {
		return *p, nil
	}
	return nil, fmt.Errorf("got a %T, want bytes", v)
}

// Unmarshal implements encoding.Codec.
func (frames) Unmarshal(data []byte, v any) error {
	p, ok := v.(*[]byte)
	if !ok {
		return fmt.Errorf("got a %T, want bytes", v)
	}
	*p = append([]byte(nil), data...)
	return nil
}
