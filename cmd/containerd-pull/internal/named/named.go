// Package named finds the images that a call names: in its arguments, and in the
// files that its flags name. Each becomes a job with the configuration that holds for
// it.
//
// It reads files and the standard input, and contacts nothing. What a file may hold
// is the business of pkg/source/list. Start reading at Images.
package named

import (
	"context"
	"io"
	"maps"
	"slices"
	"strings"

	"github.com/containerd/platforms"

	"github.com/containerd-pull/containerd-pull/cmd/containerd-pull/internal/exit"
	"github.com/containerd-pull/containerd-pull/pkg/batch"
	"github.com/containerd-pull/containerd-pull/pkg/config"
	"github.com/containerd-pull/containerd-pull/pkg/source"
	"github.com/containerd-pull/containerd-pull/pkg/source/list"
)

// mostImages bounds how many images a call may name: each has its configuration in
// memory.
const mostImages = 2000

// Options is where a call names images.
type Options struct {
	Args     []string
	Lists    config.Lists
	Stdin    io.Reader
	Settings *config.Settings
	// Lookup finds variables of the environment, which Compose files name.
	Lookup func(name string) (string, bool)
}

// Images are those that a call names.
type Images struct {
	Jobs []batch.Job // in the order of the arguments, then of the files
	// Stdin is what the standard input held, nil if it was not read.
	Stdin []byte
	// Notes say which images of the files were left out.
	Notes []string
}

// Find finds the images, without repetitions.
func Find(ctx context.Context, o Options) (Images, error) {
	f := &finder{Options: o, seen: map[string]bool{}}
	if err := f.find(ctx); err != nil {
		return Images{}, err
	}
	jobs := make([]batch.Job, len(f.wishes))
	for i, w := range f.wishes {
		cfg, err := o.Settings.ForLine(w.line()).Resolve(w.ref)
		if err != nil {
			return Images{}, exit.AsUsage(w.placed(err))
		}
		jobs[i] = w.job(cfg)
	}
	return Images{jobs, f.stdin, f.notes}, nil
}

// finder is the state of Find.
type finder struct {
	Options
	wishes []wish
	seen   map[string]bool
	target string // the platform of all images, empty for the default or several
	stdin  []byte
	notes  []string
}

// wish is an image with what was written of it.
type wish struct {
	list.Entry // without a place for an argument
	ref        source.Ref
}

func (f *finder) find(ctx context.Context) error {
	if err := f.checkStdin(); err != nil {
		return err
	}
	if !f.Lists.None() { // so that what is wrong with the call is not said of a line
		cfg, err := f.Settings.Resolve(source.Ref{})
		if err != nil {
			return exit.AsUsage(err)
		}
		if all := cfg.Request.Platforms; len(all) == 1 {
			f.target = platforms.Format(all[0])
		}
	}
	for _, arg := range f.Args {
		if err := f.add(list.Entry{Ref: arg}); err != nil {
			return err
		}
	}
	for _, path := range f.Lists.Files {
		entries, err := list.Lists(path, func() ([]byte, error) { return f.readStdin(ctx, list.MaxList) })
		if err != nil {
			return wrong(ctx, err)
		}
		if err := f.addAll(entries); err != nil {
			return err
		}
	}
	if err := f.readFrom(ctx); err != nil {
		return err
	}
	if len(f.wishes) == 0 {
		return exit.Usagef("no image is named in %s", strings.Join(f.files(), ", "))
	}
	return nil
}

// readFrom adds the images that files describe.
func (f *finder) readFrom(ctx context.Context) error {
	if len(f.Lists.Keys) > 0 && len(f.Lists.From) == 0 {
		return exit.Usagef("--key has no effect without --from")
	}
	r := list.Reader{Keys: f.Lists.Keys, Lookup: f.Lookup, Target: f.target, Stdin: func() ([]byte, error) { return f.readStdin(ctx, list.MaxFrom) }}
	matched := map[string]bool{}
	for _, path := range f.Lists.From {
		found, err := r.Read(ctx, path)
		if err != nil {
			return wrong(ctx, err)
		}
		if err := f.addAll(found.Entries); err != nil {
			return err
		}
		f.notes = append(f.notes, found.Notes...)
		maps.Copy(matched, found.Matched)
	}
	for _, key := range f.Lists.Keys {
		if !matched[key] {
			return exit.Usagef("--key %q leads to nothing in %s", key, strings.Join(f.files(), ", "))
		}
	}
	return nil
}

// files are the files that name images, as messages call them.
func (f *finder) files() (names []string) {
	for _, path := range slices.Concat(f.Lists.Files, f.Lists.From) {
		names = append(names, list.NameOf(path))
	}
	return names
}

// wrong makes the error of a file one of usage. The end of the context is none.
func wrong(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return err
	}
	return exit.AsUsage(err)
}

func (f *finder) addAll(entries []list.Entry) error {
	for _, e := range entries {
		if err := f.add(e); err != nil {
			return exit.AsUsage(e.Wrong(err))
		}
	}
	return nil
}

// add adds the image of an entry, unless one before asks for the same.
func (f *finder) add(e list.Entry) error {
	if strings.HasPrefix(e.Ref, "ipfs://") || strings.HasPrefix(e.Ref, "ipns://") {
		return exit.UnknownScheme(e.Ref)
	}
	w := wish{Entry: e}
	var err error
	if w.ref, err = f.Settings.ForLine(w.line()).Ref(e.Ref); err != nil {
		return exit.AsUsage(err)
	}
	if f.seen[w.key()] {
		return nil
	}
	if len(f.wishes) == mostImages {
		return exit.Usagef("a call is for at most %d images", mostImages)
	}
	f.seen[w.key()] = true
	f.wishes = append(f.wishes, w)
	return nil
}

// key is the same for wishes that ask for the same.
func (w wish) key() string {
	key := []string{w.ref.String()}
	for _, word := range w.Words {
		key = append(key, word.Key+"="+word.Value)
	}
	slices.Sort(key[1:])
	return strings.Join(key, "\x00")
}

// line is what the list says of the image alone.
func (w wish) line() config.Line {
	line := config.Line{File: w.File, Line: w.Line, Values: map[string][]string{}}
	for _, word := range w.Words {
		line.Values[word.Key] = append(line.Values[word.Key], word.Value)
	}
	return line
}

// placed names the line that err is about.
func (w wish) placed(err error) error {
	if w.File == "" {
		return err
	}
	return w.Wrong(err)
}

func (w wish) job(cfg *config.Config) batch.Job {
	untagged := w.ref.Digest == "" && !strings.HasSuffix(w.Ref, ":"+w.ref.Tag)
	return batch.Job{Ref: w.ref, Config: cfg, Typed: w.Ref, Untagged: untagged}
}
