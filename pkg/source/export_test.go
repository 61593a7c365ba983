package source

// MatchPattern is the matcher below FitPattern and MatchCredential.
func MatchPattern(pattern, name string) bool { return matchPattern(whole(pattern), name) }
