package erofs

// Held is what the image holds in memory, by its own count.
func (m *Image) Held() int { return m.held }
