package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/containerd-pull/containerd-pull/cmd/containerd-pull/internal/exit"
	"github.com/containerd-pull/containerd-pull/cmd/containerd-pull/internal/output"
	"github.com/containerd-pull/containerd-pull/pkg/batch"
	"github.com/containerd-pull/containerd-pull/pkg/config"
	"github.com/containerd-pull/containerd-pull/pkg/pull"
	"github.com/containerd-pull/containerd-pull/pkg/registry/hosts"
	"github.com/containerd-pull/containerd-pull/pkg/source"
	"github.com/containerd-pull/containerd-pull/pkg/store"
)

// TestPlanDocumentation compares the table of a plan's JSON fields with a plan.
func TestPlanDocumentation(t *testing.T) {
	const dgst = digest.Digest("sha256:3f1d6c17773a45c97bd8f158d665c9709d7b29ed7917ac934086ad96f92e4510")
	ref, err := source.ParseRef("debian")
	if err != nil {
		t.Fatal(err)
	}
	o := batch.Outcome{
		Job: batch.Job{Ref: ref, Typed: "debian", Untagged: true, Config: new(config.Config)},
		Outlook: &pull.Outlook{
			Plan:  &pull.Plan{Target: ocispec.Descriptor{Digest: dgst}, Images: []pull.Selected{{Manifest: ocispec.Descriptor{Digest: dgst}}}},
			Space: store.FreeSpace{Content: &store.Space{}, Snapshots: &store.Space{}},
		},
		Hosts: []batch.Host{{Host: hosts.Host{Name: "example.com", Pull: true}}},
	}
	var text bytes.Buffer
	out, err := output.NewPlan(output.Options{Out: &text, Config: &config.Config{Format: "json"}, Describe: exit.Describe})
	if err == nil {
		err = out.Write(batch.Forecast{Outcomes: []batch.Outcome{o}})
	}
	var object map[string]any
	if err := errors.Join(err, json.Unmarshal(text.Bytes(), &object)); err != nil {
		t.Fatal(err)
	}
	got, want := map[string]string{}, map[string]string{}
	typesOf("", object, got)
	for _, cells := range rows(section(t, "output.md", "Plan")) {
		kind, _, _ := strings.Cut(cells[1], " or ")
		want[cells[0]] = kind
	}
	for _, empty := range []string{"images.warnings", "images.newLabels", "images.plan.damaged"} {
		if got[empty] != "array" {
			t.Errorf("%s is %s, want an array", empty, got[empty])
		}
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-documented +got):\n%s", diff)
	}
}
