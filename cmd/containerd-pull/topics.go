package main

// topic is a page of help that belongs to no command.
type topic struct {
	name string
	text func() string
}

func topics() []topic {
	return []topic{
		{"profiles", func() string { return profilesText }},
		{"engines", func() string { return enginesText }},
		{"exit-codes", exitCodesText},
	}
}

func topicNames() []string {
	var names []string
	for _, t := range topics() {
		names = append(names, t.name)
	}
	return names
}

const profilesText = `A profile holds the settings for some registries under a name:

  [profiles.prod]
  match = ["registry.example.com/prod/*"]
  namespace = "k8s.io"

It is chosen by --profile NAME, by CONTAINERD_PULL_PROFILE, by a pattern in its
match that fits the reference, or by default_profile. Profiles stand in
/etc/containerd-pull/config.toml, in the user's
~/.config/containerd-pull/config.toml, in config.d/*.toml beside them, and in
the file that --config names.

Each key of a file has a variable: CONTAINERD_PULL_ and the key in capitals,
with _ for the dots. The strongest word wins:

  flag > profile named by --profile > environment > profile chosen otherwise
       > files > nerdctl.toml > built-in

  containerd-pull config show [REF]     every setting, and where it comes from
  containerd-pull profile init NAME     a new profile with every key in comments
  containerd-pull profile check         what is wrong
  containerd-pull hosts check REF       which hosts are asked, with whose credential
`

const enginesText = `An engine says who fetches and who unpacks:

  client    we do both, where we share the file system of the daemon, and
            always with --root; snapshotters overlayfs and native
  daemon    we fetch, containerd unpacks; any snapshotter that it has
  transfer  containerd does both; it cannot be told of certificates, mirrors of
            profiles, proxies or limits, and refuses them
  auto      client, or daemon where client cannot do what is asked
`
