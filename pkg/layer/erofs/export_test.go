package erofs

// MaxHeld is the bound of what an image holds in memory.
const MaxHeld = maxHeld

// Bound sets another one.
func (m *Image) Bound(bytes int) { m.most = bytes }
