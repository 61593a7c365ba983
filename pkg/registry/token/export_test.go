package token

// ParseChallenges is parseChallenges.
var ParseChallenges = parseChallenges
