package timeline

import "time"

// A flow has at most maxSteps steps, none of them shorter than leastStep.
const (
	maxSteps  = 100
	leastStep = 20 * time.Millisecond
)

// flow is how many bytes came when. Its steps become longer with the call.
type flow struct {
	step  time.Duration
	bytes []int64
}

// spread adds n bytes that came between two times after the start. They count as
// evenly spread, since no more is known.
func (f *flow) spread(from, to time.Duration, n int64) {
	if f.step == 0 {
		f.step = leastStep
	}
	for to/f.step >= maxSteps {
		f.widen()
	}
	from, to = max(min(from, to), 0), max(to, 0)
	first, last := int(from/f.step), int(to/f.step)
	for len(f.bytes) <= last {
		f.bytes = append(f.bytes, 0)
	}
	left := n
	for i := first; i < last; i++ {
		begin, end := max(from, time.Duration(i)*f.step), time.Duration(i+1)*f.step
		part := int64(float64(n) * float64(end-begin) / float64(to-from))
		f.bytes[i] += part
		left -= part
	}
	f.bytes[last] += left
}

// widen makes the steps twice as long.
func (f *flow) widen() {
	f.step *= 2
	for i, n := range f.bytes {
		if i%2 == 0 {
			f.bytes[i/2] = n
		} else {
			f.bytes[i/2] += n
		}
	}
	f.bytes = f.bytes[:(len(f.bytes)+1)/2]
}
