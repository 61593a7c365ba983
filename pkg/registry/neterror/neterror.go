// Package neterror knows the errors of Go's network packages: what each means for a
// request to a registry. It is a part of package registry.
package neterror

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net"
	"net/http"
	"net/url"
	"reflect"
	"slices"
	"syscall"

	"github.com/containerd/errdefs"
)

// Prospect is what may be expected of another try.
type Prospect int

const (
	// temporary failures pass: they are tried again as often as is asked for.
	temporary Prospect = iota
	// Brief failures last a second or for good, as those of a server that is being
	// restarted or of a name that is mistyped. One more try tells which.
	Brief
	// Permanent failures come back with every try.
	Permanent
)

// Row is what an error of the standard library means for a request.
type Row struct {
	name     string // as go doc has it
	is       func(error) bool
	Prospect Prospect
	Reason   string // one word; see registry.Reason
	Class    error  // of errdefs
	// Unreached is set where no host was reached at all.
	Unreached bool
}

// IsA is the test for errors of type T.
func IsA[T error](err error) bool {
	_, ok := errors.AsType[T](err)
	return ok
}

// isDNS is the test for answers of name servers.
func isDNS(test func(*net.DNSError) bool) func(error) bool {
	return func(err error) bool {
		dns, ok := errors.AsType[*net.DNSError](err)
		return ok && test(dns)
	}
}

// IsOp is the test for operations on a connection.
func IsOp(op string) func(error) bool {
	return func(err error) bool {
		e, ok := errors.AsType[*net.OpError](err)
		return ok && e.Op == op
	}
}

// table has a row for each of the errors that net, crypto/tls, crypto/x509, net/http
// and net/url can return, and for what the kernel says below them. The first row
// that fits counts: what is wrapped comes before what wraps it. What has no row is
// an unexported error of these packages, about which only the request itself knows
// more. Errors that only servers and writers of bodies meet are permanent: met here,
// they are a mistake of this program.
func table() []Row {
	unavailable, malformed := errdefs.ErrUnavailable, errdefs.ErrInvalidArgument
	down := func(name string, is func(error) bool, p Prospect, reason string) Row {
		return Row{name: name, is: is, Prospect: p, Reason: reason, Class: unavailable}
	}
	unreached := func(name string, is func(error) bool, p Prospect, reason string) Row {
		return Row{name: name, is: is, Prospect: p, Reason: reason, Class: unavailable, Unreached: true}
	}
	odd := func(name string, is func(error) bool) Row {
		return Row{name: name, is: is, Prospect: Permanent, Class: malformed}
	}
	value := func(name string, target error) Row {
		return odd(name, func(err error) bool { return errors.Is(err, target) })
	}
	errno := func(name string, n syscall.Errno, p Prospect, reason string) Row {
		return down(name, func(err error) bool { return errors.Is(err, n) }, p, reason)
	}
	return []Row{
		// Names.
		unreached("net.DNSError of a name that does not exist", isDNS(func(e *net.DNSError) bool { return e.IsNotFound && !e.IsTemporary }), Brief, "dns"),
		unreached("net.DNSError that is temporary", isDNS(func(e *net.DNSError) bool { return e.IsTemporary || e.IsTimeout }), temporary, "dns"),
		unreached("net.DNSError", IsA[*net.DNSError], Permanent, "dns"),
		unreached("net.DNSConfigError", IsA[*net.DNSConfigError], Permanent, "dns"),
		unreached("net.AddrError", IsA[*net.AddrError], Permanent, "dns"),
		unreached("net.ParseError", IsA[*net.ParseError], Permanent, "dns"),
		unreached("net.InvalidAddrError", IsA[net.InvalidAddrError], Permanent, "dns"),
		unreached("net.UnknownNetworkError", IsA[net.UnknownNetworkError], Permanent, "dns"),

		// Certificates, and TLS as a whole.
		unreached("x509.UnknownAuthorityError", IsA[x509.UnknownAuthorityError], Permanent, "tls"),
		unreached("x509.HostnameError", IsA[x509.HostnameError], Permanent, "tls"),
		unreached("x509.CertificateInvalidError", IsA[x509.CertificateInvalidError], Permanent, "tls"),
		unreached("x509.ConstraintViolationError", IsA[x509.ConstraintViolationError], Permanent, "tls"),
		unreached("x509.InsecureAlgorithmError", IsA[x509.InsecureAlgorithmError], Permanent, "tls"),
		unreached("x509.SystemRootsError", IsA[x509.SystemRootsError], Permanent, "tls"),
		unreached("x509.UnhandledCriticalExtension", IsA[x509.UnhandledCriticalExtension], Permanent, "tls"),
		unreached("x509.ErrUnsupportedAlgorithm", func(err error) bool { return errors.Is(err, x509.ErrUnsupportedAlgorithm) }, Permanent, "tls"),
		unreached("x509.IncorrectPasswordError", func(err error) bool { return errors.Is(err, x509.IncorrectPasswordError) }, Permanent, "tls"),
		unreached("tls.CertificateVerificationError", IsA[*tls.CertificateVerificationError], Permanent, "tls"),
		unreached("tls.RecordHeaderError", IsNotTLS, Permanent, "tls"),
		unreached("tls.ECHRejectionError", IsA[*tls.ECHRejectionError], Permanent, "tls"),
		unreached("tls.AlertError", IsA[tls.AlertError], Permanent, "tls"),
		down("net.OpError of an alert that bytes were damaged", isAlert(alertBadRecord), temporary, "reset"),
		unreached("net.OpError of an alert", IsOp(remoteError), Permanent, "tls"),

		// HTTP.
		odd("http.ErrSchemeMismatch", func(err error) bool { return errors.Is(err, http.ErrSchemeMismatch) }),
		odd("http.MaxBytesError", IsA[*http.MaxBytesError]),
		odd("http.ProtocolError", IsA[*http.ProtocolError]), //nolint:staticcheck // deprecated, and a row must be there
		value("http.ErrAbortHandler", http.ErrAbortHandler),
		value("http.ErrBodyNotAllowed", http.ErrBodyNotAllowed),
		value("http.ErrBodyReadAfterClose", http.ErrBodyReadAfterClose),
		value("http.ErrContentLength", http.ErrContentLength),
		value("http.ErrHandlerTimeout", http.ErrHandlerTimeout),
		value("http.ErrHeaderTooLong", http.ErrHeaderTooLong), //nolint:staticcheck // deprecated, and a row must be there
		value("http.ErrHijacked", http.ErrHijacked),
		value("http.ErrLineTooLong", http.ErrLineTooLong),
		value("http.ErrMissingBoundary", http.ErrMissingBoundary),
		value("http.ErrMissingContentLength", http.ErrMissingContentLength), //nolint:staticcheck // as above
		value("http.ErrMissingFile", http.ErrMissingFile),
		value("http.ErrNoCookie", http.ErrNoCookie),
		value("http.ErrNoLocation", http.ErrNoLocation),
		value("http.ErrNotMultipart", http.ErrNotMultipart),
		value("http.ErrNotSupported", http.ErrNotSupported),
		value("http.ErrServerClosed", http.ErrServerClosed),
		value("http.ErrShortBody", http.ErrShortBody), //nolint:staticcheck // as above
		value("http.ErrSkipAltProtocol", http.ErrSkipAltProtocol),
		value("http.ErrUnexpectedTrailer", http.ErrUnexpectedTrailer), //nolint:staticcheck // as above
		value("http.ErrUseLastResponse", http.ErrUseLastResponse),
		value("http.ErrWriteAfterFlush", http.ErrWriteAfterFlush), //nolint:staticcheck // as above
		odd("url.EscapeError", IsA[url.EscapeError]),
		odd("url.InvalidHostError", IsA[url.InvalidHostError]),

		// Connections.
		errno("syscall.ECONNREFUSED", syscall.ECONNREFUSED, Brief, "refused"),
		errno("syscall.ECONNRESET", syscall.ECONNRESET, temporary, "reset"),
		errno("syscall.ECONNABORTED", syscall.ECONNABORTED, temporary, "reset"),
		errno("syscall.EPIPE", syscall.EPIPE, temporary, "reset"),
		errno("syscall.ETIMEDOUT", syscall.ETIMEDOUT, temporary, "stall"),
		errno("syscall.EHOSTUNREACH", syscall.EHOSTUNREACH, temporary, "refused"),
		errno("syscall.ENETUNREACH", syscall.ENETUNREACH, temporary, "refused"),
		errno("syscall.EACCES", syscall.EACCES, Permanent, "refused"), // a firewall of this machine
		errno("syscall.EPERM", syscall.EPERM, Permanent, "refused"),
		down("io.ErrUnexpectedEOF", func(err error) bool { return errors.Is(err, io.ErrUnexpectedEOF) }, temporary, "reset"),
		down("io.EOF", func(err error) bool { return errors.Is(err, io.EOF) }, temporary, "reset"),
		down("net.ErrClosed", func(err error) bool { return errors.Is(err, net.ErrClosed) }, temporary, "reset"),
		odd("net.ErrWriteToConnected", func(err error) bool { return errors.Is(err, net.ErrWriteToConnected) }),
		down("context.DeadlineExceeded", func(err error) bool { return errors.Is(err, context.DeadlineExceeded) }, temporary, "stall"),
		down("net.Error that is a time-out", isTimeout, temporary, "stall"),
		down("net.OpError", IsA[*net.OpError], temporary, "reset"),
		down("net.Error", IsA[net.Error], temporary, "reset"),
		down("url.Error", IsA[*url.Error], temporary, "reset"),
	}
}

// otherRow is the row of the errors that have none.
func otherRow() Row {
	return Row{name: "unnamed", Prospect: temporary, Reason: "reset", Class: errdefs.ErrUnavailable}
}

// Of returns what is known about err; ok is false if it has no row.
func Of(err error) (row Row, ok bool) {
	row = otherRow()
	rows := table()
	if i := slices.IndexFunc(rows, func(row Row) bool { return row.is(err) }); i >= 0 {
		row, ok = rows[i], true
	}
	row.Unreached = row.Unreached || IsOp("dial")(err)
	return row, ok
}

func isTimeout(err error) bool {
	t, ok := errors.AsType[net.Error](err)
	return ok && t.Timeout()
}

// IsNotTLS reports whether the server answered something else than TLS.
func IsNotTLS(err error) bool { return IsA[tls.RecordHeaderError](err) }

// remoteError is the operation of a net.OpError that holds an alert of the other
// side.
const remoteError = "remote error"

// Alert is the number of a TLS alert (RFC 8446, section 6).
type Alert uint64

const (
	alertBadRecord           Alert = 20
	alertHandshakeFailure    Alert = 40
	alertBadCertificate      Alert = 42
	alertCertificateUnknown  Alert = 46
	alertUnknownAuthority    Alert = 48
	alertAccessDenied        Alert = 49
	alertProtocolVersion     Alert = 70
	alertCertificateRequired Alert = 116
)

// AlertOf returns the alert that the other side sent. crypto/tls exports neither
// the type nor the numbers.
func AlertOf(err error) (Alert, bool) {
	op, ok := errors.AsType[*net.OpError](err)
	if !ok || op.Op != remoteError {
		return 0, false
	}
	v := reflect.ValueOf(op.Err)
	if v.Kind() != reflect.Uint8 {
		return 0, false
	}
	return Alert(v.Uint()), true
}

func isAlert(want Alert) func(error) bool {
	return func(err error) bool {
		got, ok := AlertOf(err)
		return ok && got == want
	}
}

// IsAboutClient reports whether the alert says that the certificate of this side
// is missing or is not accepted.
func (a Alert) IsAboutClient() bool {
	return a >= alertBadCertificate && a <= alertCertificateUnknown || a == alertUnknownAuthority || a == alertAccessDenied || a == alertCertificateRequired
}

// IsAboutHandshake reports whether the alert only says that both sides found nothing
// in common, which has many causes.
func (a Alert) IsAboutHandshake() bool {
	return a == alertProtocolVersion || a == alertHandshakeFailure
}
