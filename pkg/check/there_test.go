package check_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/containerd-pull/containerd-pull/pkg/check"
	"github.com/containerd-pull/containerd-pull/pkg/internal/pulltest"
	"github.com/containerd-pull/containerd-pull/pkg/internal/pulltest/testregistry"
	"github.com/containerd-pull/containerd-pull/pkg/internal/pulltest/teststore"
)

// TestF6VerifySeesLostFolders removes the folder of each snapshot, whole or without
// its top. Verify sees it, deep or not, says something about the image in any case,
// and mends it in its place.
func TestF6VerifySeesLostFolders(t *testing.T) {
	img := pulltest.SmallVariant(pulltest.Spec{}, pulltest.Gzip, "f6")
	each(t, teststore.Places()[:1], func(t *testing.T, s *site) {
		ref := testregistry.Push(t, testregistry.Start(t, testregistry.Options{}), "team/app:1", img)
		s.pull(ref)
		var dirs []string
		for n := range img.Layers {
			dirs = append(dirs, s.folder(img, n))
		}
		for n, dir := range dirs {
			for _, whole := range []bool{false, true} {
				t.Run(fmt.Sprintf("layer %d, all of it %v", n, whole), func(t *testing.T) {
					s := s.in(t)
					if whole {
						dir = filepath.Dir(dir)
					}
					must(t, os.RemoveAll(dir))
					for _, deep := range []bool{false, true} {
						report := s.check(deep, ref)
						if len(report.Findings) != 1 || report.Findings[0].Kind != check.Snapshot || !strings.Contains(report.Findings[0].Message, "folder is gone") {
							t.Errorf("got %+v, want the folder of one snapshot gone", report.Findings)
						}
					}
					if report := s.repair(true, ref)[0]; len(report.Repaired) != 1 {
						t.Errorf("got %+v, want the snapshot repaired", report)
					}
					s.whole(true, ref)
				})
			}
		}
	})
}

// TestM5VerifySeesForeignFiles puts something else in the place of each blob; verify
// sees it and mends it.
func TestM5VerifySeesForeignFiles(t *testing.T) {
	img := pulltest.SmallVariant(pulltest.Spec{}, pulltest.Gzip, "m5")
	each(t, teststore.TwoPlaces(), func(t *testing.T, s *site) {
		ref := testregistry.Push(t, testregistry.Start(t, testregistry.Options{}), "team/app:1", img)
		s.pull(ref)
		s.keepAll()
		for kind, b := range map[string]pulltest.Blob{"manifest": pulltest.NewBlob(img.Raw), "config": img.Config, "layer": img.Layers[1].Blob} {
			for name, put := range map[string]func(path string) error{
				"folder": func(path string) error { return os.Mkdir(path, 0o755) },
				"zeros":  func(path string) error { return os.WriteFile(path, make([]byte, b.Size), 0o644) },
				"longer": func(path string) error { return os.WriteFile(path, make([]byte, b.Size+1), 0o644) },
				"empty":  func(path string) error { return os.WriteFile(path, nil, 0o644) },
			} {
				t.Run(kind+" "+name, func(t *testing.T) {
					s := s.in(t)
					must(t, os.Remove(s.blob(b.Digest)))
					must(t, put(s.blob(b.Digest)))
					if report := s.check(true, ref); report.Whole() {
						t.Error("got nothing, want a finding")
					}
					s.repair(true, ref)
					s.whole(true, ref)
				})
			}
		}
	})
}
