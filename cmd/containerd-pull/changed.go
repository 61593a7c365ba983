package main

import (
	"github.com/containerd-pull/containerd-pull/pkg/config"
)

// changedExit ends a call that went well and changed something, where another
// code than 0 was asked for.
type changedExit struct{ code int }

func (e *changedExit) Error() string { return "an image is new or has changed" }

// checkChangedCode refuses codes that mean a failure.
func checkChangedCode(cfg *config.Config) error {
	for _, c := range classes() {
		if c.code == cfg.ChangedExitCode {
			return usagef("changed_exit_code (%s): %d is the exit code of %s", cfg.Origin("changed_exit_code"), c.code, c.name)
		}
	}
	return nil
}

// asChanged is how a call ends that went well.
func asChanged(cfg *config.Config, all []outcome) error {
	for _, one := range all {
		if cfg.ChangedExitCode != 0 && one.result.Changed {
			return &reportedError{&changedExit{cfg.ChangedExitCode}}
		}
	}
	return nil
}
