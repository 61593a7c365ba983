package main

import (
	"bytes"
	"path/filepath"
	"testing"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/containerd-pull/containerd-pull/pkg/config"
	"github.com/containerd-pull/containerd-pull/pkg/sample/golden"
)

// newTestRoot returns the root command of a caller with an empty environment.
func newTestRoot() *cobra.Command {
	caller := config.Caller{Lookup: func(string) (string, bool) { return "", false }}
	return newRootCmd(streams{in: bytes.NewReader(nil), out: new(bytes.Buffer), err: new(bytes.Buffer)}, caller)
}

// TestCompletionFiles keeps the files that packages install true.
func TestCompletionFiles(t *testing.T) {
	for shell, ext := range map[string]string{"bash": "bash", "zsh": "zsh", "fish": "fish", "powershell": "ps1"} {
		var want bytes.Buffer
		if err := writeCompletion(&want, newTestRoot(), shell); err != nil {
			t.Fatal(err)
		}
		file := filepath.Join("../../completions", programName+"."+ext)
		golden.File(t, file, want.Bytes())
	}
}

// TestWordsAreDescribed wants a meaning for each word that a flag accepts.
func TestWordsAreDescribed(t *testing.T) {
	newTestRoot().Flags().VisitAll(func(f *pflag.Flag) {
		for _, word := range config.Words(f) {
			if word.Meaning == "" {
				t.Errorf("--%s %s has no meaning in the table of settings", f.Name, word.Text)
			}
		}
	})
}
