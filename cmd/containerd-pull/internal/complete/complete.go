// Package complete finds what a word of a command line may become: it answers
// the completion scripts that cobra generates.
//
// Candidates come from the table of settings, from the configuration, from the
// store, and, for tags, repositories and platforms, from registries. A
// completion changes nothing but its own cache, takes no longer than a second,
// and fails by offering nothing.
//
// Add is where to start reading; reference.go completes what can be pulled.
package complete

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/containerd-pull/containerd-pull/pkg/config"
	"github.com/containerd-pull/containerd-pull/pkg/config/value"
	"github.com/containerd-pull/containerd-pull/pkg/plugin"
	"github.com/containerd-pull/containerd-pull/pkg/source"
	"github.com/containerd-pull/containerd-pull/pkg/store"
	"github.com/containerd-pull/containerd-pull/pkg/store/daemon"
	"github.com/containerd-pull/containerd-pull/pkg/store/root"
	"github.com/containerd-pull/containerd-pull/pkg/userfile"
)

// candidateTime limits how long a completion may take.
const candidateTime = time.Second

// candidates is a completion function of cobra: it returns what a word may
// become, each with a description behind a tab, and how the shell is to use
// them. On failure it returns none.
type candidates = func(cmd *cobra.Command, args []string, word string) ([]string, cobra.ShellCompDirective)

// Asked reports whether a completion script calls with these arguments.
func Asked(args []string) bool {
	return len(args) > 0 && (args[0] == cobra.ShellCompRequestCmd || args[0] == cobra.ShellCompNoDescRequestCmd)
}

// Options is what candidates depend on besides the command line.
type Options struct {
	Caller    config.Caller
	Topics    []string // of help, in addition to the commands
	UserAgent string
}

// Add registers candidates for every argument and flag of root and the commands
// below it. File names are offered only where a file is expected.
func Add(root *cobra.Command, o Options) {
	root.CompletionOptions.SetDefaultShellCompDirective(cobra.ShellCompDirectiveNoFileComp)
	root.InitDefaultHelpCmd()
	k := &completer{o}
	ofArguments := k.arguments()
	var visit func(cmd *cobra.Command, path string)
	visit = func(cmd *cobra.Command, path string) {
		if fn := ofArguments[path]; fn != nil {
			cmd.ValidArgsFunction = fn
		}
		cmd.Flags().VisitAll(func(f *pflag.Flag) {
			if fn := k.flag(f); fn != nil {
				_ = cmd.RegisterFlagCompletionFunc(f.Name, fn) // fails only for a flag that has one already
			}
		})
		for _, sub := range cmd.Commands() {
			visit(sub, strings.TrimSpace(path+" "+sub.Name()))
		}
	}
	visit(root, "")
}

// completer finds candidates for a caller.
type completer struct{ Options }

// arguments returns the candidates for the arguments of each command.
func (k *completer) arguments() map[string]candidates {
	return map[string]candidates{
		"":             k.references,
		"pull":         k.references,
		"plan":         k.references,
		"config show":  single(k.references),
		"hosts check":  single(k.references),
		"hosts write":  single(folders),
		"verify":       k.images,
		"images":       k.images,
		"rm":           k.images,
		"root ls":      k.imagesOfRoot,
		"root rm":      k.imagesOfRoot,
		"login":        single(k.registries),
		"logout":       single(k.registries),
		"profile show": single(k.profiles),
		"profile edit": single(k.profiles),
		"profile rm":   single(k.profiles),
		// Several profiles may be checked at once.
		"profile check": k.profiles,
		"completion":    single(words(plugin.Shells()...)),
		"shell-init":    single(words(plugin.Shells()...)),
		"timeline":      single(files),
		"shim install":  single(folders),
		"shim remove":   single(folders),
		"help":          k.helpWords,
	}
}

// flag returns the candidates for a flag's value, nil if there are none.
func (k *completer) flag(f *pflag.Flag) candidates {
	key := config.Key(f)
	live := map[string]candidates{
		"platforms":       k.platforms,
		"namespace":       k.namespaces,
		"snapshotter":     k.snapshotters,
		"address":         k.addresses,
		"default_profile": k.profiles,
	}
	switch {
	case key != "" && live[key] != nil:
		return live[key]
	case config.Words(f) != nil:
		return words(described(config.Words(f))...)
	case config.IsPath(f) && (key == "root" || key == "hosts_dir"):
		return folders
	case config.IsPath(f):
		return files
	case f.Name == "output":
		return files
	case f.Name == "format" && (config.GroupOf(f) == config.GroupOutput || strings.Contains(f.Usage, "table")):
		return words("json\tthe result as JSON", "table\tcolumns, which a template may name", "go-template=\tfields of the JSON in a template")
	case f.Name == "format":
		return words("json\tthe result as JSON")
	}
	return nil
}

// described returns words, each with its meaning if it has one.
func described(words []value.Word) []string {
	shown := make([]string, len(words))
	for i, w := range words {
		shown[i] = w.Text
		if w.Meaning != "" {
			shown[i] += "\t" + w.Meaning
		}
	}
	return shown
}

// words returns a function that offers the same candidates for every call,
// without those that do not fit.
func words(all ...string) candidates {
	return func(_ *cobra.Command, args []string, word string) ([]string, cobra.ShellCompDirective) {
		return fitting(all, args, word), cobra.ShellCompDirectiveNoFileComp | cobra.ShellCompDirectiveKeepOrder
	}
}

// fitting returns the candidates that begin with word and are not in args.
func fitting(all, args []string, word string) []string {
	var fit []string
	for _, c := range all {
		text, _, _ := strings.Cut(c, "\t")
		if strings.HasPrefix(text, word) && !slices.Contains(args, text) {
			fit = append(fit, c)
		}
	}
	return fit
}

// single returns a function that offers nothing once there is an argument.
func single(inner candidates) candidates {
	return func(cmd *cobra.Command, args []string, word string) ([]string, cobra.ShellCompDirective) {
		if len(args) > 0 {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		return inner(cmd, args, word)
	}
}

func files(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
	return nil, cobra.ShellCompDirectiveDefault
}

func folders(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
	return nil, cobra.ShellCompDirectiveFilterDirs
}

// helpWords offers the commands below those in args, and the topics.
func (k *completer) helpWords(cmd *cobra.Command, args []string, word string) ([]string, cobra.ShellCompDirective) {
	const none = cobra.ShellCompDirectiveNoFileComp
	of, rest, err := cmd.Root().Find(args)
	if err != nil || len(rest) > 0 {
		return nil, none
	}
	var all []string
	for _, sub := range of.Commands() {
		if sub.IsAvailableCommand() {
			all = append(all, sub.Name()+"\t"+sub.Short)
		}
	}
	if len(args) == 0 {
		all = append(all, k.Topics...)
	}
	return fitting(all, nil, word), none
}

// typed returns the settings that follow from the words in front of the one to
// complete, and the configuration for ref, which may be zero.
func (k *completer) typed(cmd *cobra.Command, ref source.Ref) (*config.Settings, *config.Config, error) {
	settings, err := config.Load(k.Caller, config.FlagsOf(cmd.Flags()))
	if err != nil {
		return nil, nil, err
	}
	cfg, err := settings.Resolve(ref)
	return settings, cfg, err
}

// live returns what list reads from the store as candidates, within
// candidateTime.
func (k *completer) live(cmd *cobra.Command, word string, list func(context.Context, *store.View) ([]string, error)) ([]string, cobra.ShellCompDirective) {
	const none = cobra.ShellCompDirectiveNoFileComp
	ctx, cancel := context.WithTimeout(cmd.Context(), candidateTime)
	defer cancel()
	_, cfg, err := k.typed(cmd, source.Ref{})
	if err != nil {
		return nil, none
	}
	view, err := openView(ctx, cfg)
	if err != nil {
		return nil, none
	}
	defer view.Close()
	all, err := list(ctx, view)
	if err != nil {
		return nil, none
	}
	slices.Sort(all)
	return fitting(all, nil, word), none
}

func openView(ctx context.Context, cfg *config.Config) (*store.View, error) {
	o := cfg.Store
	o.ConnectTimeout = candidateTime
	if o.Root != "" {
		return root.View(o)
	}
	return daemon.View(ctx, o)
}

func (k *completer) namespaces(cmd *cobra.Command, _ []string, word string) ([]string, cobra.ShellCompDirective) {
	return k.live(cmd, word, func(ctx context.Context, v *store.View) ([]string, error) { return v.Namespaces(ctx) })
}

// snapshotters offers those of the daemon, or those that a root may have, which
// need not exist.
func (k *completer) snapshotters(cmd *cobra.Command, args []string, word string) ([]string, cobra.ShellCompDirective) {
	if _, cfg, err := k.typed(cmd, source.Ref{}); err == nil && cfg.Store.Root != "" {
		return words(root.Snapshotters()...)(cmd, args, word)
	}
	return k.live(cmd, word, func(ctx context.Context, v *store.View) ([]string, error) { return v.Snapshotters(ctx) })
}

// addresses offers the usual sockets that exist.
func (k *completer) addresses(cmd *cobra.Command, _ []string, word string) ([]string, cobra.ShellCompDirective) {
	paths := []string{"/run/containerd/containerd.sock", "/run/k3s/containerd/containerd.sock", "/run/docker/containerd/containerd.sock"}
	if dir := k.Caller.Getenv("XDG_RUNTIME_DIR"); dir != "" {
		paths = append(paths, filepath.Join(dir, "containerd/containerd.sock"))
		// The socket of rootless containerd is in a mount namespace of its own.
		if pid, err := userfile.Found(filepath.Join(dir, "containerd-rootless/child_pid"), 64); err == nil {
			paths = append(paths, filepath.Join("/proc", strings.TrimSpace(string(pid.Data)), "root/run/containerd/containerd.sock"))
		}
	}
	var all []string
	for _, path := range paths {
		if info, err := os.Stat(filepath.Join(k.Caller.Root, path)); err == nil && info.Mode()&os.ModeSocket != 0 {
			all = append(all, path, "unix://"+path)
		}
	}
	if !strings.HasPrefix(word, "u") {
		all = slices.DeleteFunc(all, func(s string) bool { return strings.HasPrefix(s, "unix:") })
	}
	return words(all...)(cmd, nil, word)
}

// profiles offers profiles, described by their patterns and files.
func (k *completer) profiles(cmd *cobra.Command, args []string, word string) ([]string, cobra.ShellCompDirective) {
	const none = cobra.ShellCompDirectiveNoFileComp
	settings, err := config.Load(k.Caller, config.FlagsOf(cmd.Flags()))
	if err != nil {
		return nil, none
	}
	var all []string
	for _, p := range settings.Profiles() {
		text := append(slices.Clone(p.Match), "in "+strings.Join(p.Files, ", "))
		all = append(all, p.Name+"\t"+strings.Join(text, ", "))
	}
	if !isProfileCommand(cmd) {
		args = nil // arguments next to --profile are references
	}
	return fitting(all, args, word), none
}

// registries offers those that patterns of profiles name.
func (k *completer) registries(cmd *cobra.Command, _ []string, word string) ([]string, cobra.ShellCompDirective) {
	const none = cobra.ShellCompDirectiveNoFileComp
	settings, err := config.Load(k.Caller, config.FlagsOf(cmd.Flags()))
	if err != nil {
		return nil, none
	}
	var all []string
	for _, p := range settings.Profiles() {
		for _, host := range settings.Hosts(p.Name) {
			all = append(all, host+"\tof profile "+p.Name)
		}
	}
	slices.Sort(all)
	return finish(all, nil, word)
}

func isProfileCommand(cmd *cobra.Command) bool {
	return cmd.HasParent() && cmd.Parent().Name() == "profile"
}
