package config

import (
	"github.com/containerd-pull/containerd-pull/pkg/config/value"
	"github.com/containerd-pull/containerd-pull/pkg/registry/hosts"
)

func registrySettings() []*Setting {
	return []*Setting{
		{
			Key:      "hosts_dir",
			Flags:    []Flag{{Name: "hosts-dir"}},
			Default:  rootHostsDirs,
			Usage:    "`folders` with hosts.toml or certificates, searched in order",
			Group:    GroupRegistry,
			bind:     func(c *Config) value.Value { return value.Paths(&c.Registry.Hosts.Dirs) },
			fallback: hostsDirs,
		},
		{
			Key:   "plain_http",
			Flags: []Flag{{Name: "plain-http"}},
			Usage: "the reference's own host speaks HTTP; localhost always may",
			Group: GroupRegistry,
			bind:  func(c *Config) value.Value { return value.Bool(&c.Registry.Hosts.PlainHTTP) },
		},
		{
			Key:    "insecure_registry",
			Flags:  []Flag{{Name: "insecure-registry"}},
			Usage:  "do not check the certificate of the reference's own host, and speak HTTP if HTTPS fails",
			Group:  GroupRegistry,
			Common: true,
			bind:   func(c *Config) value.Value { return value.Bool(&c.Registry.Hosts.Insecure) },
		},
		{
			Key:   "tls.skip_verify",
			Flags: []Flag{{Name: "skip-verify", Short: "k"}},
			Usage: "do not check the certificate of the reference's own host",
			Group: GroupRegistry,
			bind:  func(c *Config) value.Value { return value.Bool(&c.Registry.Hosts.SkipVerify) },
		},
		{
			Key:   "tls.ca",
			Flags: []Flag{{Name: "tlscacert"}},
			Usage: "`file` of the certificate authority of the reference's own host",
			Group: GroupRegistry,
			bind:  func(c *Config) value.Value { return value.Path(&c.Registry.Hosts.CA) },
		},
		{
			Key:   "tls.cert",
			Flags: []Flag{{Name: "tlscert"}},
			Usage: "`file` of the client certificate",
			Group: GroupRegistry,
			bind:  func(c *Config) value.Value { return value.Path(&c.Registry.Hosts.Cert) },
		},
		{
			Key:   "tls.key",
			Flags: []Flag{{Name: "tlskey"}},
			Usage: "`file` of the client certificate's key",
			Group: GroupRegistry,
			bind:  func(c *Config) value.Value { return value.Path(&c.Registry.Hosts.Key) },
		},
		{
			Flags: []Flag{{Name: "http-dump"}},
			Usage: "show requests and responses, without secrets and bodies of blobs",
			Group: GroupRegistry,
			bind:  func(c *Config) value.Value { return value.Bool(&c.HTTPDump) },
		},
		{
			Flags: []Flag{{Name: "http-trace"}},
			Usage: "show what happens to connections",
			Group: GroupRegistry,
			bind:  func(c *Config) value.Value { return value.Bool(&c.HTTPTrace) },
		},
		{
			Key:   "proxy",
			Usage: "`URL` of the proxy, in place of those of the environment",
			Group: GroupRegistry,
			bind:  func(c *Config) value.Value { return value.URL(&c.Registry.Proxy) },
		},
		{
			Key:   "mirrors",
			Usage: "hosts that are asked before those of hosts_dir",
			Group: GroupRegistry,
			bind: func(c *Config) value.Value {
				return value.Tables(&c.Registry.Hosts.Mirrors, mirrorMembers(), hosts.Mirror.Validate)
			},
		},
		{
			Key:   "allow_foreign_urls",
			Usage: "fetch layers from the URLs that their descriptors name",
			Group: GroupRegistry,
			bind:  func(c *Config) value.Value { return value.Bool(&c.Registry.AllowForeignURLs) },
		},
		{
			Key:   "token_hosts",
			Usage: "`hosts` of token servers that may get credentials although their domain is not the registry's",
			Group: GroupRegistry,
			bind:  func(c *Config) value.Value { return value.List(&c.Registry.TokenHosts) },
		},
		{
			Key:   "private_redirects",
			Usage: "`hosts` and networks inside of yours, such as storage, to which a public registry may redirect",
			Group: GroupRegistry,
			bind:  func(c *Config) value.Value { return value.List(&c.Registry.PrivateRedirects) },
		},
	}
}

func mirrorMembers() []value.Member[hosts.Mirror] {
	type m = hosts.Mirror
	return []value.Member[m]{
		value.Required("host", "the registry that is mirrored; * is any", func(x *m) value.Value { return value.Text(&x.Host) }),
		value.Required("endpoints", "URLs of the mirror, in the order of asking", func(x *m) value.Value { return value.List(&x.Endpoints) }),
		value.Optional("resolve", "it may be asked what a tag points to", func(x *m) value.Value { return value.Bool(&x.Resolve) }),
		value.Optional("override_path", "the path of the endpoint stands as it is, without /v2", func(x *m) value.Value { return value.Bool(&x.OverridePath) }),
		value.Optional("ca", "file of its certificate authority", func(x *m) value.Value { return value.Path(&x.CA) }),
		value.Optional("cert", "file of the client certificate for it", func(x *m) value.Value { return value.Path(&x.Cert) }),
		value.Optional("key", "file of the key of the client certificate", func(x *m) value.Value { return value.Path(&x.Key) }),
		value.Optional("skip_verify", "its certificate is not checked", func(x *m) value.Value { return value.Bool(&x.SkipVerify) }),
		value.Optional("dial_timeout", "time to connect to it", func(x *m) value.Value { return value.Duration(&x.DialTimeout) }),
		value.Optional("headers", "headers that are sent to it", func(x *m) value.Value { return value.Secrets(&x.Headers) }),
	}
}
