package main

import (
	"errors"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/containerd-pull/containerd-pull/pkg/config/value"
)

const noSignatures = "signatures are not checked by this program; --verify bindir can ask one that does"

// foreignFlags returns flags of other tools whose meaning would have to be
// guessed, with what to type instead.
func foreignFlags() map[string]string {
	return map[string]string{
		"all-tags":                              "all tags of a repository cannot be pulled at once; name the tags that you want",
		"os":                                    "use --platform OS/ARCH[/VARIANT]",
		"arch":                                  "use --platform OS/ARCH[/VARIANT]",
		"variant":                               "use --platform OS/ARCH[/VARIANT]",
		"tls-verify":                            "use --skip-verify to accept any certificate, or --insecure-registry for plain HTTP as well",
		"cert-dir":                              "use --hosts-dir for a folder of hosts, or --tlscacert, --tlscert and --tlskey for files",
		"pull-timeout":                          "use --timeout",
		"retry-times":                           "use --retry",
		"password":                              "use --password-stdin, or --user NAME to be asked on the terminal",
		"ipfs-address":                          "images on IPFS can be pulled with nerdctl pull",
		"decryption-key":                        "encrypted layers cannot be decrypted here; containerd does it where its stream processors are configured",
		"signature-policy":                      noSignatures,
		"cosign-key":                            noSignatures,
		"cosign-certificate-identity":           noSignatures,
		"cosign-certificate-identity-regexp":    noSignatures,
		"cosign-certificate-oidc-issuer":        noSignatures,
		"cosign-certificate-oidc-issuer-regexp": noSignatures,
	}
}

// flagError makes an error of the flag parser a usageError, with a hint if the
// flag is known from another tool or nearly right.
func flagError(cmd *cobra.Command, err error) error {
	u := &usageError{err: err}
	unknown, ok := errors.AsType[*pflag.NotExistError](err)
	if !ok {
		return u
	}
	name := unknown.GetSpecifiedName()
	if hint, ok := foreignFlags()[name]; ok {
		u.hint = hint
		return u
	}
	u.hint = flagHint(cmd, name)
	return u
}

// flagHint returns which flag an unknown one was probably meant to be: that of
// another command, or one with nearly its spelling.
func flagHint(cmd *cobra.Command, name string) string {
	var owners []string
	walk(cmd.Root(), func(c *cobra.Command) {
		if f := c.Flags().Lookup(name); f != nil && !f.Hidden && c.Name() != "help" {
			owners = append(owners, c.CommandPath())
		}
	})
	if len(owners) > 0 {
		return "--" + name + " is a flag of: " + strings.Join(owners, ", ")
	}
	if near := value.Nearest(name, visibleFlags(cmd.Flags())); near != "" {
		return "did you mean --" + near + "?"
	}
	return ""
}

func visibleFlags(fs *pflag.FlagSet) []string {
	var names []string
	fs.VisitAll(func(f *pflag.Flag) {
		if !f.Hidden {
			names = append(names, f.Name)
		}
	})
	return names
}
