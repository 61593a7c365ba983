// Package usage lays out help, and answers calls that probably mean something else than
// they say: words of other tools in the place of an image, flags of other tools, an
// image in the place of a flag's value. It runs nothing. Start reading at Help and
// RefuseWords.
package usage

import (
	_ "embed"
	"fmt"
	"os"
	"path"
	"slices"
	"strings"
	"sync"

	"github.com/spf13/cobra"

	"github.com/containerd-pull/containerd-pull/cmd/containerd-pull/internal/exit"
	"github.com/containerd-pull/containerd-pull/pkg/config/value"
	"github.com/containerd-pull/containerd-pull/pkg/source"
)

//go:embed official.txt
var official string

// isOfficial reports whether Docker Hub has an image of that short name.
var isOfficial = sync.OnceValue(func() func(string) bool {
	names := make(map[string]bool)
	for line := range strings.Lines(official) {
		if name := strings.TrimSpace(line); !strings.HasPrefix(name, "#") {
			names[name] = true
		}
	}
	return func(name string) bool { return names[name] }
})

// verbs are the words of a row that are no commands of this program, and what to do
// instead; %[1]s is the program as the user calls it.
type verbs struct {
	words string
	hint  string
}

// knownVerbs are the commands of docker, podman, nerdctl and crictl, and words that
// users expect to be some. Those that this program has too never get here.
func knownVerbs() []verbs {
	return []verbs{
		{"image images list ls img inspect inspecti history imagefsinfo show info status", "%[1]s images shows the images that are there"},
		{"rmi rm remove delete del untag uninstall", "%[1]s rm removes images"},
		{"fetch download get install add upgrade", "%[1]s REF pulls an image, without a command word"},
		{"search tags find", "registries cannot be searched here; %[1]s HOST/REPOSITORY:<TAB> lists the tags of a repository"},
		{"auth signin", "%[1]s login keeps a password"},
		{"signout", "%[1]s logout removes a password"},
		{"prune clean cleanup system", "%[1]s gc removes what interrupted pulls left"},
		{"check fsck trust", "%[1]s verify checks the images that are there"},
		{"config context settings", "%[1]s config show tells the settings"},
		{"load import save export push tag commit manifest ipfs artifact", "ctr images, nerdctl and docker do that; %[1]s only brings images in"},
		{"build buildx builder farm scout namespace plugin", notHere},
		{"attach checkpoint container cp create diff event events exec kill logs pause port port-forward ps rename restart run runp start " +
			"stats statsp stop stopp top unpause unshare update wait pod pods inspectp rmp metricsp metricdescs compose stack service " +
			"network volume secret node swarm machine kube play generate quadlet healthcheck mount umount unmount init " +
			"apparmor auto-update runtime-config update-runtime-config", notHere},
	}
}

const notHere = "docker, podman, nerdctl and crictl do that; %[1]s only brings images in"

// Advice returns which command was probably meant by a word in the place of an
// image, empty if the word reads as none.
func Advice(root *cobra.Command, word string) string {
	for _, v := range knownVerbs() {
		if slices.Contains(strings.Fields(v.words), word) {
			return fmt.Sprintf(v.hint, root.DisplayName())
		}
	}
	for _, name := range CommandNames(root) {
		if value.Distance(word, name) == 1 {
			return fmt.Sprintf("did you mean %s %s?", root.DisplayName(), name)
		}
	}
	return ""
}

// RefuseWords refuses arguments of a call without a command word that are no
// images: a first word that reads as a command, and names of files. An official
// image of Docker is never refused.
func RefuseWords(root *cobra.Command, args []string) error {
	for i, arg := range args {
		what, hint := misread(root, arg, i == 0)
		_, err := source.ParseRef(arg)
		if hint == "" || err != nil && source.IsOutsideRegistries(arg) { // the error of the parser says as much
			continue
		}
		if err == nil {
			hint += "; for an image of that name: " + root.DisplayName() + " pull " + arg
		}
		return &exit.UsageError{Err: fmt.Errorf("%q reads as %s", arg, what), Remedy: hint}
	}
	return nil
}

// misread returns what an argument reads as that is no image, and what to do then: an
// empty hint if it reads as an image.
func misread(root *cobra.Command, arg string, first bool) (what, hint string) {
	name, _, _ := strings.Cut(arg, ":")
	switch {
	case isOfficial()(name):
		return "", ""
	case source.IsOutsideRegistries(arg):
		return "an image outside of registries", "ctr images import brings an archive into containerd"
	case strings.ContainsAny(arg, ":@"):
		return "", ""
	}
	if first && !strings.Contains(arg, "/") {
		if advice := Advice(root, arg); advice != "" {
			return "a command, and there is none of that name", advice
		}
	}
	if canBeFile(arg) {
		return "the name of a file", fileHint(root, arg)
	}
	return "", ""
}

// canBeFile reports whether an argument without a tag would be an official image of
// Docker that there is not, or is the path of a file.
func canBeFile(arg string) bool {
	if !strings.Contains(arg, "/") {
		return true
	}
	info, err := os.Stat(arg)
	return err == nil && info.Mode().IsRegular()
}

// fileHint returns what to do with a file, empty if its name can be that of an image.
func fileHint(root *cobra.Command, file string) string {
	switch path.Ext(file) {
	case ".tar", ".tgz", ".gz", ".zst":
		return "ctr images import brings an archive into containerd"
	case ".txt", ".lst", ".list", ".conf":
		return root.DisplayName() + " -f " + file + " pulls what a file lists"
	case ".yaml", ".yml", ".json", ".dockerfile", ".containerfile":
		return root.DisplayName() + " --from " + file + " pulls the images that it names"
	case ".toml":
		return "name the images that it names"
	}
	if slices.Contains([]string{"dockerfile", "containerfile"}, strings.ToLower(path.Base(file))) {
		return root.DisplayName() + " --from " + file + " pulls the images that it builds upon"
	}
	return ""
}

// CommandNames returns the names of the commands below cmd.
func CommandNames(cmd *cobra.Command) []string {
	var names []string
	for _, sub := range commandsOf(cmd) {
		names = append(names, sub.Name())
	}
	return names
}

// commandsOf returns the commands below cmd that help shows.
func commandsOf(cmd *cobra.Command) []*cobra.Command {
	return slices.DeleteFunc(slices.Clone(cmd.Commands()), func(sub *cobra.Command) bool {
		return !sub.IsAvailableCommand() && sub.Name() != "help"
	})
}

// Walk calls visit for a command and all commands below it.
func Walk(cmd *cobra.Command, visit func(*cobra.Command)) {
	visit(cmd)
	for _, sub := range cmd.Commands() {
		Walk(sub, visit)
	}
}
