package multibuffer

// Plain returns a Hasher that leaves everything to the standard library.
func Plain() *Hasher { return newHasher(false) }

// Capable reports whether the hashers of New work on this processor.
func Capable() bool { return capable() }
