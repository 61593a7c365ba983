package store

// ConfigFlag lets the tests read command lines of containerd.
func ConfigFlag(args []string) (string, bool) { return configFlag(args) }
