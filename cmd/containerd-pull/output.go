package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/containerd-pull/containerd-pull/pkg/config"
	"github.com/containerd-pull/containerd-pull/pkg/progress"
)

// output writes the result of a pull to stdout. What each style writes of an
// image is a function of its outcome; only docker's layer lines come while the
// pull runs.
type output struct {
	w      io.Writer
	cfg    *config.Config // of the call
	list   bool           // not exactly one reference was given
	form   *form          // of --format, else nil
	docker *dockerPull    // of that style, else nil
}

// newOutput refuses what could not be written once the images are there.
func newOutput(w io.Writer, cfg *config.Config, jobs []job, given int) (*output, error) {
	if err := errors.Join(checkChangedCode(cfg), checkDigestFile(cfg.DigestFile)); err != nil {
		return nil, err
	}
	o := &output{w: w, cfg: cfg, list: given != 1}
	var err error
	if o.form, err = newForm(cfg.Format); err != nil {
		return nil, err
	}
	if cfg.OutputStyle == config.StyleDocker && !cfg.Quiet {
		o.docker = newDockerPull(w, jobs, o.live(jobs))
	}
	return o, nil
}

// live says whether lines may be written while the pull runs: not into the
// region of a terminal, and not if those of several images would mix.
func (o *output) live(jobs []job) bool {
	return len(jobs) == 1 && slices.Contains([]string{progress.ModeNone, progress.ModePlain, progress.ModeJSON}, o.cfg.Progress)
}

// sink takes the events of the pull; nil if nothing is written of them.
func (o *output) sink() progress.Sink {
	if o.docker == nil {
		return nil
	}
	return o.docker.event
}

// write writes the result in the order asked for.
func (o *output) write(all []outcome) error {
	if o.docker != nil {
		return asOutput(o.docker.close(all))
	}
	var text bytes.Buffer
	var err error
	switch {
	case o.form != nil:
		err = o.form.write(&text, all, o.list, isTerminal(o.w))
	default:
		for _, one := range all {
			if one.err == nil {
				o.image(&text, one)
			}
		}
	}
	_, werr := o.w.Write(text.Bytes())
	return asOutput(errors.Join(err, werr))
}

// image writes an image that was pulled.
func (o *output) image(w io.Writer, one outcome) {
	switch o.cfg.OutputStyle {
	case config.StyleDocker: // quietly
		fmt.Fprintln(w, one.job.ref)
	case config.StyleNerdctl:
		if !o.cfg.Quiet {
			frameOf(one).write(w)
		}
	case config.StylePodman:
		fmt.Fprintln(w, strings.TrimPrefix(one.host().Config.String(), "sha256:"))
	case config.StyleCrictl:
		fmt.Fprintf(w, "Image is up to date for %s\n", one.host().Config)
	default:
		o.plain(w, one)
	}
}

// plain writes what was asked for of an image: its name, unless something else.
func (o *output) plain(w io.Writer, one outcome) {
	kinds := o.cfg.Print
	if len(kinds) == 0 && !o.cfg.PrintChainID {
		kinds = []string{config.PrintRef}
	}
	for _, kind := range kinds {
		printKind(w, kind, one)
	}
	for _, p := range one.result.Platforms {
		if o.cfg.PrintChainID && p.ChainID != "" {
			fmt.Fprintf(w, "image chain ID: %s\n", p.ChainID) // ctr's line
		}
	}
}

// printKind writes the lines of one --print.
func printKind(w io.Writer, kind string, one outcome) {
	switch kind {
	case config.PrintRef:
		fmt.Fprintln(w, one.result.Name)
	case config.PrintDigest:
		fmt.Fprintln(w, one.result.Target.Digest)
	case config.PrintRepoDigest:
		fmt.Fprintf(w, "%s/%s@%s\n", one.job.ref.Domain, one.job.ref.Path, one.result.Target.Digest)
	}
	for _, p := range one.result.Platforms {
		switch {
		case kind == config.PrintID:
			fmt.Fprintln(w, p.Config)
		case kind == config.PrintChainID && p.ChainID != "":
			fmt.Fprintln(w, p.ChainID)
		}
	}
}
