package timeline

import (
	"fmt"
	"time"
)

// axis places times on the width of the picture.
type axis struct {
	start time.Time
	total time.Duration // at least a millisecond
	left  float64
	width float64
}

// x is the place of a time, never outside of the axis.
func (a axis) x(at time.Time) float64 {
	part := float64(at.Sub(a.start)) / float64(a.total)
	return a.left + a.width*min(max(part, 0), 1)
}

// mostTicks is how many ticks an axis has at most, beside the one at 0.
const mostTicks = 9

// step is the shortest round time between ticks that leaves room for their
// labels.
func (a axis) step() time.Duration {
	const day = 24 * time.Hour
	for _, unit := range []struct {
		size  time.Duration
		times []time.Duration
	}{
		{time.Millisecond, []time.Duration{1, 2, 5, 10, 20, 50, 100, 200, 500}},
		{time.Second, []time.Duration{1, 2, 5, 10, 15, 30}},
		{time.Minute, []time.Duration{1, 2, 5, 10, 15, 30}},
		{time.Hour, []time.Duration{1, 2, 3, 6, 12}},
	} {
		for _, n := range unit.times {
			if step := n * unit.size; a.total/step <= mostTicks {
				return step
			}
		}
	}
	step := day
	for a.total/step > mostTicks {
		step *= 2
	}
	return step
}

// ticks lists the times to be marked, 0 first.
func (a axis) ticks() []time.Duration {
	step := a.step()
	var all []time.Duration
	for i := range a.total/step + 1 {
		all = append(all, i*step)
	}
	return all
}

// label names a tick in units that fit the step: "250 ms", "1.5 s", "2:30",
// "1:02:00".
func (a axis) label(at time.Duration) string {
	step := a.step()
	switch {
	case at == 0:
		return "0"
	case a.total < time.Second:
		return fmt.Sprintf("%d ms", at.Milliseconds())
	case step < time.Second:
		return fmt.Sprintf("%.1f s", at.Seconds())
	case a.total < 2*time.Minute:
		return fmt.Sprintf("%d s", int(at.Seconds()))
	case a.total < 2*time.Hour && at < time.Hour:
		return fmt.Sprintf("%d:%02d", int(at.Minutes()), int(at.Seconds())%60)
	}
	return fmt.Sprintf("%d:%02d:%02d", int(at.Hours()), int(at.Minutes())%60, int(at.Seconds())%60)
}
