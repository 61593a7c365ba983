package output

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/containerd/platforms"

	"github.com/containerd-pull/containerd-pull/pkg/batch"
	"github.com/containerd-pull/containerd-pull/pkg/config"
	"github.com/containerd-pull/containerd-pull/pkg/progress"
	"github.com/containerd-pull/containerd-pull/pkg/progress/display"
	"github.com/containerd-pull/containerd-pull/pkg/pull"
)

// Options is what the result of a pull depends on besides its outcomes.
type Options struct {
	Out    io.Writer
	Config *config.Config // of the call
	Jobs   []batch.Job
	List   bool // whether not exactly one reference was given
	// Describe classifies a failure.
	Describe func(error) progress.Failure
	// Failures names the exit codes that mean a failure.
	Failures map[int]string
}

// Pull writes the result of a pull. What a style writes about an image is a
// function of its outcome; only docker's layer lines come while the pull runs.
type Pull struct {
	Options
	form   *form       // of --format, else nil
	docker *dockerPull // of that style, else nil
}

// pullColumns are those of --format table.
const pullColumns = "{{.name}}\t{{.digest}}\t{{.changed}}\t{{.profile}}"

// NewPull refuses a result that could not be written after the pull.
func NewPull(o Options) (*Pull, error) {
	if err := errors.Join(o.checkChangedCode(), checkDigestFile(o.Config.DigestFile)); err != nil {
		return nil, err
	}
	p := &Pull{Options: o}
	var err error
	if p.form, err = newForm[shownPull](o.Config.Format, pullColumns); err != nil {
		return nil, err
	}
	if o.Config.OutputStyle == config.StyleDocker && !o.Config.Quiet {
		p.docker = newDockerPull(o.Out, o.Jobs, o.live())
	}
	return p, nil
}

// checkChangedCode refuses a code that means a failure.
func (o Options) checkChangedCode() error {
	code := o.Config.ChangedExitCode
	if name := o.Failures[code]; name != "" {
		return fmt.Errorf("changed_exit_code (%s): %d is the exit code of %s", o.Config.Origin("changed_exit_code"), code, name)
	}
	return nil
}

// live reports whether lines may be written while the pull runs: not into the
// region of a terminal, and not if those of several images would mix.
func (o Options) live() bool {
	return len(o.Jobs) == 1 && slices.Contains([]string{display.ModeNone, display.ModePlain, display.ModeJSON}, o.Config.Progress)
}

// Sink takes the events of the pull. It is nil if the style shows none.
func (p *Pull) Sink() progress.Sink {
	if p.docker == nil {
		return nil
	}
	return p.docker.event
}

// Write writes the result, in the order of the references.
func (p *Pull) Write(all []batch.Outcome) error {
	if p.docker != nil {
		return p.docker.close(all)
	}
	var text bytes.Buffer
	var err error
	switch {
	case p.form != nil:
		err = p.writeForm(&text, all)
	default:
		for _, one := range all {
			if one.Err == nil {
				p.image(&text, one)
			}
		}
	}
	_, werr := p.Out.Write(text.Bytes())
	return errors.Join(err, werr)
}

// image writes an image that was pulled.
func (p *Pull) image(w io.Writer, one batch.Outcome) {
	switch p.Config.OutputStyle {
	case config.StyleDocker: // quietly
		fmt.Fprintln(w, one.Ref)
	case config.StyleNerdctl:
		if !p.Config.Quiet {
			frameOf(one).write(w)
		}
	case config.StylePodman:
		fmt.Fprintln(w, strings.TrimPrefix(hostPlatform(one).Config.String(), "sha256:"))
	case config.StyleCrictl:
		fmt.Fprintf(w, "Image is up to date for %s\n", hostPlatform(one).Config)
	default:
		p.plain(w, one)
	}
}

// plain writes what --print asks for, by default the name of the image.
func (p *Pull) plain(w io.Writer, one batch.Outcome) {
	kinds := p.Config.Print
	if len(kinds) == 0 && !p.Config.PrintChainID {
		kinds = []string{config.PrintRef}
	}
	for _, kind := range kinds {
		printKind(w, kind, one)
	}
	for _, own := range one.Result.Platforms {
		if p.Config.PrintChainID && own.ChainID != "" {
			fmt.Fprintf(w, "image chain ID: %s\n", own.ChainID) // ctr's line
		}
	}
}

// printKind writes the lines for one word of --print.
func printKind(w io.Writer, kind string, one batch.Outcome) {
	switch kind {
	case config.PrintRef:
		fmt.Fprintln(w, one.Result.Name)
	case config.PrintDigest:
		fmt.Fprintln(w, one.Result.Target.Digest)
	case config.PrintRepoDigest:
		fmt.Fprintf(w, "%s/%s@%s\n", one.Ref.TypedHost(), one.Ref.Path, one.Result.Target.Digest)
	}
	for _, own := range one.Result.Platforms {
		switch {
		case kind == config.PrintID:
			fmt.Fprintln(w, own.Config)
		case kind == config.PrintChainID && own.ChainID != "":
			fmt.Fprintln(w, own.ChainID)
		}
	}
}

// hostPlatform returns the platform whose ID stands for the image in styles
// with one platform only: this machine's if it was pulled.
func hostPlatform(o batch.Outcome) pull.Platform {
	all := o.Result.Platforms
	for _, p := range all {
		if platforms.Default().Match(platforms.Normalize(p.Platform)) {
			return p
		}
	}
	if len(all) == 0 {
		return pull.Platform{}
	}
	return all[0]
}
