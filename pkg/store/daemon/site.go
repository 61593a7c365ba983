package daemon

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path"
	"path/filepath"
	"sync"

	"golang.org/x/sys/unix"

	"github.com/containerd-pull/containerd-pull/pkg/internal/beneath"
	"github.com/containerd-pull/containerd-pull/pkg/store"
)

// peer is the process that listens on the other side of a connection. The kernel
// says which it is, not the process.
type peer struct {
	pid int // 0 if it cannot be seen from here
	uid int // in the user namespace of this process
}

// stranger is the peer of a connection that is no socket of this machine.
var stranger = peer{uid: -1}

// peerOf asks the kernel who listened on the socket that conn leads to.
func peerOf(conn net.Conn) peer {
	unixConn, ok := conn.(*net.UnixConn)
	if !ok {
		return stranger
	}
	raw, err := unixConn.SyscallConn()
	if err != nil {
		return stranger
	}
	p := stranger
	err = raw.Control(func(fd uintptr) {
		if cred, err := unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED); err == nil {
			p = peer{int(cred.Pid), int(cred.Uid)}
		}
	})
	if err != nil {
		return stranger
	}
	return p
}

// trusted is nil if the daemon behind address may name files for this process to
// use: it is root's or of this user, and no other user could have put another
// socket in the place of its own.
func (p peer) trusted(address string) error {
	if p == stranger {
		return fmt.Errorf("the user that containerd at %s runs as is not known", address)
	}
	if !beneath.Trusted(p.uid) {
		return fmt.Errorf("containerd at %s runs as user %d, not as root", address, p.uid)
	}
	socket, err := filepath.Abs(address)
	if err == nil {
		err = beneath.Check(socket)
	}
	if err != nil {
		return fmt.Errorf("the socket of containerd may be another user's: %w", err)
	}
	return nil
}

// site is what this process may use of a daemon's files. All that the daemon names
// is opened beneath its folders, and these only if the daemon is trusted.
type site struct {
	barred error // why nothing may be used
	// The folders of blobs and of snapshots as the daemon says, "" if not known.
	content, snapshots string
	proof              proof

	mu   sync.Mutex
	open map[string]*os.File // by path
}

// folder opens a folder that the daemon exports. It belongs to the site.
func (s *site) folder(name string) (*os.File, error) {
	if s.barred != nil {
		return nil, s.barred
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if f := s.open[name]; f != nil {
		return f, nil
	}
	f, err := beneath.Root(name)
	if err != nil {
		return nil, err
	}
	if s.open == nil {
		s.open = map[string]*os.File{}
	}
	s.open[name] = f
	return f, nil
}

// place is a folder that the daemon exports, or the folder above in which it will be
// made; nil if neither may be used.
func (s *site) place(name string) *store.Place {
	rest := ""
	for name != "" {
		dir, err := s.folder(name)
		switch {
		case err == nil:
			return &store.Place{Dir: dir, Rest: rest}
		case !errors.Is(err, fs.ErrNotExist) || name == "/":
			return nil
		}
		rest, name = path.Join(path.Base(name), rest), path.Dir(name)
	}
	return nil
}

// close closes the folders. What was opened beneath them stays open.
func (s *site) close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, f := range s.open {
		_ = f.Close() // nothing is lost with a handle on a folder
	}
}
