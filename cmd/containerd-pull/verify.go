package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/containerd/containerd/v2/core/images"
	"github.com/containerd/errdefs"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/containerd-pull/containerd-pull/cmd/containerd-pull/internal/enter"
	"github.com/containerd-pull/containerd-pull/cmd/containerd-pull/internal/exit"
	"github.com/containerd-pull/containerd-pull/cmd/containerd-pull/internal/output"
	"github.com/containerd-pull/containerd-pull/pkg/check"
	"github.com/containerd-pull/containerd-pull/pkg/config"
	"github.com/containerd-pull/containerd-pull/pkg/failure"
	"github.com/containerd-pull/containerd-pull/pkg/progress"
	"github.com/containerd-pull/containerd-pull/pkg/source"
	"github.com/containerd-pull/containerd-pull/pkg/store"
)

type verifyOptions struct {
	options
	format string
	deep   bool
	repair bool
}

func newVerifyCmd(s streams, caller config.Caller) *cobra.Command {
	o := &verifyOptions{options: options{streams: s, caller: caller}}
	cmd := &cobra.Command{
		Use:                   "verify [flags] [REF...]",
		Short:                 "Check that images are whole: those named, or all of the namespace",
		DisableFlagsInUseLine: true,
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := o.refuse(cmd.Flags()); err != nil {
				return err
			}
			return runVerify(cmd.Context(), o, args)
		},
	}
	cmd.Flags().SortFlags = false
	o.flags = config.NewFlags(cmd.Flags(), config.VerifySettings())
	cmd.Flags().BoolVar(&o.deep, "deep", false, "also compare the unpacked files with the layers")
	cmd.Flags().BoolVar(&o.repair, "repair", false, "fetch and unpack what is missing or damaged")
	addFormat(cmd, &o.format)
	return cmd
}

// refuse returns an error for flags that would have no effect: a registry is
// asked only for repairs.
func (o *verifyOptions) refuse(fs *pflag.FlagSet) (err error) {
	fs.Visit(func(f *pflag.Flag) {
		switch config.GroupOf(f) {
		case config.GroupRegistry, config.GroupCredentials, config.GroupLimits:
			if !o.repair && f.Name != "timeout" {
				err = exit.Usagef("--%s has no effect without --repair", f.Name)
			}
		}
	})
	if fs.Changed("platform") && fs.Changed("all-platforms") {
		err = exit.Usagef("--platform and --all-platforms exclude each other")
	}
	return errors.Join(err, checkFormat(o.format))
}

func runVerify(ctx context.Context, o *verifyOptions, args []string) error {
	ctx, s, err := openSession(ctx, o.options, args)
	if err != nil {
		return err
	}
	defer s.close()
	if err := s.startDisplay(); err != nil {
		return err
	}
	var warnings []string
	if o.repair {
		warnings = append(s.refWarnings(), enter.OwnWarnings(o.caller)...)
	} else { // no registry is asked for anything
		warnings = s.settings.Warnings()
	}
	for _, w := range warnings {
		s.parts.Progress.Emit(progress.Event{Kind: progress.Warning, Message: w})
	}
	v := &verification{o: o, session: s}
	for i, cfg := range s.each {
		v.wanted = append(v.wanted, wanted{args[i], s.refs[i], cfg})
	}
	err = errors.Join(v.run(ctx), s.parts.Close())
	return v.conclude(s.endDisplay(err))
}

// wanted is an image named on the command line.
type wanted struct {
	arg string
	ref source.Ref // zero for a name that is no reference
	cfg *config.Config
}

// verification is one call of verify.
type verification struct {
	*session
	o      *verifyOptions
	wanted []wanted
	shown  []output.Report
}

// run checks the images store by store: profiles may name several.
func (v *verification) run(ctx context.Context) error {
	if len(v.wanted) == 0 {
		return v.runStore(ctx, v.call, nil)
	}
	for _, same := range byStore(v.wanted) {
		if err := v.runStore(ctx, same[0].cfg, same); err != nil {
			return err
		}
	}
	return nil
}

// byStore parts images by the store that they are in: profiles may name several.
func byStore(rest []wanted) (all [][]wanted) {
	for len(rest) > 0 {
		var same, others []wanted
		for _, w := range rest {
			if w.cfg.Store == rest[0].cfg.Store {
				same = append(same, w)
			} else {
				others = append(others, w)
			}
		}
		all, rest = append(all, same), others
	}
	return all
}

func (v *verification) runStore(ctx context.Context, cfg *config.Config, names []wanted) error {
	st, err := v.existingStore(ctx, cfg.Store, !v.o.repair)
	if err != nil {
		return err
	}
	imgs, err := recordsOf(ctx, st, names)
	if err != nil {
		return store.WithCause(ctx, err)
	}
	c := &check.Checker{
		Store: st, Progress: v.parts.Progress, Deep: v.o.deep,
		Source: v.registry, Downloads: cfg.Limits.Downloads, Unpacks: cfg.Limits.Unpacks,
		Bounds: cfg.Limits.Layer, Reserve: cfg.Limits.Reserve,
	}
	if cfg.Origin("platforms").Kind == config.FromFlag {
		c.Platforms = cfg.Request.Platforms
	}
	c.AllPlatforms = cfg.Request.AllPlatforms && cfg.Origin("all_platforms").Kind == config.FromFlag
	reports, err := v.check(ctx, c, imgs)
	for _, r := range reports {
		v.shown = append(v.shown, output.NewReport(r, st))
		for _, note := range r.Notes {
			v.parts.Progress.Emit(progress.Event{Kind: progress.Warning, Ref: r.Image.Name, Message: r.Image.Name + ": " + note})
		}
	}
	return err
}

func (v *verification) check(ctx context.Context, c *check.Checker, imgs []images.Image) ([]check.Report, error) {
	if !v.o.repair {
		return c.Check(ctx, imgs)
	}
	var refs []source.Ref
	for _, img := range imgs {
		if ref, err := source.ParseRef(img.Name); err == nil {
			refs = append(refs, ref)
		}
	}
	if len(refs) > 0 {
		var err error
		if v.parts.Login, err = login(ctx, v.streams, v.call, refs); err != nil {
			return nil, err
		}
	}
	return c.Repair(ctx, imgs)
}

// registry returns the registry client for the profile of an image.
func (v *verification) registry(ref source.Ref) (source.Source, error) {
	cfg, err := v.settings.Resolve(ref)
	if err != nil {
		return nil, exit.AsUsage(err)
	}
	reg, err := v.parts.Registry(cfg)
	if err != nil {
		return nil, err
	}
	return reg, nil
}

// recordsOf returns the records of the names, or all records of the namespace.
func recordsOf(ctx context.Context, st *store.Store, names []wanted) ([]images.Image, error) {
	if names == nil {
		all, err := st.Images.List(st.Context(ctx))
		if err != nil {
			return nil, fmt.Errorf("listing images: %w", err)
		}
		if len(all) == 0 {
			return nil, noImages(ctx, st)
		}
		return all, nil
	}
	var all []images.Image
	var lacking []string
	for _, w := range names {
		img, err := w.record(st.Context(ctx), st)
		if err != nil {
			return nil, err
		}
		if img == nil {
			lacking = append(lacking, cmp.Or(w.ref.Name, w.arg))
			continue
		}
		all = append(all, *img)
	}
	if len(lacking) > 0 {
		return nil, noSuchImages(ctx, st, lacking)
	}
	return all, nil
}

// record returns the record of w, nil if there is none.
func (w wanted) record(ctx context.Context, st *store.Store) (*images.Image, error) {
	img, err := st.Image(ctx, w.arg)
	if img == nil && err == nil && w.ref.Name != "" {
		img, err = st.Image(ctx, w.ref.Name)
	}
	if img != nil && w.ref.Digest != "" && w.ref.Digest != img.Target.Digest {
		return nil, failure.New(errdefs.ErrNotFound, "image %s in namespace %s is %s, not %s", img.Name, st.Namespace, img.Target.Digest, w.ref.Digest)
	}
	return img, err
}

// noImages is the error for a namespace without images. It names those that have
// some.
func noImages(ctx context.Context, st *store.Store) error {
	others, err := st.NamespacesWith(ctx)
	if err != nil {
		return err
	}
	if len(others) == 0 {
		return failure.New(errdefs.ErrNotFound, "no images in namespace %s, nor in any other", st.Namespace).
			WithHint("--root and --address name the store")
	}
	return failure.New(errdefs.ErrNotFound, "no images in namespace %s; there are some in: %s", st.Namespace, strings.Join(others, ", ")).
		WithHint("--namespace %s names one of them", others[0])
}

// noSuchImages is the error for images that the namespace does not have. It names
// the namespaces that have them, or that have any.
func noSuchImages(ctx context.Context, st *store.Store, lacking []string) error {
	text := fmt.Sprintf("no image %s in namespace %s", strings.Join(lacking, ", "), st.Namespace)
	others, err := st.NamespacesWith(ctx, lacking...)
	if err != nil {
		return err
	}
	if len(others) > 0 {
		return failure.New(errdefs.ErrNotFound, "%s; it is in: %s", text, strings.Join(others, ", ")).
			WithHint("--namespace %s names one of them", others[0])
	}
	all, err := st.NamespacesWith(ctx)
	switch {
	case err != nil:
		return err
	case len(all) > 0 && !slices.Contains(all, st.Namespace):
		return failure.New(errdefs.ErrNotFound, "%s, which has none; there are images in: %s", text, strings.Join(all, ", "))
	}
	return failure.New(errdefs.ErrNotFound, "%s", text)
}

// conclude writes the findings, also if the check ended early with err.
func (v *verification) conclude(err error) error {
	if err != nil && len(v.shown) == 0 {
		return err
	}
	all := output.NewVerify(v.o.deep, v.shown)
	if werr := writeFormatted(v.streams.out, v.o.format, all, all.Write); werr != nil {
		return errors.Join(err, werr)
	}
	if err != nil {
		return err
	}
	if damaged := all.Damaged(); damaged > 0 {
		return &damageError{damaged: damaged, of: len(v.shown), repair: v.o.repair}
	}
	if !v.call.Quiet {
		fmt.Fprintln(v.streams.err, all.Summary())
	}
	return nil
}

// damageError is the error for images that are not whole.
type damageError struct {
	damaged, of int
	repair      bool // whether a repair was tried
}

func (e *damageError) Error() string {
	return fmt.Sprintf("%d of %s not whole", e.damaged, progress.Plural(e.of, "image"))
}

func (e *damageError) Unwrap() error { return exit.ErrDamage }

// Hint names the repair, unless it was tried.
func (e *damageError) Hint() string {
	if e.repair {
		return "the list says why; what only a pull of the tag can mend, " + programName + " REF does"
	}
	return programName + " verify --repair fetches and unpacks what is damaged or missing"
}
