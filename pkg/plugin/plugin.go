// Package plugin parses the command lines of nerdctl, Docker and kubectl, and
// installs the program as their plugin: Parse and ParseDocker take a command
// line apart, Init is the shell function that gives nerdctl a further command,
// Program installs a shim in front of nerdctl, and Metadata and Follow are the
// protocol of Docker's plugins.
//
// It pulls nothing and knows no command of containerd-pull. The facts about
// nerdctl are those of version 2.3: see docs/nerdctl.md. Read Parse next, and
// then its shell functions in shell.go.
package plugin

import (
	"slices"
	"strings"
)

// Names under which the program may be called, besides its own.
const (
	Name               = "nerdctl" // the shim
	PullExt            = "nerdctl-pull-ext"
	DockerPlugin       = "docker-pullext" // Docker allows one hyphen only
	KubectlPlugin      = "kubectl-pull_ext"
	KubectlCompletions = "kubectl_complete-pull_ext"
)

// Word is the command that is added to nerdctl.
const Word = "pull-ext"

// summary describes Word in completion.
const summary = "Pull images by containerd-pull"

// Requests for candidates, as cobra's completion scripts send them.
const (
	complete       = "__complete"
	completeNoDesc = "__completeNoDesc"
)

// withValue are nerdctl's global flags whose value may be the next word, split
// into those that concern a pull and the others. A flag with = is one word in
// any case.
func withValue() (pull, others []string) {
	return []string{"-a", "-H", "-n", "--a", "--H", "--n", "--address", "--host", "--namespace",
			"--snapshotter", "--storage-driver", "--hosts-dir"},
		[]string{"--data-root", "--cgroup-manager", "--cni-path", "--cni-netconfpath", "--host-gateway-ip", "--bridge-ip",
			"--cdi-spec-dirs", "--userns-remap", "--global-dns", "--global-dns-opts", "--global-dns-search"}
}

// switches are the global flags without a value that do not concern a pull.
func switches() []string { return []string{"--kube-hide-dupe", "--selinux-enabled"} }

// Call is a command line of nerdctl, taken apart.
type Call struct {
	// IsPull is set for pull-ext and image pull-ext.
	IsPull bool
	// Args are the arguments for containerd-pull if IsPull: a request for
	// candidates, the global flags that concern a pull, and what follows the
	// command.
	Args []string
	// Candidates are to be added to those of nerdctl, one a line.
	Candidates []string
}

// Parse takes the arguments of nerdctl apart. The shell functions of Init do the
// same.
func Parse(args []string) Call {
	request, globals, rest := split(args)
	switch {
	case len(rest) > 0 && rest[0] == Word && (request == "" || len(rest) > 1):
		pull := append(globals, withoutOthers(rest[1:], request != "")...)
		if request != "" {
			pull = append([]string{request}, pull...)
		}
		return Call{IsPull: true, Args: pull}
	case request != "" && len(rest) == 1 && strings.HasPrefix(Word, rest[0]):
		return Call{Candidates: []string{candidate(request)}}
	}
	return Call{}
}

func candidate(request string) string {
	if request == completeNoDesc {
		return Word
	}
	return Word + "\t" + summary
}

// withoutOthers leaves out the global flags that do not concern a pull, with
// their values. The last word of a request is the one to be completed, so that
// it stays, as does everything from -- on.
func withoutOthers(args []string, request bool) []string {
	var kept []string
	_, others := withValue()
	last := 0
	if request {
		last = 1
	}
	for len(args) > last && args[0] != "--" {
		name, _, inline := strings.Cut(args[0], "=")
		n := 0
		switch {
		case slices.Contains(others, args[0]):
			n = 2
		case slices.Contains(switches(), name), inline && slices.Contains(others, name):
			n = 1
		}
		if len(args)-last < n {
			break
		}
		if n == 0 {
			kept, n = append(kept, args[0]), 1
		}
		args = args[n:]
	}
	return append(kept, args...)
}

// split separates the request for candidates, the global flags that concern a
// pull, and the words from the command on; the word image in front of the
// command is left out.
func split(args []string) (request string, globals, rest []string) {
	image := false
	if len(args) > 0 && (args[0] == complete || args[0] == completeNoDesc) {
		request, args = args[0], args[1:]
	}
	pull, others := withValue()
	for len(args) > 0 {
		name, _, _ := strings.Cut(args[0], "=")
		n := 1
		switch {
		case slices.Contains(pull, args[0]) || slices.Contains(others, args[0]):
			if n = 2; len(args) < n {
				return request, globals, args
			}
		case args[0] == "image" && !image && len(args) > 1:
			image, args = true, args[1:]
			continue
		case !strings.HasPrefix(args[0], "-"):
			return request, globals, args
		}
		if !slices.Contains(others, name) && !slices.Contains(switches(), name) {
			globals = append(globals, args[:n]...)
		}
		args = args[n:]
	}
	return request, globals, nil
}
