package token

import (
	"net/http"
	"net/url"
	"strings"
)

// Schemes of challenges that can be answered, in lower case.
const (
	Bearer = "bearer"
	Basic  = "basic"
)

// Challenge is one way in which a host lets a client prove who it is.
type Challenge struct {
	Scheme     string // in lower case
	Parameters map[string]string
}

// namesServer reports whether the challenge says where a token can be had.
func (c Challenge) namesServer() bool {
	realm, err := url.Parse(c.Parameters["realm"])
	return err == nil && realm.Host != ""
}

// Choose picks the challenge to answer out of the headers of a 401: a token
// rather than a password, unless the challenge does not say where to get one.
// ok is false if there is neither.
func Choose(answer http.Header) (chosen Challenge, ok bool) {
	challenges := parseChallenges(answer.Values("WWW-Authenticate"))
	for _, suits := range []func(Challenge) bool{
		func(c Challenge) bool { return c.Scheme == Bearer && c.namesServer() },
		func(c Challenge) bool { return c.Scheme == Basic },
		func(c Challenge) bool { return c.Scheme == Bearer }, // enough for a token that is configured
	} {
		for _, c := range challenges {
			if suits(c) {
				return c, true
			}
		}
	}
	return Challenge{}, false
}

// parseChallenges reads the values of WWW-Authenticate headers. Each may hold
// several challenges, whose parameters are separated by the same commas as the
// challenges are (RFC 9110, section 11.6.1). Of a header that breaks off, what
// stands before counts.
func parseChallenges(headers []string) []Challenge {
	var list []Challenge
	for _, header := range headers {
		s := scanner{rest: header}
		list = append(list, s.challenges()...)
	}
	return list
}

// scanner reads one header from its beginning to its end.
type scanner struct{ rest string }

func (s *scanner) challenges() []Challenge {
	var list []Challenge
	for {
		s.skip(" \t,")
		name := s.take(isTokenChar)
		if name == "" {
			return list
		}
		spaced := s.skip(" \t")
		switch {
		case len(list) > 0 && strings.HasPrefix(s.rest, "="):
			s.rest = s.rest[1:]
			value, ok := s.value()
			if !ok {
				return list
			}
			list[len(list)-1].Parameters[strings.ToLower(name)] = value
		default:
			list = append(list, Challenge{Scheme: strings.ToLower(name), Parameters: map[string]string{}})
			if spaced {
				s.skipToken68()
			}
		}
	}
}

// skip drops leading characters that are in set and reports whether there were
// any.
func (s *scanner) skip(set string) bool {
	rest := strings.TrimLeft(s.rest, set)
	skipped := len(rest) < len(s.rest)
	s.rest = rest
	return skipped
}

// take returns the leading characters that fit.
func (s *scanner) take(fits func(byte) bool) string {
	n := 0
	for n < len(s.rest) && fits(s.rest[n]) {
		n++
	}
	taken := s.rest[:n]
	s.rest = s.rest[n:]
	return taken
}

// value reads what follows the "=" of a parameter. Registries write URLs without
// quotes, so that all up to the next comma or blank counts where quotes are
// missing. ok is false if quotes do not end.
func (s *scanner) value() (value string, ok bool) {
	s.skip(" \t")
	if !strings.HasPrefix(s.rest, `"`) {
		return s.take(func(c byte) bool { return c != ',' && c != ' ' && c != '\t' }), true
	}
	var b strings.Builder
	for i := 1; i < len(s.rest); i++ {
		switch c := s.rest[i]; {
		case c == '"':
			s.rest = s.rest[i+1:]
			return b.String(), true
		case c == '\\' && i+1 < len(s.rest):
			i++
			b.WriteByte(s.rest[i])
		default:
			b.WriteByte(c)
		}
	}
	return "", false
}

// skipToken68 drops the one piece of text that some schemes have in place of
// parameters. Nothing else than a comma can follow it.
func (s *scanner) skipToken68() {
	ahead := scanner{rest: s.rest}
	if ahead.take(isToken68Char) == "" {
		return
	}
	ahead.skip("=")
	ahead.skip(" \t")
	if ahead.rest == "" || ahead.rest[0] == ',' {
		s.rest = ahead.rest
	}
}

func isAlphanumeric(c byte) bool {
	return '0' <= c && c <= '9' || 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z'
}

func isTokenChar(c byte) bool {
	return isAlphanumeric(c) || strings.IndexByte("!#$%&'*+-.^_`|~", c) >= 0
}

func isToken68Char(c byte) bool {
	return isAlphanumeric(c) || strings.IndexByte("-._~+/", c) >= 0
}
