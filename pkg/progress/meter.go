package progress

import "time"

const (
	// meterWindow is how far back a rate looks: long enough to be calm, short
	// enough to show a stall soon.
	meterWindow = 5 * time.Second
	// meterStep bounds the number of samples: events closer together than this
	// share one.
	meterStep = 250 * time.Millisecond
)

// meter measures the rate at which bytes move. Its zero value is ready.
type meter struct {
	total   int64
	last    time.Time // of the newest bytes
	samples []sample
}

type sample struct {
	time  time.Time
	total int64
}

// add counts n bytes at the time t. The first call, usually with no bytes,
// starts the clock.
func (m *meter) add(t time.Time, n int64) {
	if last := len(m.samples) - 1; last < 0 || t.Sub(m.samples[last].time) >= meterStep {
		m.samples = append(m.samples, sample{t, m.total})
	}
	m.total += n
	m.last = t
	for len(m.samples) > 1 && !m.samples[1].time.After(t.Add(-meterWindow)) {
		m.samples = m.samples[1:]
	}
}

// rate returns bytes per second over the window that ends at now, and 0 as long
// as there is too little to go by.
func (m *meter) rate(now time.Time) float64 {
	if len(m.samples) == 0 || now.Sub(m.last) >= meterWindow {
		return 0
	}
	from := m.samples[0]
	for _, s := range m.samples[1:] {
		if s.time.After(now.Add(-meterWindow)) {
			break
		}
		from = s
	}
	if elapsed := now.Sub(from.time); elapsed >= meterStep {
		return Average(m.total-from.total, elapsed)
	}
	return 0
}
