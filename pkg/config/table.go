package config

import (
	"slices"
)

// Table lists the settings in the order of help. Each entry names the field
// that it sets, so that a setting without effect cannot be written down.
func Table() []*Setting {
	var all []*Setting
	for _, part := range [][]*Setting{storeSettings(), selectSettings(), registrySettings(), credentialSettings(), verifySettings(), limitSettings(), outputSettings()} {
		all = append(all, part...)
	}
	return all
}

// settingKeys are the keys that files may hold.
func settingKeys() []string {
	var keys []string
	for _, s := range Table() {
		if s.Key != "" {
			keys = append(keys, s.Key)
		}
	}
	return keys
}

// GCSettings are the settings of commands that look at a store and ask no
// registry.
func GCSettings() []*Setting {
	return append(placeSettings(), only(Table(), "timeout", "debug")...)
}

// ShowSettings are those of the command that shows settings, whose own --format
// says how.
func ShowSettings() []*Setting {
	return slices.DeleteFunc(Table(), func(s *Setting) bool { return s.Name() == "--format" })
}

// placeSettings say which store, and leave out who works on it.
func placeSettings() []*Setting {
	return slices.DeleteFunc(storeSettings(), func(s *Setting) bool { return s.Key == "engine" })
}

// only picks settings by their names.
func only(all []*Setting, names ...string) []*Setting {
	return slices.DeleteFunc(all, func(s *Setting) bool { return !slices.Contains(names, s.Name()) })
}

// VerifySettings are those of GCSettings and of what it takes to repair an
// image: which platforms it has, and how to fetch what is missing.
func VerifySettings() []*Setting {
	all := append(placeSettings(), only(selectSettings(), "platforms", "all_platforms")...)
	all = append(append(all, registrySettings()...), credentialSettings()...)
	all = append(all, only(limitSettings(), "timeout", "retry.count", "retry.delay", "stall_timeout", "limits.min_rate",
		"limits.manifest_bytes", "limits.requests_per_second", "limits.unpacks", "limits.downloads")...)
	return append(all, only(outputSettings(), "quiet", "progress", "debug")...)
}
