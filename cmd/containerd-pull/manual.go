package main

import "github.com/spf13/cobra"

//go:generate go test -run TestReference -update

// chapter is what help, the reference and the man pages say about a command
// besides its line in the list of commands.
type chapter struct {
	text string
	// examples are lines of a shell; a comment tells about the lines below it.
	examples string
}

// addChapters gives each command its chapter.
func addChapters(root *cobra.Command) {
	all := chapters()
	walk(root, func(cmd *cobra.Command) {
		c := all[pathBelow(root, cmd)]
		if cmd.Long == "" {
			cmd.Long = c.text
		}
		cmd.Example = c.examples
	})
}

// pathBelow is the command without the name of the program: "hosts check".
func pathBelow(root, cmd *cobra.Command) string {
	if cmd == root {
		return ""
	}
	return cmd.CommandPath()[len(root.CommandPath())+1:]
}

// chapters are the chapters by command. Each example is run by a test, with a
// registry that has every image: it has to succeed in an empty home, and must
// not write anywhere else.
func chapters() map[string]chapter {
	return map[string]chapter{
		"": {`containerd-pull brings OCI images into containerd, ready to run: it resolves
each reference, fetches what is missing, unpacks the layers and registers the
image. It works against a running containerd or, with --root, on containerd's
own layout on disk without a daemon.`, `# Into the running containerd. Short names and the default tag are Docker's.
containerd-pull alpine
# For Kubernetes, several images at once.
containerd-pull -n k8s.io registry.k8s.io/pause:3.10 nginx:1.27
# For another platform.
containerd-pull --platform linux/arm64 debian:12
# Without a daemon, onto a disk.
containerd-pull --root disk/var/lib/containerd -n k8s.io registry.k8s.io/pause:3.10
# No network if the image is whole.
containerd-pull --policy missing alpine
# These bytes and no others.
containerd-pull --verify pinned debian:12@sha256:…
# As a user of the registry, with the password from a file.
containerd-pull --user robot --password-stdin registry.example.com/app:1.2 <password
# Everything about a registry from a profile.
containerd-pull -p prod registry.example.com/app:1.2`},

		"pull": {`The same as containerd-pull without a command word, for images that are called
like a command.`, `containerd-pull pull verify
# The same image.
containerd-pull verify:latest`},

		"config": {text: "What a pull would be told by flags, variables, files and profiles."},
		"config show": {`Shows every setting with its value and where that comes from: a flag, a variable,
a key of a file, a profile, or the program itself; then the files and profiles.
With a reference, as the pull of that image would see it. Secrets are masked.`, `containerd-pull config show
# As a pull of this image would see it.
containerd-pull config show registry.example.com/app:1.2
# What would a profile change? Which file says so?
containerd-pull config show -p prod --format json`},

		"profile": {text: `A profile holds the settings for some registries under a name: see
containerd-pull help profiles.`},
		"profile list": {`Lists the profiles with their patterns and the files that they come from.`,
			`containerd-pull profile list
containerd-pull profile list --format json`},
		"profile show": {`Shows a profile as a file could hold it, with what it gets from those that it
extends. Secrets are masked.`, `containerd-pull profile show prod`},
		"profile init": {`Adds a profile in which every key stands as a comment, to be edited. The file can
only be read by its owner. A profile that exists is not touched.`, `# Into the user's configuration file.
containerd-pull profile init registry
# Into another file.
containerd-pull profile init registry --config registries.toml`},
		"profile check": {`Checks the files and what they name, such as certificates and credential helpers:
file, line, key and what to do for everything that is wrong. Nothing is pulled.`, `containerd-pull profile check
containerd-pull profile check prod
# Can the daemon be reached, can the hosts be logged in to?
containerd-pull profile check --online`},

		"hosts": {text: "Registries and their mirrors, from hosts.toml files and profiles."},
		"hosts check": {`Shows the hosts that would be asked for an image in their order: what they may be
asked for, TLS, headers, and where the credential comes from. Nothing is asked.`, `containerd-pull hosts check registry.example.com/app:1.2
containerd-pull hosts check -p prod --format json alpine`},
		"hosts write": {`Writes what a profile says about hosts as hosts.toml files, for containerd itself
and for CRI. Only files that this command wrote are replaced.`, `# What would change?
containerd-pull hosts write -p prod --dry-run certs.d
containerd-pull hosts write -p prod certs.d`},

		"verify": {`Checks that images are whole: that each blob has its size and digest, that the
labels keep what belongs to the image, that the snapshots are there. With --deep
also that the unpacked files are those of the layers. With --repair it fetches
and unpacks what is damaged or missing. Without a reference, all images of the
namespace. Exit code 8 says that something is not whole.`, `containerd-pull verify
containerd-pull verify --deep alpine
# On a disk, for a program.
containerd-pull verify --root disk/var/lib/containerd -n k8s.io --format json
# What is damaged comes again.
containerd-pull verify --repair alpine`},

		"gc": {`Removes the leases, ingests and snapshots that interrupted pulls of this program
left, but not those of pulls that run. What containerd's own garbage collection
removes is its business; with --root there is no daemon to do that, so all that
no image needs goes as well.`, `# What is there?
containerd-pull gc --dry-run
containerd-pull gc
containerd-pull gc --root disk/var/lib/containerd`},

		"completion": {`Prints the script that completes command lines of this program in a shell. It asks
the program itself for images, tags, profiles and so on.`, `# For this shell.
source <(containerd-pull completion bash)
# For good, in fish.
containerd-pull completion fish >~/.config/fish/completions/containerd-pull.fish`},

		"shell-init": {`Prints a function called nerdctl, for the start-up file of a shell: nerdctl
pull-ext is this program then, and everything else is nerdctl.`, `# In ~/.bashrc.
eval "$(containerd-pull shell-init bash)"`},

		"shim": {text: `The shim is this program under the name of nerdctl, in front of it on PATH. It
knows pull-ext, where shell functions do not reach: under sudo, in scripts, in
units of systemd. Everything else is executed by nerdctl.`},
		"shim install": {`Makes the link nerdctl in a folder. A file that is there and is not ours stays.`,
			`# For oneself. Without a folder it is /usr/local/sbin, where sudo looks first.
containerd-pull shim install ~/bin`},
		"shim remove": {`Removes the link, if it is ours.`, `containerd-pull shim install ~/bin
containerd-pull shim remove ~/bin`},
		"shim status": {`Tells which nerdctl is found first and which one is executed. Exit code 1 says
that the first one is not the shim.`, `containerd-pull shim status || echo "not the shim"`},

		"timeline": {examples: `containerd-pull --progress json alpine 2>events.json
containerd-pull timeline events.json -o pull.svg`},

		"version": {`Prints the versions of the program, of Go, and of containerd's packages in it.`,
			`containerd-pull version
# For a report.
containerd-pull version --format json`},

		"help": {`Help about a command, or about a topic.`, `containerd-pull help profiles
containerd-pull help hosts check`},
	}
}
