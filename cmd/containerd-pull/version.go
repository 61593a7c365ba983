package main

import (
	"encoding/json"
	"fmt"
	"io"
	"runtime"
	"runtime/debug"

	"github.com/spf13/cobra"

	"github.com/containerd-pull/containerd-pull/cmd/containerd-pull/internal/exit"
	"github.com/containerd-pull/containerd-pull/cmd/containerd-pull/internal/output"
	"github.com/containerd-pull/containerd-pull/cmd/containerd-pull/internal/usage"
)

type versionOptions struct {
	streams streams
	format  string
}

// versionOr prints the version where the flag asks for it, and otherwise does what
// run does. cobra's own flag would not look at what else was given.
func versionOr(s streams, run func(*cobra.Command, []string) error) func(*cobra.Command, []string) error {
	return func(cmd *cobra.Command, args []string) error {
		if !usage.AsksVersion(cmd) {
			return run(cmd, args)
		}
		_, err := fmt.Fprintf(s.out, "%s %s\n", cmd.DisplayName(), buildVersion())
		return exit.AsOutput(err)
	}
}

func newVersionCmd(s streams) *cobra.Command {
	o := &versionOptions{streams: s}
	cmd := &cobra.Command{
		Use:   "version",
		Short: "Print the versions of the program and of what it is built from",
		Args:  noArgs,
		RunE:  func(*cobra.Command, []string) error { return runVersion(o) },
	}
	addFormat(cmd, &o.format)
	return cmd
}

// versions is what a bug report needs. The JSON names are API.
type versions struct {
	Version    string `json:"version"`
	Commit     string `json:"commit"`
	Go         string `json:"go"`
	Platform   string `json:"platform"`
	Containerd string `json:"containerd"` // of the library, not of a daemon
}

func runVersion(o *versionOptions) error {
	if err := checkFormat(o.format); err != nil {
		return err
	}
	v := readVersions()
	if o.format == "" {
		return exit.AsOutput(output.Text(o.streams.out, v.write))
	}
	return exit.AsOutput(json.NewEncoder(o.streams.out).Encode(v)) // on one line
}

func (v versions) write(w io.Writer) {
	fmt.Fprintf(w, "%s %s\ncommit      %s\ngo          %s %s\ncontainerd  %s (library)\n",
		programName, v.Version, v.Commit, v.Go, v.Platform, v.Containerd)
}

// readVersions returns the versions that the Go tool recorded at build time.
func readVersions() versions {
	v := versions{Version: "(devel)", Commit: "unknown", Go: runtime.Version(), Platform: runtime.GOOS + "/" + runtime.GOARCH, Containerd: "unknown"}
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return v
	}
	if info.Main.Version != "" {
		v.Version = info.Main.Version
	}
	for _, s := range info.Settings {
		if s.Key == "vcs.revision" {
			v.Commit = s.Value
		}
	}
	for _, dep := range info.Deps {
		if dep.Path == "github.com/containerd/containerd/v2" {
			v.Containerd = dep.Version
		}
	}
	return v
}

func buildVersion() string { return readVersions().Version }

// userAgent returns the User-Agent header for registries.
func userAgent() string { return programName + "/" + buildVersion() }
