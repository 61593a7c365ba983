package main

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/containerd/containerd/v2/core/images"
	"github.com/containerd/errdefs"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/containerd-pull/containerd-pull/pkg/check"
	"github.com/containerd-pull/containerd-pull/pkg/config"
	"github.com/containerd-pull/containerd-pull/pkg/printable"
	"github.com/containerd-pull/containerd-pull/pkg/progress"
	"github.com/containerd-pull/containerd-pull/pkg/registry"
	"github.com/containerd-pull/containerd-pull/pkg/source"
)

type verifyOptions struct {
	streams streams
	caller  config.Caller
	flags   *config.Flags
	format  string
	deep    bool
	repair  bool
}

func newVerifyCmd(s streams, caller config.Caller) *cobra.Command {
	o := &verifyOptions{streams: s, caller: caller}
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

// refuse tells of flags that would have no effect: a registry is only asked to
// repair something.
func (o *verifyOptions) refuse(fs *pflag.FlagSet) (err error) {
	fs.Visit(func(f *pflag.Flag) {
		switch groupOf(f) {
		case config.GroupRegistry, config.GroupCredentials, config.GroupLimits:
			if !o.repair && f.Name != "timeout" {
				err = usagef("--%s has no effect without --repair", f.Name)
			}
		}
	})
	if fs.Changed("platform") && fs.Changed("all-platforms") {
		err = usagef("--platform and --all-platforms exclude each other")
	}
	return errors.Join(err, checkFormat(o.format))
}

func runVerify(ctx context.Context, o *verifyOptions, args []string) error {
	settings, err := config.Load(o.caller, o.flags)
	if err != nil {
		return asUsage(err)
	}
	v := &verification{o: o, settings: settings}
	if err := v.resolve(args); err != nil {
		return asUsage(err)
	}
	if err := enterRootless(o.caller, v.configs()...); err != nil {
		return err
	}
	ctx, cancel := withTimeout(ctx, v.call)
	defer cancel()
	display, err := progress.New(progress.Options{
		Mode: v.call.Progress, Out: o.streams.err, Quiet: v.call.Quiet, Env: o.caller.Getenv, Classify: describe,
	})
	if err != nil {
		return asUsage(err)
	}
	defer routeLogs(display.Writer(), v.call)()
	v.batch = &batch{call: v.call, caller: o.caller, display: display, sink: tee(thrift(o.caller), display.Sink()), registries: map[string]*registry.Registry{}}
	for _, w := range settings.Warnings() {
		v.batch.sink.Emit(progress.Event{Kind: progress.Warning, Message: w})
	}
	err = errors.Join(v.run(ctx), v.batch.closeStore())
	if cerr := display.Close(); err == nil && cerr != nil {
		err = asOutput(cerr)
	}
	return v.conclude(err)
}

// wanted is an image that was named.
type wanted struct {
	arg string
	ref source.Ref // zero for a name that is no reference
	cfg *config.Config
}

// verification is one call of verify.
type verification struct {
	o        *verifyOptions
	settings *config.Settings
	call     *config.Config
	wanted   []wanted
	batch    *batch
	shown    []shownReport
}

// resolve finds the configuration of each name. A record may have a name that
// is no reference.
func (v *verification) resolve(args []string) error {
	var refs []source.Ref
	for _, arg := range args {
		ref, err := source.ParseRef(arg)
		if err != nil {
			ref = source.Ref{}
		}
		refs = append(refs, ref)
	}
	call, each, err := v.settings.ResolveAll(refs)
	if err != nil {
		return err
	}
	v.call = call
	for i, cfg := range each {
		v.wanted = append(v.wanted, wanted{args[i], refs[i], cfg})
	}
	return nil
}

// configs are those of the images, or that of a call that names none.
func (v *verification) configs() []*config.Config {
	if len(v.wanted) == 0 {
		return []*config.Config{v.call}
	}
	var all []*config.Config
	for _, w := range v.wanted {
		all = append(all, w.cfg)
	}
	return all
}

// run checks the images store by store: profiles may have put them into
// several.
func (v *verification) run(ctx context.Context) error {
	if len(v.wanted) == 0 {
		return v.runStore(ctx, v.call, nil)
	}
	for rest := v.wanted; len(rest) > 0; {
		var same, others []wanted
		for _, w := range rest {
			if w.cfg.Store == rest[0].cfg.Store {
				same = append(same, w)
			} else {
				others = append(others, w)
			}
		}
		if err := v.runStore(ctx, rest[0].cfg, same); err != nil {
			return err
		}
		rest = others
	}
	return nil
}

func (v *verification) runStore(ctx context.Context, cfg *config.Config, names []wanted) error {
	if err := v.batch.openExisting(ctx, cfg.Store); err != nil {
		return err
	}
	imgs, err := v.images(ctx, names)
	if err != nil {
		return asInterrupted(ctx, err)
	}
	c := &check.Checker{
		Store: v.batch.store, Progress: v.batch.sink, Deep: v.o.deep,
		Source: v.registry, Downloads: cfg.Limits.Downloads, Unpacks: cfg.Limits.Unpacks,
	}
	if cfg.Origin("platforms").Kind == config.FromFlag {
		c.Platforms = cfg.Request.Platforms
	}
	c.AllPlatforms = cfg.Request.AllPlatforms && cfg.Origin("all_platforms").Kind == config.FromFlag
	reports, err := v.check(ctx, c, imgs)
	for _, r := range reports {
		shown := showReport(r)
		shown.Namespace, shown.Snapshotter = v.batch.store.Namespace, v.batch.store.Name
		v.shown = append(v.shown, shown)
		for _, note := range r.Notes {
			v.batch.sink.Emit(progress.Event{Kind: progress.Warning, Ref: r.Image.Name, Message: r.Image.Name + ": " + note})
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
		if v.batch.own, err = login(ctx, v.o.streams, v.call, refs); err != nil {
			return nil, err
		}
	}
	return c.Repair(ctx, imgs)
}

// registry is that of the profile of the image's name.
func (v *verification) registry(ref source.Ref) (source.Source, error) {
	cfg, err := v.settings.Resolve(ref)
	if err != nil {
		return nil, asUsage(err)
	}
	reg, err := v.batch.registry(cfg)
	if err != nil {
		return nil, err
	}
	return reg, nil
}

// images are the records of the names, or all of the namespace.
func (v *verification) images(ctx context.Context, names []wanted) ([]images.Image, error) {
	st := v.batch.store
	ctx = st.Context(ctx)
	if names == nil {
		all, err := st.Images.List(ctx)
		if err != nil {
			return nil, fmt.Errorf("listing images: %w", err)
		}
		return all, nil
	}
	var all []images.Image
	for _, w := range names {
		img, err := st.Image(ctx, w.arg)
		if img == nil && err == nil && w.ref.Name != "" {
			img, err = st.Image(ctx, w.ref.Name)
		}
		switch {
		case err != nil:
			return nil, err
		case img == nil:
			return nil, fmt.Errorf("no image %s in namespace %s: %w", firstOf(w.ref.Name, w.arg), st.Namespace, errdefs.ErrNotFound)
		case w.ref.Digest != "" && w.ref.Digest != img.Target.Digest:
			return nil, fmt.Errorf("image %s in namespace %s is %s, not %s: %w", img.Name, st.Namespace, img.Target.Digest, w.ref.Digest, errdefs.ErrNotFound)
		}
		all = append(all, *img)
	}
	return all, nil
}

func firstOf(a, b string) string {
	if a != "" {
		return a
	}
	return b
}

// conclude writes what was found, also when the check broke off.
func (v *verification) conclude(err error) error {
	all := shownVerify{SchemaVersion: 1, Deep: v.o.deep, Images: append([]shownReport{}, v.shown...)}
	if err != nil && len(v.shown) == 0 {
		return err
	}
	if werr := writeFormatted(v.o.streams.out, v.o.format, all, all.write); werr != nil {
		return errors.Join(err, werr)
	}
	if err != nil {
		return err
	}
	damaged := 0
	for _, r := range v.shown {
		if !r.Whole {
			damaged++
		}
	}
	if damaged > 0 {
		return &damageError{damaged: damaged, of: len(v.shown), repair: v.o.repair}
	}
	if !v.call.Quiet {
		fmt.Fprintln(v.o.streams.err, all.summary())
	}
	return nil
}

// damageError says that images are not whole.
type damageError struct {
	damaged, of int
	repair      bool // was tried
}

func (e *damageError) Error() string {
	return fmt.Sprintf("%d of %s not whole", e.damaged, counted(e.of, "image"))
}

// hint says what can be done, unless that was done.
func (e *damageError) hint() string {
	if e.repair {
		return "the list says why; what only a pull of the tag can mend, " + programName + " REF does"
	}
	return programName + " verify --repair fetches and unpacks what is damaged or missing"
}

// shownVerify is the result of verify in JSON. The names are API; docs/verify.md
// describes them.
type shownVerify struct {
	SchemaVersion int           `json:"schemaVersion"`
	Deep          bool          `json:"deep"`
	Images        []shownReport `json:"images"`
}

type shownReport struct {
	Name        string         `json:"name"`
	Digest      string         `json:"digest"`
	Namespace   string         `json:"namespace"`
	Snapshotter string         `json:"snapshotter"`
	Platforms   []string       `json:"platforms"`
	Whole       bool           `json:"whole"`
	Blobs       int            `json:"blobs"`
	Bytes       int64          `json:"bytes"`
	Snapshots   int            `json:"snapshots"`
	Compared    int            `json:"compared"`
	Findings    []shownFinding `json:"findings"`
	Repaired    []shownFinding `json:"repaired"`
	Notes       []string       `json:"notes"`
}

type shownFinding struct {
	Kind       string `json:"kind"`
	Platform   string `json:"platform,omitempty"`
	Digest     string `json:"digest"`
	Path       string `json:"path,omitempty"`
	Message    string `json:"message"`
	Unrepaired string `json:"unrepaired,omitempty"`
}

func showReport(r check.Report) shownReport {
	return shownReport{
		Name: r.Image.Name, Digest: r.Image.Target.Digest.String(), Platforms: append([]string{}, r.Platforms...),
		Whole: r.Whole(), Blobs: r.Blobs, Bytes: r.Bytes, Snapshots: r.Snapshots, Compared: r.Compared,
		Findings: showFindings(r.Findings), Repaired: showFindings(r.Repaired), Notes: append([]string{}, r.Notes...),
	}
}

func showFindings(all []check.Finding) []shownFinding {
	shown := make([]shownFinding, len(all))
	for i, f := range all {
		shown[i] = shownFinding{
			Kind: string(f.Kind), Platform: f.Platform, Digest: f.Digest.String(), Path: f.Path, Message: f.Message, Unrepaired: f.Unrepaired,
		}
	}
	return shown
}

// write writes one line for each finding; nothing if there is none.
func (v shownVerify) write(w io.Writer) {
	for _, r := range v.Images {
		for _, f := range r.Repaired {
			fmt.Fprintf(w, "%s\t%s\t%s (repaired)\n", printable.Line(r.Name), f.Digest, f.text())
		}
		for _, f := range r.Findings {
			text := f.text()
			if f.Unrepaired != "" {
				text += " (not repaired: " + printable.Line(f.Unrepaired) + ")"
			}
			fmt.Fprintf(w, "%s\t%s\t%s\n", printable.Line(r.Name), f.Digest, text)
		}
	}
}

func (f shownFinding) text() string {
	text := f.Kind + ": "
	if f.Path != "" {
		text += printable.Line(f.Path) + ": "
	}
	return text + printable.Line(f.Message)
}

func (v shownVerify) summary() string {
	var blobs, snapshots int
	var bytes int64
	for _, r := range v.Images {
		blobs += r.Blobs
		bytes += r.Bytes
		snapshots += r.Snapshots
	}
	return fmt.Sprintf("%s whole: %s (%s), %s", counted(len(v.Images), "image"), counted(blobs, "blob"), progress.Size(bytes), counted(snapshots, "snapshot"))
}
