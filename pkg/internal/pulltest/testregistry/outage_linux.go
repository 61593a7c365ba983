package testregistry

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"syscall"
	"time"
)

// Deafen stops the registry and leaves its address to a listener that accepts
// connections and never says a word: over TLS the handshake stalls, over plain
// HTTP the header never comes. Start ends it.
func (r *Registry) Deafen() error {
	if err := errors.Join(r.Stop(), r.endOutage()); err != nil {
		return err
	}
	listener, err := listen(r.addr)
	if err != nil {
		return fmt.Errorf("deafening registry: %w", err)
	}
	r.outage = listener
	return nil
}

// Vanish stops the registry and lets its address drop every SYN, as a firewall
// does: a connect is never answered. Start ends it.
func (r *Registry) Vanish() error {
	if err := errors.Join(r.Stop(), r.endOutage()); err != nil {
		return err
	}
	at, err := netip.ParseAddrPort(r.addr)
	if err != nil {
		return fmt.Errorf("vanishing registry: %w", err)
	}
	free, err := listen(r.addr) // waits for it
	if err == nil {
		err = free.Close()
	}
	if err != nil {
		return fmt.Errorf("vanishing registry: %w", err)
	}
	full, err := listenFull(at)
	if err != nil {
		return fmt.Errorf("vanishing registry: %w", err)
	}
	r.outage = full
	return nil
}

// fullListener is a socket whose queue of connections to accept is full. Linux
// drops what else wants to connect.
type fullListener struct {
	fd    int
	conns []net.Conn
}

func listenFull(at netip.AddrPort) (*fullListener, error) {
	fd, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	l := &fullListener{fd: fd}
	err = errors.Join(
		syscall.SetsockoptInt(fd, syscall.SOL_SOCKET, syscall.SO_REUSEADDR, 1),
		syscall.Bind(fd, &syscall.SockaddrInet4{Addr: at.Addr().As4(), Port: int(at.Port())}),
		syscall.Listen(fd, 0))
	if err == nil {
		err = l.fill(at)
	}
	if err != nil {
		return nil, errors.Join(err, l.Close())
	}
	return l, nil
}

// fill connects until a connect is not answered any more.
func (l *fullListener) fill(at netip.AddrPort) error {
	for range 10 {
		conn, err := net.DialTimeout("tcp", at.String(), 200*time.Millisecond)
		if timeout, ok := errors.AsType[net.Error](err); ok && timeout.Timeout() {
			return nil
		}
		if err != nil {
			return err
		}
		l.conns = append(l.conns, conn)
	}
	return fmt.Errorf("%s still accepts after %d connections", at, len(l.conns))
}

// Close frees the address.
func (l *fullListener) Close() error {
	for _, conn := range l.conns {
		_ = conn.Close() // no server ever had it
	}
	return syscall.Close(l.fd)
}
