package value_test

import (
	"testing"

	"github.com/containerd-pull/containerd-pull/pkg/config/value"
)

func TestNearest(t *testing.T) {
	words := []string{"namespace", "platforms", "address", "root"}
	for word, want := range map[string]string{
		"namespase": "namespace", "platform": "platforms", "adress": "address", "rooot": "root", "orot": "root", "x": "", "something": "",
	} {
		if got := value.Nearest(word, words); got != want {
			t.Errorf("Nearest(%q): got %q, want %q", word, got, want)
		}
	}
}
