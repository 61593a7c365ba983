package pull

import ocispec "github.com/opencontainers/image-spec/specs-go/v1"

// ChildLabels lets the tests compare the labels of a document with those that
// containerd gives it.
func ChildLabels(children []ocispec.Descriptor, reference func(ocispec.Descriptor) []string) map[string]string {
	return childLabels(children, reference)
}
