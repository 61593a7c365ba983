package progress

// Tee is a sink that hands each event to all of sinks, in their order.
func Tee(sinks ...Sink) Sink {
	return func(e Event) {
		for _, s := range sinks {
			s.Emit(e)
		}
	}
}
