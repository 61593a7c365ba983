package config

import (
	"github.com/containerd-pull/containerd-pull/pkg/config/value"
	"github.com/containerd-pull/containerd-pull/pkg/registry/credential"
)

func credentialSettings() []*Setting {
	return []*Setting{
		{
			Flags:  []Flag{{Name: "user", Short: "u"}, {Name: "creds"}},
			Usage:  "`user[:password]` for the reference's own host; asks for a missing password",
			Group:  GroupCredentials,
			Common: true,
			bind:   func(c *Config) value.Value { return value.User(&c.Login.User) },
		},
		{
			Flags: []Flag{{Name: "refresh"}},
			Usage: "refresh `token` for the token server of the reference's own host",
			Group: GroupCredentials,
			bind:  func(c *Config) value.Value { return value.Secret(&c.Login.Refresh) },
		},
		{
			Flags: []Flag{{Name: "username"}},
			Usage: "`name` of the user, without a password",
			Group: GroupCredentials,
			bind:  func(c *Config) value.Value { return value.Text(&c.Login.Username) },
		},
		{
			Flags:  []Flag{{Name: "password-stdin"}},
			Usage:  "read the password from the standard input",
			Group:  GroupCredentials,
			Common: true,
			bind:   func(c *Config) value.Value { return value.Bool(&c.Login.PasswordStdin) },
		},
		{
			Key:   "authfile",
			Flags: []Flag{{Name: "authfile"}},
			Usage: "`file` in the form of Docker's config.json, in place of the user's own",
			Group: GroupCredentials,
			bind:  func(c *Config) value.Value { return value.Path(&c.AuthFile) },
		},
		{
			Key:   "credentials",
			Usage: "which credential is for which host",
			Group: GroupCredentials,
			bind: func(c *Config) value.Value {
				return value.Tables(&c.Credentials, credentialMembers(), credential.Entry.Validate)
			},
		},
	}
}

func credentialMembers() []value.Member[credential.Entry] {
	type e = credential.Entry
	return []value.Member[e]{
		value.Optional("match", "hosts, or patterns of hosts and repositories; without it those of the profile, or the reference's own host outside of profiles", func(x *e) value.Value { return value.List(&x.Match) }),
		value.Required("source", "where the credential is", func(x *e) value.Value { return value.OneOf(&x.Source, sourceWords()...) }),
		value.Optional("path", "of the file, or of Docker's configuration folder", func(x *e) value.Value { return value.Path(&x.Path) }),
		value.Optional("helper", "NAME of the program docker-credential-NAME", func(x *e) value.Value { return value.Text(&x.Helper) }),
		value.Optional("username", "name that belongs to the password", func(x *e) value.Value { return value.Text(&x.Username) }),
		value.Optional("password", "the password itself; the file must not be readable by others", func(x *e) value.Value { return value.Secret(&x.Password) }),
		value.Optional("password_file", "file that holds the password", func(x *e) value.Value { return value.Path(&x.PasswordFile) }),
		value.Optional("password_env", "variable that holds the password", func(x *e) value.Value { return value.Text(&x.PasswordEnv) }),
		value.Optional("password_command", "program, found on PATH, and arguments that print the password", func(x *e) value.Value { return value.Command(&x.PasswordCommand) }),
		value.Optional("identity_token", "the refresh token itself", func(x *e) value.Value { return value.Secret(&x.IdentityToken) }),
		value.Optional("registry_token", "the bearer token itself", func(x *e) value.Value { return value.Secret(&x.RegistryToken) }),
		value.Optional("token_file", "file that holds the token", func(x *e) value.Value { return value.Path(&x.TokenFile) }),
		value.Optional("token_env", "variable that holds the token", func(x *e) value.Value { return value.Text(&x.TokenEnv) }),
		value.Optional("token_command", "program, found on PATH, and arguments that print the token", func(x *e) value.Value { return value.Command(&x.TokenCommand) }),
		value.Optional("config", "kubelet's CredentialProviderConfig", func(x *e) value.Value { return value.Path(&x.Config) }),
		value.Optional("bin_dir", "folder of kubelet's credential providers", func(x *e) value.Value { return value.Path(&x.BinDir) }),
	}
}

func sourceWords() []value.Word {
	var words []value.Word
	for _, name := range credential.SourceNames() {
		words = append(words, value.Word{Text: name})
	}
	return words
}
