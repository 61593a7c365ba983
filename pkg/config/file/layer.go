package file

import (
	"maps"
	"strings"

	"github.com/spf13/viper"
)

// Place is where settings stand in a document: at the top, or in a profile.
type Place struct {
	Document *Document
	Profile  string // empty at the top
}

// Line is the line of a setting.
func (p Place) Line(key string) int { return p.Document.Line(p.path(key)) }

func (p Place) at(key string) (any, bool) { return p.Document.At(p.path(key)) }

func (p Place) path(key string) []string {
	path := strings.Split(key, ".")
	if p.Profile == "" {
		return path
	}
	return append([]string{ProfilesKey, p.Profile}, path...)
}

// Layer is what several places hold for settings, the later ones over the
// earlier.
type Layer struct {
	places []Place
	merged *viper.Viper
}

// Found is what a layer holds for a setting: the strongest value, and its place.
type Found struct {
	Raw   any
	Place Place
	Depth int // of the place in the layer, from the weakest on
}

// NewLayer merges what the places, the weakest first, hold for settings. A key
// has dots between tables.
func NewLayer(keys []string, places []Place) (*Layer, error) {
	merged, err := merge(keys, places)
	return &Layer{places, merged}, err
}

// merge is all that viper does in this program: it merges the maps of the
// configuration files, setting by setting. Each value goes in with its place, so
// that the origin comes out with the value, and so that viper, which lowers the
// case of the keys that it sees, leaves those within values as they are.
func merge(keys []string, places []Place) (*viper.Viper, error) {
	merged := viper.New()
	for depth, p := range places {
		settings := map[string]any{}
		for _, key := range keys {
			if raw, ok := p.at(key); ok {
				settings[key] = Found{raw, p, depth}
			}
		}
		if err := merged.MergeConfigMap(settings); err != nil {
			return nil, err
		}
	}
	return merged, nil
}

// Lookup finds what the layer holds for a setting.
func (l *Layer) Lookup(key string) (Found, bool) {
	found, ok := l.merged.Get(key).(Found)
	return found, ok
}

// Table merges a table whose keys are the user's, key by key.
func (l *Layer) Table(key string) map[string]any {
	merged := map[string]any{}
	for _, p := range l.places {
		node, _ := p.at(key)
		t, _ := node.(map[string]any)
		maps.Copy(merged, t)
	}
	return merged
}
