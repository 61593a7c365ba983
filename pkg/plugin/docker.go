package plugin

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
)

// MetadataRequest is the only argument with which Docker calls a program to find
// out whether it is a plugin.
const MetadataRequest = "docker-cli-plugin-metadata"

// dockerWord is the command of the plugin.
const dockerWord = "pullext"

// Metadata is the answer to MetadataRequest.
func Metadata(version string) []byte {
	text, _ := json.Marshal(struct { // strings only
		SchemaVersion, Vendor, Version, ShortDescription string
	}{"0.1.0", "containerd-pull", version, "Pull images into containerd"})
	return append(text, '\n')
}

// DockerCall is the command line of a Docker plugin, taken apart.
type DockerCall struct {
	Config string   // the folder of Docker's configuration, empty for the default
	Debug  bool     // by Docker's --debug or --log-level
	Args   []string // a request for candidates, and what follows the command
}

// ParseDocker takes the command line apart that Docker passes to a plugin: its
// own, with its global flags in front of the command. Flags that choose a Docker
// engine are errors, because a pull goes to containerd.
func ParseDocker(args []string) (DockerCall, error) {
	var c DockerCall
	if len(args) > 0 && (args[0] == complete || args[0] == completeNoDesc) {
		c.Args, args = args[:1:1], args[1:]
	}
	for len(args) > 0 && args[0] != dockerWord {
		if args[0] == "help" && len(args) > 1 && args[1] == dockerWord { // docker help pullext
			c.Args, args = append(c.Args, "help"), args[1:]
			continue
		}
		n, err := c.global(args)
		if err != nil {
			return c, err
		}
		args = args[n:]
	}
	if len(args) == 0 {
		return c, errors.New("plugins of Docker are called as docker " + dockerWord)
	}
	c.Args = append(c.Args, args[1:]...)
	return c, nil
}

// global reads a global flag of Docker and returns how many words it has.
func (c *DockerCall) global(args []string) (words int, err error) {
	name, value, inline := strings.Cut(args[0], "=")
	if inline {
		words = 1
	} else if words = 2; len(args) > 1 {
		value = args[1]
	}
	switch name {
	case "-D", "--debug":
		c.Debug = !inline || value != "false"
		return 1, nil
	case "--config":
		c.Config = value
	case "-l", "--log-level":
		c.Debug = c.Debug || value == "debug" || value == "trace"
	case "-H", "--host", "-c", "--context", "--tls", "--tlscacert", "--tlscert", "--tlskey", "--tlsverify":
		return 0, fmt.Errorf("docker %s chooses a Docker engine, and a pull goes to containerd: choose that with --address behind %s", name, dockerWord)
	default:
		return 0, fmt.Errorf("docker %s: unknown in front of %s", args[0], dockerWord)
	}
	if words > len(args) || value == "" {
		return 0, fmt.Errorf("docker %s needs a value", name)
	}
	return words, nil
}

// Follow connects to the socket by which Docker ends its plugins, and calls
// closed when Docker closes it. Nothing is ever sent over it. The caller calls
// stop, which waits for the connection to be closed.
func Follow(socket string, closed func()) (stop func(), err error) {
	conn, err := net.DialUnix("unix", nil, &net.UnixAddr{Name: socket, Net: "unix"})
	if err != nil {
		return nil, fmt.Errorf("connecting to Docker: %w", err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		if _, err := io.Copy(io.Discard, conn); !errors.Is(err, net.ErrClosed) {
			closed()
		}
	}()
	return func() {
		conn.Close()
		<-done
	}, nil
}
