package registry

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
	"syscall"

	"github.com/containerd/errdefs"
)

// prospect is what may be expected of another try.
type prospect int

const (
	// temporary failures pass: they are tried again as often as Retry says.
	temporary prospect = iota
	// brief failures last a second or for good, as those of a server that is being
	// restarted or of a name that is mistyped. One more try tells which.
	brief
	// permanent failures come back with every try.
	permanent
)

// netError is what an error of the standard library means for a request.
type netError struct {
	name     string // as go doc has it
	is       func(error) bool
	prospect prospect
	reason   string // see Reason
	class    error  // of errdefs
	// unreached is set where no host was reached at all.
	unreached bool
}

// isA is the test for errors of type T.
func isA[T error](err error) bool {
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

// isOp is the test for operations on a connection.
func isOp(op string) func(error) bool {
	return func(err error) bool {
		e, ok := errors.AsType[*net.OpError](err)
		return ok && e.Op == op
	}
}

// netErrors is the table of the errors that net, crypto/tls, crypto/x509, net/http
// and net/url can return, and of what the kernel says below them. The first row
// that fits counts: what is wrapped comes before what wraps it. What has no row is
// an unexported error of these packages, about which attempt knows more. Errors that
// only servers and writers of bodies meet are permanent: met here, they are a
// mistake of this program.
func netErrors() []netError {
	unavailable, malformed := errdefs.ErrUnavailable, errdefs.ErrInvalidArgument
	down := func(name string, is func(error) bool, p prospect, reason string) netError {
		return netError{name: name, is: is, prospect: p, reason: reason, class: unavailable}
	}
	unreached := func(name string, is func(error) bool, p prospect, reason string) netError {
		return netError{name: name, is: is, prospect: p, reason: reason, class: unavailable, unreached: true}
	}
	odd := func(name string, is func(error) bool) netError {
		return netError{name: name, is: is, prospect: permanent, class: malformed}
	}
	value := func(name string, target error) netError {
		return odd(name, func(err error) bool { return errors.Is(err, target) })
	}
	errno := func(name string, n syscall.Errno, p prospect, reason string) netError {
		return down(name, func(err error) bool { return errors.Is(err, n) }, p, reason)
	}
	return []netError{
		// Names.
		unreached("net.DNSError of a name that does not exist", isDNS(func(e *net.DNSError) bool { return e.IsNotFound && !e.IsTemporary }), brief, "dns"),
		unreached("net.DNSError that is temporary", isDNS(func(e *net.DNSError) bool { return e.IsTemporary || e.IsTimeout }), temporary, "dns"),
		unreached("net.DNSError", isA[*net.DNSError], permanent, "dns"),
		unreached("net.DNSConfigError", isA[*net.DNSConfigError], permanent, "dns"),
		unreached("net.AddrError", isA[*net.AddrError], permanent, "dns"),
		unreached("net.ParseError", isA[*net.ParseError], permanent, "dns"),
		unreached("net.InvalidAddrError", isA[net.InvalidAddrError], permanent, "dns"),
		unreached("net.UnknownNetworkError", isA[net.UnknownNetworkError], permanent, "dns"),

		// Certificates, and TLS as a whole.
		unreached("x509.UnknownAuthorityError", isA[x509.UnknownAuthorityError], permanent, "tls"),
		unreached("x509.HostnameError", isA[x509.HostnameError], permanent, "tls"),
		unreached("x509.CertificateInvalidError", isA[x509.CertificateInvalidError], permanent, "tls"),
		unreached("x509.ConstraintViolationError", isA[x509.ConstraintViolationError], permanent, "tls"),
		unreached("x509.InsecureAlgorithmError", isA[x509.InsecureAlgorithmError], permanent, "tls"),
		unreached("x509.SystemRootsError", isA[x509.SystemRootsError], permanent, "tls"),
		unreached("x509.UnhandledCriticalExtension", isA[x509.UnhandledCriticalExtension], permanent, "tls"),
		unreached("x509.ErrUnsupportedAlgorithm", func(err error) bool { return errors.Is(err, x509.ErrUnsupportedAlgorithm) }, permanent, "tls"),
		unreached("x509.IncorrectPasswordError", func(err error) bool { return errors.Is(err, x509.IncorrectPasswordError) }, permanent, "tls"),
		unreached("tls.CertificateVerificationError", isA[*tls.CertificateVerificationError], permanent, "tls"),
		unreached("tls.RecordHeaderError", isNotTLS, permanent, "tls"),
		unreached("tls.ECHRejectionError", isA[*tls.ECHRejectionError], permanent, "tls"),
		unreached("tls.AlertError", isA[tls.AlertError], permanent, "tls"),
		down("net.OpError of an alert that bytes were damaged", isAlert(alertBadRecord), temporary, "reset"),
		unreached("net.OpError of an alert", isOp(remoteError), permanent, "tls"),

		// HTTP.
		odd("http.ErrSchemeMismatch", func(err error) bool { return errors.Is(err, http.ErrSchemeMismatch) }),
		odd("http.MaxBytesError", isA[*http.MaxBytesError]),
		odd("http.ProtocolError", isA[*http.ProtocolError]), //nolint:staticcheck // deprecated, and a row must be there
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
		odd("url.EscapeError", isA[url.EscapeError]),
		odd("url.InvalidHostError", isA[url.InvalidHostError]),

		// Connections.
		errno("syscall.ECONNREFUSED", syscall.ECONNREFUSED, brief, "refused"),
		errno("syscall.ECONNRESET", syscall.ECONNRESET, temporary, "reset"),
		errno("syscall.ECONNABORTED", syscall.ECONNABORTED, temporary, "reset"),
		errno("syscall.EPIPE", syscall.EPIPE, temporary, "reset"),
		errno("syscall.ETIMEDOUT", syscall.ETIMEDOUT, temporary, "stall"),
		errno("syscall.EHOSTUNREACH", syscall.EHOSTUNREACH, temporary, "refused"),
		errno("syscall.ENETUNREACH", syscall.ENETUNREACH, temporary, "refused"),
		errno("syscall.EACCES", syscall.EACCES, permanent, "refused"), // a firewall of this machine
		errno("syscall.EPERM", syscall.EPERM, permanent, "refused"),
		down("io.ErrUnexpectedEOF", func(err error) bool { return errors.Is(err, io.ErrUnexpectedEOF) }, temporary, "reset"),
		down("io.EOF", func(err error) bool { return errors.Is(err, io.EOF) }, temporary, "reset"),
		down("net.ErrClosed", func(err error) bool { return errors.Is(err, net.ErrClosed) }, temporary, "reset"),
		odd("net.ErrWriteToConnected", func(err error) bool { return errors.Is(err, net.ErrWriteToConnected) }),
		down("context.DeadlineExceeded", func(err error) bool { return errors.Is(err, context.DeadlineExceeded) }, temporary, "stall"),
		down("net.Error that is a time-out", isTimeout, temporary, "stall"),
		down("net.OpError", isA[*net.OpError], temporary, "reset"),
		down("net.Error", isA[net.Error], temporary, "reset"),
		down("url.Error", isA[*url.Error], temporary, "reset"),
	}
}

// unnamed is the row of the errors that have none.
func unnamed() netError {
	return netError{name: "unnamed", prospect: temporary, reason: "reset", class: errdefs.ErrUnavailable}
}

// rowOf returns what is known about err; ok is false if it has no row.
func rowOf(err error) (row netError, ok bool) {
	for _, row := range netErrors() {
		if row.is(err) {
			return row, true
		}
	}
	return unnamed(), false
}

func isTimeout(err error) bool {
	t, ok := errors.AsType[net.Error](err)
	return ok && t.Timeout()
}

// isNotTLS reports whether the server answered something else than TLS.
func isNotTLS(err error) bool { return isA[tls.RecordHeaderError](err) }

// remoteError is the operation of a net.OpError that holds an alert of the other
// side.
const remoteError = "remote error"

// alert is the number of a TLS alert (RFC 8446, section 6).
type alert uint64

const (
	alertBadRecord           alert = 20
	alertHandshakeFailure    alert = 40
	alertBadCertificate      alert = 42
	alertCertificateUnknown  alert = 46
	alertUnknownAuthority    alert = 48
	alertAccessDenied        alert = 49
	alertProtocolVersion     alert = 70
	alertCertificateRequired alert = 116
)

// alertOf returns the alert that the other side sent. crypto/tls exports neither
// the type nor the numbers.
func alertOf(err error) (alert, bool) {
	op, ok := errors.AsType[*net.OpError](err)
	if !ok || op.Op != remoteError {
		return 0, false
	}
	v := reflect.ValueOf(op.Err)
	if v.Kind() != reflect.Uint8 {
		return 0, false
	}
	return alert(v.Uint()), true
}

func isAlert(want alert) func(error) bool {
	return func(err error) bool {
		got, ok := alertOf(err)
		return ok && got == want
	}
}

// isAboutClient reports whether the alert says that the certificate of this side
// is missing or is not accepted.
func (a alert) isAboutClient() bool {
	return a >= alertBadCertificate && a <= alertCertificateUnknown || a == alertUnknownAuthority || a == alertAccessDenied || a == alertCertificateRequired
}
