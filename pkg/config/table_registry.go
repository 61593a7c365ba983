package config

import "github.com/containerd-pull/containerd-pull/pkg/registry"

func registrySettings() []*Setting {
	return []*Setting{
		{
			Key:      "hosts_dir",
			Flags:    []Flag{{Name: "hosts-dir"}},
			Default:  "/etc/containerd/certs.d,/etc/docker/certs.d",
			Usage:    "`folders` with hosts.toml or certificates, searched in order",
			Group:    GroupRegistry,
			bind:     func(c *Config) value { return paths(&c.Registry.HostsDirs) },
			fallback: hostsDirs,
		},
		{
			Key:   "plain_http",
			Flags: []Flag{{Name: "plain-http"}},
			Usage: "the reference's own host speaks HTTP; localhost always may",
			Group: GroupRegistry,
			bind:  func(c *Config) value { return (*boolValue)(&c.Registry.PlainHTTP) },
		},
		{
			Key:   "insecure_registry",
			Flags: []Flag{{Name: "insecure-registry"}},
			Usage: "do not check the certificate of the reference's own host, and speak HTTP if HTTPS fails",
			Group: GroupRegistry,
			bind:  func(c *Config) value { return (*boolValue)(&c.Registry.Insecure) },
		},
		{
			Key:   "tls.skip_verify",
			Flags: []Flag{{Name: "skip-verify", Short: "k"}},
			Usage: "do not check the certificate of the reference's own host",
			Group: GroupRegistry,
			bind:  func(c *Config) value { return (*boolValue)(&c.Registry.SkipVerify) },
		},
		{
			Key:   "tls.ca",
			Flags: []Flag{{Name: "tlscacert"}},
			Usage: "`file` of the certificate authority of the reference's own host",
			Group: GroupRegistry,
			bind:  func(c *Config) value { return path(&c.Registry.CA) },
		},
		{
			Key:   "tls.cert",
			Flags: []Flag{{Name: "tlscert"}},
			Usage: "`file` of the client certificate",
			Group: GroupRegistry,
			bind:  func(c *Config) value { return path(&c.Registry.Cert) },
		},
		{
			Key:   "tls.key",
			Flags: []Flag{{Name: "tlskey"}},
			Usage: "`file` of the client certificate's key",
			Group: GroupRegistry,
			bind:  func(c *Config) value { return path(&c.Registry.Key) },
		},
		{
			Flags: []Flag{{Name: "http-dump"}},
			Usage: "show requests and responses, without secrets and bodies of blobs",
			Group: GroupRegistry,
			bind:  func(c *Config) value { return (*boolValue)(&c.HTTPDump) },
		},
		{
			Flags: []Flag{{Name: "http-trace"}},
			Usage: "show what happens to connections",
			Group: GroupRegistry,
			bind:  func(c *Config) value { return (*boolValue)(&c.HTTPTrace) },
		},
		{
			Key:   "proxy",
			Usage: "`URL` of the proxy, in place of those of the environment",
			Group: GroupRegistry,
			bind:  func(c *Config) value { return link(&c.Registry.Proxy) },
		},
		{
			Key:   "mirrors",
			Usage: "hosts that are asked before those of hosts_dir",
			Group: GroupRegistry,
			bind: func(c *Config) value {
				return &tablesValue[registry.Mirror]{field: &c.Registry.Mirrors, members: mirrorMembers(), validate: registry.Mirror.Validate}
			},
		},
		{
			Key:   "allow_foreign_urls",
			Usage: "fetch layers from the URLs that their descriptors name",
			Group: GroupRegistry,
			bind:  func(c *Config) value { return (*boolValue)(&c.Registry.AllowForeignURLs) },
		},
		{
			Key:   "token_hosts",
			Usage: "`hosts` of token servers that may get credentials although their domain is not the registry's",
			Group: GroupRegistry,
			bind:  func(c *Config) value { return words(&c.Registry.TokenHosts) },
		},
	}
}

func mirrorMembers() []member[registry.Mirror] {
	type m = registry.Mirror
	return []member[m]{
		{"host", "the registry that is mirrored; * is any", func(x *m) value { return text(&x.Host) }, true},
		{"endpoints", "URLs of the mirror, in the order of asking", func(x *m) value { return words(&x.Endpoints) }, true},
		{"resolve", "it may be asked what a tag points to", func(x *m) value { return (*boolValue)(&x.Resolve) }, false},
		{"override_path", "the path of the endpoint stands as it is, without /v2", func(x *m) value { return (*boolValue)(&x.OverridePath) }, false},
		{"ca", "file of its certificate authority", func(x *m) value { return path(&x.CA) }, false},
		{"cert", "file of the client certificate for it", func(x *m) value { return path(&x.Cert) }, false},
		{"key", "file of the key of the client certificate", func(x *m) value { return path(&x.Key) }, false},
		{"skip_verify", "its certificate is not checked", func(x *m) value { return (*boolValue)(&x.SkipVerify) }, false},
		{"dial_timeout", "time to connect to it", func(x *m) value { return (*durationValue)(&x.DialTimeout) }, false},
		{"headers", "headers that are sent to it", func(x *m) value { return (*secretsValue)(&x.Headers) }, false},
	}
}

func credentialSettings() []*Setting {
	return []*Setting{
		{
			Flags: []Flag{{Name: "user", Short: "u"}, {Name: "creds"}},
			Usage: "`user[:password]` for the reference's own host; asks for a missing password",
			Group: GroupCredentials,
			bind:  func(c *Config) value { return user(&c.Login.User) },
		},
		{
			Flags: []Flag{{Name: "refresh"}},
			Usage: "refresh `token` for the token server of the reference's own host",
			Group: GroupCredentials,
			bind:  func(c *Config) value { return secret(&c.Login.Refresh) },
		},
		{
			Flags: []Flag{{Name: "username"}},
			Usage: "`name` of the user, without a password",
			Group: GroupCredentials,
			bind:  func(c *Config) value { return text(&c.Login.Username) },
		},
		{
			Flags: []Flag{{Name: "password-stdin"}},
			Usage: "read the password from the standard input",
			Group: GroupCredentials,
			bind:  func(c *Config) value { return (*boolValue)(&c.Login.PasswordStdin) },
		},
		{
			Key:   "authfile",
			Flags: []Flag{{Name: "authfile"}},
			Usage: "`file` in the form of Docker's config.json, in place of the user's own",
			Group: GroupCredentials,
			bind:  func(c *Config) value { return path(&c.AuthFile) },
		},
		{
			Key:   "credentials",
			Usage: "which credential is for which host",
			Group: GroupCredentials,
			bind: func(c *Config) value {
				return &tablesValue[registry.CredentialEntry]{field: &c.Credentials, members: credentialMembers(), validate: registry.CredentialEntry.Validate}
			},
		},
	}
}

func credentialMembers() []member[registry.CredentialEntry] {
	type e = registry.CredentialEntry
	return []member[e]{
		{"match", "hosts, or patterns of hosts and repositories; without it, the reference's own host", func(x *e) value { return words(&x.Match) }, false},
		{"source", "where the credential is", func(x *e) value { return &wordValue[string]{&x.Source, registry.CredentialSourceNames()} }, true},
		{"path", "of the file, or of Docker's configuration folder", func(x *e) value { return path(&x.Path) }, false},
		{"helper", "NAME of the program docker-credential-NAME", func(x *e) value { return text(&x.Helper) }, false},
		{"username", "name that belongs to the password", func(x *e) value { return text(&x.Username) }, false},
		{"password", "the password itself; the file must not be readable by others", func(x *e) value { return secret(&x.Password) }, false},
		{"password_file", "file that holds the password", func(x *e) value { return path(&x.PasswordFile) }, false},
		{"password_env", "variable that holds the password", func(x *e) value { return text(&x.PasswordEnv) }, false},
		{"password_command", "program, found on PATH, and arguments that print the password", func(x *e) value { return words(&x.PasswordCommand) }, false},
		{"identity_token", "the refresh token itself", func(x *e) value { return secret(&x.IdentityToken) }, false},
		{"registry_token", "the bearer token itself", func(x *e) value { return secret(&x.RegistryToken) }, false},
		{"token_file", "file that holds the token", func(x *e) value { return path(&x.TokenFile) }, false},
		{"token_env", "variable that holds the token", func(x *e) value { return text(&x.TokenEnv) }, false},
		{"token_command", "program, found on PATH, and arguments that print the token", func(x *e) value { return words(&x.TokenCommand) }, false},
		{"config", "kubelet's CredentialProviderConfig", func(x *e) value { return path(&x.Config) }, false},
		{"bin_dir", "folder of kubelet's credential providers", func(x *e) value { return path(&x.BinDir) }, false},
	}
}
