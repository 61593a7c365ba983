package neterror

import (
	"crypto/tls"
	"slices"
)

// UnsafePart names what of a connection is no longer safe, empty if all is.
func UnsafePart(s tls.ConnectionState) string {
	if s.Version < tls.VersionTLS12 {
		return tls.VersionName(s.Version) + " at best"
	}
	if slices.ContainsFunc(tls.InsecureCipherSuites(), func(c *tls.CipherSuite) bool { return c.ID == s.CipherSuite }) {
		return tls.VersionName(s.Version) + " with " + tls.CipherSuiteName(s.CipherSuite)
	}
	return ""
}

// EverySuite are all cipher suites that there are, for a server that is asked what it
// speaks.
func EverySuite() []uint16 {
	suites := append(tls.CipherSuites(), tls.InsecureCipherSuites()...)
	all := make([]uint16, len(suites))
	for i, s := range suites {
		all[i] = s.ID
	}
	return all
}
