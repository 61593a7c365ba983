package usage

import (
	"cmp"
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/containerd-pull/containerd-pull/cmd/containerd-pull/internal/exit"
	"github.com/containerd-pull/containerd-pull/pkg/config/value"
	"github.com/containerd-pull/containerd-pull/pkg/failure"
	"github.com/containerd-pull/containerd-pull/pkg/source"
)

// RefuseValues refuses an image in the place of a flag's value: to other programs, -a
// means all tags, and -v that they say more.
func RefuseValues(cmd *cobra.Command, args []string) error {
	return cmp.Or(refuseImageAsAddress(cmd), refuseImageBesideVersion(cmd, args))
}

// refuseImageAsAddress refuses an address that is no socket and reads as an image.
func refuseImageAsAddress(cmd *cobra.Command) error {
	for _, name := range []string{"address", "a", "host", "H"} {
		f := cmd.Flags().Lookup(name)
		if f == nil || !f.Changed || !readsAsImage(f.Value.String()) {
			continue
		}
		return &exit.UsageError{
			Err:    fmt.Errorf("%s names the socket of containerd, and %q reads as an image", dashed(f), f.Value),
			Remedy: "leave the flag out to pull the image; there is none for all tags of a repository",
		}
	}
	return nil
}

// readsAsImage reports whether an address is a reference and names no file.
func readsAsImage(address string) bool {
	if address == "" || strings.ContainsAny(address[:1], "/.@") {
		return false
	}
	_, refErr := source.ParseRef(address)
	_, err := os.Lstat(address)
	return refErr == nil && err != nil
}

func dashed(f *pflag.Flag) string {
	if f.Shorthand != "" {
		return "-" + f.Shorthand + ", --" + f.Name
	}
	return "--" + f.Name
}

// AsksVersion reports whether the flag asks for the version of the program, which
// only the command without a command word has.
func AsksVersion(cmd *cobra.Command) bool {
	f := cmd.Flags().Lookup("version")
	return f != nil && f.Value.String() == "true"
}

func refuseImageBesideVersion(cmd *cobra.Command, args []string) error {
	if !AsksVersion(cmd) || len(args) == 0 {
		return nil
	}
	return &exit.UsageError{
		Err:    fmt.Errorf("-v prints the version and pulls nothing, and %q reads as an image", args[0]),
		Remedy: "leave out -v to pull it; --debug says more of what happens",
	}
}

// OneOf returns the hint for a missing or unknown word that should be one of
// names.
func OneOf(names, args []string) string {
	if len(args) > 0 {
		if near := value.Nearest(args[0], names); near != "" {
			return fmt.Sprintf("did you mean %q?", near)
		}
	}
	return "there are: " + strings.Join(names, ", ")
}

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

// FlagError makes an error of the flag parser an exit.UsageError, with a hint if the
// flag is known from another tool or nearly right.
func FlagError(cmd *cobra.Command, err error) error {
	return &exit.UsageError{Err: err, Remedy: remedy(cmd, err)}
}

// remedy returns what to do about an error of the flag parser, empty if the error says it.
func remedy(cmd *cobra.Command, err error) string {
	if wrong, ok := errors.AsType[*pflag.InvalidValueError](err); ok && failure.HintOf(err) == "" {
		return meaningOf(wrong.GetFlag())
	}
	if lacking, ok := errors.AsType[*pflag.ValueRequiredError](err); ok {
		return meaningOf(lacking.GetFlag())
	}
	if unknown, ok := errors.AsType[*pflag.NotExistError](err); ok {
		name := unknown.GetSpecifiedName()
		return cmp.Or(foreignFlags()[name], nearestFlag(cmd, name))
	}
	return ""
}

// nearestFlag returns which flag an unknown one was probably meant to be: that of
// another command, or one with nearly its spelling.
func nearestFlag(cmd *cobra.Command, name string) string {
	var owners []string
	Walk(cmd.Root(), func(c *cobra.Command) {
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
	return "leave it out; " + cmd.CommandPath() + " --help-all lists those that there are"
}

// meaningOf returns what a flag means, for a value that it cannot have.
func meaningOf(f *pflag.Flag) string {
	name, meaning := Spelled(f)
	return name + " is: " + meaning
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
