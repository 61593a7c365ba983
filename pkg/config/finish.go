package config

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/containerd-pull/containerd-pull/pkg/config/value"
	"github.com/containerd-pull/containerd-pull/pkg/pull"
	"github.com/containerd-pull/containerd-pull/pkg/trust"
)

// finish applies what follows from several settings at once.
func (c *Config) finish(fields value.LabelFields) error {
	for key, val := range c.Request.Labels {
		filled, err := fields.Expand(val)
		if err != nil {
			return err
		}
		c.Request.Labels[key] = filled
	}
	if (c.Registry.Hosts.Cert == "") != (c.Registry.Hosts.Key == "") {
		return fmt.Errorf("tls.cert and tls.key (--tlscert and --tlskey) need each other")
	}
	if err := errors.Join(c.checkPrint(), c.checkTransfer(), c.checkVerify()); err != nil {
		return err
	}
	c.finishRegistry()
	c.finishOutput()
	if c.DebugFull {
		c.Debug, c.HTTPTrace = true, true
	}
	c.Registry.Hosts.DirsFound = c.Origin("hosts_dir").Kind == BuiltIn
	from := c.Origin("authfile").Kind
	c.AuthFileStated = from == FromFlag || from == FromEnv
	return nil
}

// checkPrint refuses to print the chain of snapshots if nothing is unpacked.
func (c *Config) checkPrint() error {
	if c.Request.Unpack != pull.UnpackNever {
		return nil
	}
	flag := "--print chainid"
	if c.PrintChainID {
		flag = "--print-chainid"
	} else if !slices.Contains(c.Print, PrintChainID) {
		return nil
	}
	return fmt.Errorf("%s has no effect with unpack = false: there is no chain of snapshots", flag)
}

// checkTransfer refuses settings that have no effect with the transfer service.
// If the engine is chosen by auto, it notes them instead, and auto leaves the
// transfer service out.
func (c *Config) checkTransfer() error {
	names := c.notForTransfer()
	switch {
	case len(names) == 0:
		return nil
	case c.Request.Engine == pull.EngineTransfer:
		return fmt.Errorf("%s has no effect with engine transfer", names[0])
	}
	c.Request.NotForTransfer = names
	return nil
}

// notForTransfer names the settings that were set and that the daemon's transfer
// service has no parameter for. Those that depend on the reference are known to
// pkg/registry.
func (c *Config) notForTransfer() []string {
	var names []string
	if c.Request.DiscardLayers {
		names = append(names, "--discard-layers (keep_layers = false)")
	}
	for _, r := range c.Resolved() {
		group, _, _ := strings.Cut(r.Setting.Key, ".")
		switch group {
		case "retry", "limits", "stall_timeout", "sync_fs":
			if r.From.Kind != BuiltIn && r.Value != "false" && r.Value != "" {
				names = append(names, r.From.subject(r.Setting))
			}
		}
	}
	return names
}

// checkVerify refuses a policy that no verifier can enforce, and settings of a
// policy without a mode: they would seem to be in force.
func (c *Config) checkVerify() error {
	if checksSignatures(c.Verify.Mode) {
		return fmt.Errorf("%s: %w", c.Origin(keyVerifyMode).subject(verifyMode()), c.noSignatures())
	}
	if _, err := trust.New(c.Verify); err != nil {
		return fmt.Errorf("%s: %w", c.Origin(keyVerifyMode).subject(verifyMode()), err)
	}
	if c.Origin(keyVerifyMode).Kind != BuiltIn {
		return nil
	}
	for _, r := range c.resolved {
		if group, _, _ := strings.Cut(r.Setting.Key, "."); group == "verify" && r.From.Kind != BuiltIn {
			return fmt.Errorf("%s has no effect without a mode: set verify.mode, or give --verify", r.From.subject(r.Setting))
		}
	}
	return nil
}

// finishRegistry adds where settings of the registry came from: a proxy is named
// with its place when it fails, and patience that was asked for is kept in full.
func (c *Config) finishRegistry() {
	c.Registry.Retry.Patient = c.Origin("retry.count").Kind != BuiltIn
	for _, r := range c.resolved {
		if r.Setting.Key == "proxy" {
			c.Registry.ProxyFrom = r.From.subject(r.Setting)
		}
	}
}

// finishOutput fits the progress to the result. The styles of docker and nerdctl
// write their own progress on stdout, so that none is shown beside it unless a
// setting asks for it.
func (c *Config) finishOutput() {
	c.OutputStyle = cmp.Or(c.OutputStyle, StylePlain) // dropped beside --format
	stdout := c.OutputStyle == StyleDocker || c.OutputStyle == StyleNerdctl
	if c.Quiet || stdout && c.Origin("progress").Kind == BuiltIn {
		c.Progress = "none"
	}
}
