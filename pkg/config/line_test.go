package config_test

import (
	"strings"
	"testing"

	"github.com/containerd-pull/containerd-pull/pkg/config"
	"github.com/containerd-pull/containerd-pull/pkg/source"
)

// TestLine: what a line says of its image is stronger than the flags of the call, and
// holds for no other image.
func TestLine(t *testing.T) {
	files := map[string]string{"/etc/containerd-pull/config.toml": "[profiles.a]\nsnapshotter = 'native'\n[profiles.b]\nsnapshotter = 'erofs'\n"}
	for _, tc := range []struct {
		name    string
		args    []string
		values  map[string][]string
		setting string
		value   string
		origin  string
	}{
		{"nothing said", []string{"--policy", "newer"}, nil, "policy", "newer", "flag --policy"},
		{"policy", []string{"--policy", "newer"}, map[string][]string{"policy": {"missing"}}, "policy", "missing", "list:7"},
		{"platforms", nil, map[string][]string{"platform": {"linux/arm64", "amd64,linux/arm/v7"}}, "platforms", "linux/arm64,linux/amd64,linux/arm/v7", "list:7"},
		{"platform beside all", []string{"--all-platforms"}, map[string][]string{"platform": {"linux/arm64"}}, "all_platforms", "false", "not used beside platforms"},
		{"labels are added to", []string{"--label", "a=1", "--label", "b=1"}, map[string][]string{"label": {"b=2", "c"}}, "labels", "a=1,b=2,c=true", "list:7"},
		{"profile", nil, map[string][]string{"profile": {"a"}}, "snapshotter", "native", ""},
		{"profile over that of the flag", []string{"-p", "b"}, map[string][]string{"profile": {"a"}}, "snapshotter", "native", ""},
		{"flag over the profile of the line", []string{"--snapshotter", "x"}, map[string][]string{"profile": {"a"}}, "snapshotter", "x", "flag --snapshotter"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			settings, _, err := call{args: tc.args, files: files}.settings(t)
			if err != nil {
				t.Fatal(err)
			}
			ref := source.Ref{Domain: "r.example.com", Path: "app"}
			cfg, err := settings.ForLine(config.Line{File: "list", Line: 7, Values: tc.values}).Resolve(ref)
			if err != nil {
				t.Fatal(err)
			}
			value, origin := resolved(t, cfg, tc.setting)
			if value != tc.value || tc.origin != "" && origin != tc.origin {
				t.Errorf("%s: got %q from %s, want %q from %s", tc.setting, value, origin, tc.value, tc.origin)
			}
			other, err := settings.Resolve(ref)
			if err != nil {
				t.Fatal(err)
			}
			if _, origin := resolved(t, other, tc.setting); strings.HasPrefix(origin, "list:") {
				t.Errorf("another image has %s from %s", tc.setting, origin)
			}
		})
	}
}
