package config

import (
	"slices"
	"sync"
)

// Table lists the settings in the order of help. Each entry names the field
// that it sets, so that a setting without effect cannot be written down.
func Table() []*Setting { return slices.Clone(table()) }

// table is made once, for all commands.
var table = sync.OnceValue(func() (all []*Setting) {
	for _, part := range [][]*Setting{destinationSettings(), selectionSettings(), registrySettings(), credentialSettings(), verificationSettings(), limitSettings(), outputSettings()} {
		all = append(all, part...)
	}
	return all
})

// settingKeys are the keys of the settings that files may hold.
func settingKeys() []string {
	var keys []string
	for _, s := range Table() {
		if s.Key != "" {
			keys = append(keys, s.Key)
		}
	}
	return keys
}

// GCSettings are the settings of commands that work on a store and contact no
// registry.
func GCSettings() []*Setting {
	return append(storeSettings(), only(Table(), "timeout", "debug")...)
}

// WatchSettings are the settings of a command that looks at everything in a daemon.
func WatchSettings() []*Setting {
	all := only(destinationSettings(), "address", "connect_timeout")
	return append(append(all, ProfileSettings()...), only(outputSettings(), "quiet", "debug")...)
}

// ShowSettings are the settings of the command that shows settings: it has a
// --format of its own, and takes one reference.
func ShowSettings() []*Setting {
	return slices.DeleteFunc(Table(), func(s *Setting) bool {
		return slices.Contains([]string{"--format", "--file", "--from", "--key"}, s.Name())
	})
}

// PlanSettings are those of a pull without those that are about its result.
func PlanSettings() []*Setting {
	return slices.DeleteFunc(Table(), func(s *Setting) bool {
		return slices.Contains([]string{"output_style", "--print", "--print-chainid", "--digestfile", "--timeline"}, s.Name())
	})
}

// storeSettings choose a store. Without an engine nothing new is made in one.
func storeSettings() []*Setting {
	return slices.DeleteFunc(destinationSettings(), func(s *Setting) bool { return s.Key == "engine" || s.Key == "force_root" })
}

// only picks settings by their names.
func only(all []*Setting, names ...string) []*Setting {
	return slices.DeleteFunc(all, func(s *Setting) bool { return !slices.Contains(names, s.Name()) })
}

// VerifySettings are the settings of a command that checks images in a store and
// repairs them: which platforms an image has, and how to fetch what is missing.
func VerifySettings() []*Setting {
	all := append(storeSettings(), only(selectionSettings(), "platforms", "all_platforms")...)
	all = append(append(all, registrySettings()...), credentialSettings()...)
	all = append(all, only(limitSettings(), "timeout", "retry.count", "retry.delay", "stall_timeout", "limits.min_rate",
		"limits.manifest_bytes", "limits.unpacked_bytes", "limits.ratio", "limits.requests_per_second", "limits.unpacks", "limits.downloads", "reserve")...)
	return append(all, only(outputSettings(), "quiet", "progress", "debug")...)
}

// FileSettings are the settings of commands that only read files.
func FileSettings() []*Setting { return []*Setting{configFile()} }

// ProfileSettings are the settings of commands that look at one profile.
func ProfileSettings() []*Setting { return []*Setting{profileChoice(), configFile()} }

// HostSettings are the settings of commands that contact registries and pull
// nothing.
func HostSettings() []*Setting {
	all := []*Setting{profileChoice(), configFile()}
	for _, s := range append(registrySettings(), credentialSettings()...) {
		if s.Key != "" {
			all = append(all, s)
		}
	}
	return all
}

// LoginSettings are the settings of the command that tries a credential and keeps
// it.
func LoginSettings() []*Setting {
	all := append(HostSettings(), only(credentialSettings(), "--user", "--username", "--password-stdin")...)
	all = append(all, only(limitSettings(), "timeout", "retry.count", "retry.delay", "stall_timeout")...)
	return append(all, only(outputSettings(), "quiet")...)
}

// LogoutSettings are the settings of the command that removes a credential.
func LogoutSettings() []*Setting {
	return append([]*Setting{profileChoice(), configFile()}, only(credentialSettings(), "authfile")...)
}

// ImageSettings are the settings of commands that look at the images of a store or
// remove some.
func ImageSettings() []*Setting {
	all := append(storeSettings(), only(limitSettings(), "timeout")...)
	return append(all, only(outputSettings(), "quiet", "debug")...)
}
