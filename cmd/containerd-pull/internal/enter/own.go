package enter

import (
	"errors"
	"os"
	"os/user"
	"slices"
	"strconv"
	"syscall"

	"github.com/containerd-pull/containerd-pull/pkg/config"
	"github.com/containerd-pull/containerd-pull/pkg/failure"
	"github.com/containerd-pull/containerd-pull/pkg/pull"
	"github.com/containerd-pull/containerd-pull/pkg/userns"
)

const unpackHint = "run it as root, or allow user namespaces; --unpack=false only fetches"

// Own executes this command line once more as root of a user
// namespace, if one of the configurations has an ordinary user unpack into a root
// without a daemon, or look at what was unpacked there. It returns only if that is
// not needed, or fails; that is of the class of places that cannot be written.
func Own(caller config.Caller, all ...*config.Config) error {
	inside := caller.Getenv(config.EnvOwnRoot) != ""
	if inside {
		userns.CloseInherited(caller.Getenv(config.EnvNamespaces))
	}
	if caller.UID == 0 || userns.MayMount() || !slices.ContainsFunc(all, unpacksHere) {
		return nil
	}
	if inside {
		return failure.New(syscall.EROFS, "mounting, which unpacking needs, is not allowed in the user namespace").WithHint(unpackHint)
	}
	args, err := thisCommand(caller)
	if err != nil {
		return err
	}
	n, err := userns.New(loginName(caller), "/")
	if err != nil {
		return failure.New(syscall.EROFS, "an ordinary user unpacks in a user namespace: %w", err).WithHint(unpackHint)
	}
	dir, err := os.Getwd()
	if err != nil {
		dir = ""
	}
	env := append(insideEnv(caller, kitFolder(caller)), config.EnvOwnRoot+"="+n.Mark())
	err = n.Exec(dir, args, env, config.EnvNamespaces)
	f := failure.New(syscall.EROFS, "entering a user namespace to unpack in: %w", err)
	if errors.Is(err, userns.ErrNoNsenter) {
		return f.WithHint("install util-linux; --unpack=false only fetches")
	}
	return f.WithHint(unpackHint)
}

// unpacksHere reports whether a store is a root without a daemon into which is
// unpacked.
func unpacksHere(cfg *config.Config) bool {
	return cfg.Store.Root != "" && cfg.Request.Unpack != pull.UnpackNever
}

// loginName is the name of the caller, empty if the user has none.
func loginName(caller config.Caller) string {
	u, err := user.LookupId(strconv.Itoa(caller.UID))
	if err != nil {
		return ""
	}
	return u.Username
}

// OwnWarnings says what is lost in a namespace without subordinate IDs.
func OwnWarnings(caller config.Caller) []string {
	alone := caller.Getenv(config.EnvOwnRoot)
	if alone == "" || alone == userns.WithOwners {
		return nil
	}
	return []string{"files are unpacked in a user namespace that knows your ID alone, so that they all belong to you and their owners are lost: " + alone}
}
