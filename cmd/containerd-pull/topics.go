package main

import "strings"

// topic is a page of help that belongs to no command. Its text is Markdown
// that reads well as it stands: paragraphs, and blocks indented by four spaces.
type topic struct {
	name  string
	short string
	text  func() string
}

func topics() []topic {
	return []topic{
		{"profiles", "settings for some registries under a name", func() string { return profilesText }},
		{"engines", "who fetches and who unpacks", func() string { return enginesText }},
		{"exit-codes", "what went wrong, for scripts", func() string { return exitCodesIntro + indentBlock(exitCodesText()) + exitCodesUse }},
	}
}

func topicNames() []string {
	var names []string
	for _, t := range topics() {
		names = append(names, t.name)
	}
	return names
}

// indentBlock makes lines a block.
func indentBlock(text string) string {
	var b strings.Builder
	for line := range strings.Lines(text) {
		b.WriteString("    " + line)
	}
	return b.String()
}

const profilesText = `A profile holds the settings for some registries under a name:

    [profiles.prod]
    match = ["registry.example.com/prod/*"]
    namespace = "k8s.io"
    platforms = ["linux/amd64"]

    [[profiles.prod.credentials]]
    source = "helper"
    helper = "ecr-login"

It is chosen by --profile NAME, by CONTAINERD_PULL_PROFILE, by a pattern in its
match that fits the reference, or by default_profile, in this order. An empty
name means none. With extends = "base" it has what the profile base has, unless
it says otherwise.

Profiles stand in files, TOML or by extension YAML, the later ones stronger:

    /etc/containerd-pull/config.toml, then config.d/*.toml beside it
    ~/.config/containerd-pull/config.toml, then config.d/*.toml beside it
    the file that --config or CONTAINERD_PULL_CONFIG names, then config.d/*.toml

Outside of profiles, the same keys are defaults for every pull. Each key has a
variable: CONTAINERD_PULL_ and the key in capitals, with _ for the dots, such as
CONTAINERD_PULL_RETRY_COUNT for retry.count. The strongest word wins:

    flag
    profile named by --profile
    environment
    profile chosen otherwise
    files
    nerdctl.toml
    built-in

Commands that help:

    containerd-pull config show [REF]    every setting, and where it comes from
    containerd-pull profile init NAME    a new profile with every key in comments
    containerd-pull profile check        what is wrong
    containerd-pull hosts check REF      which hosts are asked, with whose credential
`

const enginesText = `An engine says who fetches and who unpacks. --engine names one:

    client    we do both, where we share the file system of the daemon, and
              always with --root; snapshotters overlayfs and native
    daemon    we fetch, containerd unpacks; any snapshotter that it has
    transfer  containerd does both
    auto      the first of these that can do what is asked

auto, the default, takes client where it is proved that what we write into a
snapshot is what the daemon sees there, which takes root. It takes daemon for
other snapshotters, in user namespaces, where no files are shared, and for
encrypted layers. It takes transfer where neither can unpack, or where containerd
has image verifiers that only it can ask. The closing line of the pull names the
engine.

An engine that was named and cannot honour a setting is an error, exit code 2.
transfer cannot be told of TLS settings, --insecure-registry, mirrors and proxies
of a profile, more than one --hosts-dir, limits, retries and --discard-layers.
client cannot unpack what it may not write.

    containerd-pull --engine daemon alpine
    containerd-pull --engine transfer --snapshotter overlayfs alpine
`

const exitCodesIntro = `The exit code says what went wrong:

`

const exitCodesUse = `
3, 7 and 12 are worth another try, 6 later, 10 after making room. What was
fetched is kept, and the next pull goes on from there. Several references are
tried one and all; if some of them fail, the code is 20, and --format json or the
lines on stderr tell which. A hint says what to do. With --changed-exit-code N,
the code is N instead of 0 where an image is new or another one than before.

    containerd-pull -q alpine || case $? in
    3|7|12) echo "try again" ;;
    *) exit 1 ;;
    esac

For systemd:

    Restart=on-failure
    RestartPreventExitStatus=2 4 5 8 9 11
`
