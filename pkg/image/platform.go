package image

import (
	"github.com/containerd/platforms"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// Choose returns the index of the platform of all that suits want best, the
// first of several that suit it as well, and -1 if none does. A platform
// without an operating system, such as that of an artifact, suits every want.
func Choose(all []ocispec.Platform, want platforms.MatchComparer) int {
	best := -1
	for i, p := range all {
		if p.OS != "" && !want.Match(platforms.Normalize(p)) {
			continue
		}
		if best < 0 || want.Less(p, all[best]) {
			best = i
		}
	}
	return best
}
