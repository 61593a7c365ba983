package trust

import (
	"context"
	"fmt"
	"os"
	"time"

	"github.com/containerd/containerd/v2/pkg/imageverifier/bindir"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/containerd-pull/containerd-pull/pkg/printable"
	"github.com/containerd-pull/containerd-pull/pkg/source"
)

// Bindir asks every program of a folder, by containerd's code and contract
// (docs/image-verification.md in containerd): each is told the reference and
// the digest as -name and -digest and gets the target's descriptor as JSON on
// its standard input. Exit code 0 allows; all that are asked must allow.
// A program that cannot answer refuses.
type Bindir struct {
	// Dir holds the programs and nothing else.
	Dir string
	// Max bounds how many are asked, the first by name; negative is no bound.
	Max int
	// Timeout bounds each of them. It must be positive.
	Timeout time.Duration
	// Optional allows everything as long as Dir is missing or empty, as a
	// daemon does. Otherwise there must be a program to ask.
	Optional bool
}

const bindirName = "bindir"

// Verify implements Verifier.
func (v Bindir) Verify(ctx context.Context, ref source.Ref, target ocispec.Descriptor) (Judgement, error) {
	if err := v.ready(); err != nil {
		return Judgement{}, Refuse(bindirName, ref.Name, target.Digest, err.Error())
	}
	c := bindir.Config{BinDir: v.Dir, MaxVerifiers: v.Max}
	set(&c.PerVerifierTimeout, v.Timeout)
	judged, err := bindir.NewImageVerifier(&c).VerifyImage(ctx, ref.String(), target)
	switch {
	case context.Cause(ctx) != nil:
		return Judgement{}, context.Cause(ctx)
	case err != nil:
		return Judgement{}, Refuse(bindirName, ref.Name, target.Digest, fmt.Sprintf("asking the programs of %s, each for %s at most: %v", v.Dir, v.Timeout, err))
	case !judged.OK:
		return Judgement{}, Refuse(bindirName, ref.Name, target.Digest, judged.Reason)
	}
	return Judgement{bindirName, printable.Short(judged.Reason, maxReason)}, nil
}

// ready returns an error unless there is at least one program, because
// containerd's code is content with none.
func (v Bindir) ready() error {
	if v.Optional {
		return nil
	}
	entries, err := os.ReadDir(v.Dir)
	switch {
	case err != nil:
		return fmt.Errorf("looking for programs: %w", err)
	case len(entries) == 0:
		return fmt.Errorf("%s holds no program", v.Dir)
	case v.Max == 0:
		return fmt.Errorf("none of the programs in %s may be asked", v.Dir)
	}
	return nil
}

// set assigns a duration whose type is internal to containerd.
func set[T ~int64](field *T, d time.Duration) { *field = T(d) }
