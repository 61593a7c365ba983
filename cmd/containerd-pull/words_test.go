package main

import (
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/containerd-pull/containerd-pull/cmd/containerd-pull/internal/usage"
)

// officialImages reads the committed list.
func officialImages(t *testing.T) []string {
	t.Helper()
	text, err := os.ReadFile("internal/usage/official.txt")
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for line := range strings.Lines(string(text)) {
		if !strings.HasPrefix(line, "#") {
			names = append(names, strings.TrimSpace(line))
		}
	}
	if len(names) < 180 || !slices.IsSorted(names) {
		t.Fatalf("got %d names, want all of them, in order", len(names))
	}
	return names
}

// No official image of Docker is taken for a command, also not with a tag. Those that
// read as one are known, so that a new command is looked at.
func TestOfficialImagesArePulled(t *testing.T) {
	root := newTestRoot()
	var doubtful []string
	for _, name := range officialImages(t) {
		for _, ref := range []string{name, name + ":latest"} {
			if err := usage.RefuseWords(root, []string{ref}); err != nil {
				t.Errorf("%s: got %v", ref, err)
			}
		}
		if slices.Contains(usage.CommandNames(root), name) {
			t.Errorf("%s is a command: its image can only be pulled by a longer name", name)
		}
		if usage.Advice(root, name) != "" {
			doubtful = append(doubtful, name)
		}
	}
	if want := []string{"gcc", "node", "swarm"}; !slices.Equal(doubtful, want) {
		t.Errorf("got %v that read as commands too, want %v", doubtful, want)
	}
}

// edits lists all words that are one insertion, deletion, substitution or swap of
// neighbours away.
func edits(word string) []string {
	var all []string
	for i := range len(word) + 1 {
		head, tail := word[:i], word[i:]
		for _, letter := range "abcdefghijklmnopqrstuvwxyz-" {
			all = append(all, head+string(letter)+tail)
			if tail != "" {
				all = append(all, head+string(letter)+tail[1:])
			}
		}
		if tail != "" {
			all = append(all, head+tail[1:])
		}
		if len(tail) > 1 {
			all = append(all, head+tail[1:2]+tail[:1]+tail[2:])
		}
	}
	return all
}

// What is one edit away from a command is refused, unless it is a command or an
// official image itself.
func TestMistypedCommandsAreRefused(t *testing.T) {
	root := newTestRoot()
	known := append(usage.CommandNames(root), officialImages(t)...)
	for _, name := range usage.CommandNames(root) {
		for _, word := range edits(name) {
			if err := usage.RefuseWords(root, []string{word}); err == nil && !slices.Contains(known, word) {
				t.Errorf("%q is pulled as an image, and near the command %s", word, name)
			}
		}
	}
}

// Every command of the tools that there are is known as one.
func TestVerbsOfOtherTools(t *testing.T) {
	root := newTestRoot()
	known := append(usage.CommandNames(root), officialImages(t)...)
	for _, program := range []string{nerdctl, "../../.ci/tools/bin/docker"} {
		if _, err := os.Stat(program); err != nil {
			t.Skip("this test needs .ci/tools")
		}
		help, err := exec.CommandContext(t.Context(), program, "--help").Output()
		if err != nil {
			t.Fatal(err)
		}
		verbs := regexp.MustCompile(`(?m)^  ([a-z][a-z-]*)\*?  +[A-Za-z]`).FindAllStringSubmatch(string(help), -1)
		if len(verbs) < 30 {
			t.Fatalf("got %d commands of %s, want some dozens", len(verbs), program)
		}
		for _, verb := range verbs {
			if err := usage.RefuseWords(root, verb[1:2]); err == nil && !slices.Contains(known, verb[1]) {
				t.Errorf("%s %s: the word is pulled as an image", program, verb[1])
			}
		}
	}
}
