package fetch

import "slices"

// origin is where the bytes of an ingest come from.
type origin struct {
	hosts   []string // that sent some, in the order of their first byte
	last    string   // host
	unknown bool     // some are from another client or an earlier pull
}

// add notes that host sent the next bytes. It is called for every read.
func (o *origin) add(host string) {
	if host == o.last {
		return
	}
	o.last = host
	if !slices.Contains(o.hosts, host) {
		o.hosts = append(o.hosts, host)
	}
}

// proven returns the host that sent all bytes, if one did.
func (o *origin) proven() (string, bool) {
	if o.unknown || len(o.hosts) != 1 {
		return "", false
	}
	return o.hosts[0], true
}

// trail is what an ingest knew about its bytes when it was closed. The next one of
// the same blob needs it, for a layer is given up in the middle when its bytes
// cannot be unpacked.
type trail struct {
	origin   origin
	offset   int64
	alone    bool
	doubted  []string
	blamed   bool
	failures int
}

// leave keeps the trail of a blob that was not found right.
func (in *Ingest) leave() {
	if in.verified {
		in.f.trails.Delete(in.key)
		return
	}
	in.f.trails.Store(in.key, trail{in.origin, in.offset, in.alone, in.doubted, in.blamed, in.failures})
}

// takeUp finds out where the bytes come from that the ingest holds when it is
// opened.
func (in *Ingest) takeUp() {
	in.origin = origin{unknown: in.offset > 0}
	left, ok := in.f.trails.Load(in.key)
	if !ok {
		return
	}
	t := left.(trail)
	in.alone, in.doubted, in.blamed, in.failures = t.alone, t.doubted, t.blamed, t.failures
	if in.offset > 0 && in.offset == t.offset {
		in.origin = t.origin
	}
	if host, ok := in.origin.proven(); ok && in.alone {
		in.pinned = host
	}
}
