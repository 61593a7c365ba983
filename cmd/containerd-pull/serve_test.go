package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/containerd-pull/containerd-pull/pkg/config"
)

// serveName is the name under which the binary of these tests runs one command line
// after the other, for tests in other packages that run thousands: each is spared the
// start of a process. A command line is a JSON array on standard input; its exit code
// and what it wrote come back as a JSON object.
const serveName = "containerd-pull-serve"

func serve() {
	in, out := json.NewDecoder(os.Stdin), json.NewEncoder(os.Stdout)
	for {
		var args []string
		err := in.Decode(&args)
		if errors.Is(err, io.EOF) {
			return
		}
		if err == nil {
			err = out.Encode(serveOne(args))
		}
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
	}
}

// outcome is the answer to a command line.
type outcome struct {
	Code int
	Text string
}

// serveOne runs a command line without an environment, and without files of settings:
// its root is a folder that there is not.
func serveOne(args []string) outcome {
	var shown bytes.Buffer
	caller := config.Caller{Lookup: func(string) (string, bool) { return "", false }, Root: serveName, Now: time.Now(), UID: os.Geteuid()}
	code := run(context.Background(), streams{in: strings.NewReader(""), out: &shown, err: &shown}, caller, args)
	return outcome{code, shown.String()}
}
