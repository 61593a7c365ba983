package pulltest

// Endless is a stream that repeats a chunk for ever, after what comes first.
type Endless struct {
	First, Chunk []byte
	// Count is how many bytes were read.
	Count int64
}

// Read implements io.Reader.
func (e *Endless) Read(p []byte) (int, error) {
	n := 0
	for n < len(p) {
		from := e.First
		if e.Count < int64(len(e.First)) {
			from = from[e.Count:]
		} else {
			from = e.Chunk[(e.Count-int64(len(e.First)))%int64(len(e.Chunk)):]
		}
		m := copy(p[n:], from)
		n += m
		e.Count += int64(m)
	}
	return n, nil
}
