package pull

import (
	"time"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/containerd-pull/containerd-pull/pkg/source"
	"github.com/containerd-pull/containerd-pull/pkg/store"
	"github.com/containerd-pull/containerd-pull/pkg/unpack"
)

// Unpack says what is to be unpacked of what was fetched.
type Unpack string

const (
	// UnpackAuto unpacks every selected platform that has a file system; it is
	// the zero value's meaning.
	UnpackAuto Unpack = "auto"
	// UnpackAlways makes it an error if something cannot be unpacked.
	UnpackAlways Unpack = "true"
	// UnpackNever fetches only.
	UnpackNever Unpack = "false"
)

// Engine names what fetches and what unpacks.
type Engine = unpack.Engine

const (
	// EngineAuto takes the first of the others that can; it is the zero
	// value's meaning.
	EngineAuto Engine = "auto"
	// EngineClient: this process does both.
	EngineClient = unpack.EngineClient
	// EngineDaemon: this process fetches, the daemon unpacks.
	EngineDaemon = unpack.EngineDaemon
	// EngineTransfer: the daemon does both, in its transfer service.
	EngineTransfer Engine = "transfer"
)

func isAuto(e Engine) bool { return e == EngineAuto || e == "" }

// Request asks for one image.
type Request struct {
	// Ref is what to pull.
	Ref source.Ref
	// Platforms to fetch and unpack; none means the host's.
	Platforms []ocispec.Platform
	// AllPlatforms takes every platform of the index and excludes Platforms.
	AllPlatforms bool
	// SkipMetadata leaves out manifests and configs of other platforms.
	SkipMetadata bool
	Unpack       Unpack
	// Labels of the image record.
	Labels map[string]string
	// SyncFS syncs the file system of the unpacked files before the image is
	// registered.
	SyncFS bool
	Engine Engine
	Policy Policy
	// NotForTransfer names settings that the daemon's transfer service cannot
	// be told, so that EngineAuto keeps away from it.
	NotForTransfer []string
	// DiscardLayers lets go of the blobs of layers that were unpacked. The
	// image runs, but can neither be pushed nor exported.
	DiscardLayers bool
}

// Limits bound the work of one pull, or of all that share a Scheduler. Zero values
// are chosen to suit the machine.
type Limits struct {
	Downloads int // layers fetched at once
	Unpacks   int // stages that unpack layers at work at once
	// Layer bounds what each layer may become.
	Layer unpack.Bounds
	// Reserve is what stays free on the file systems of blobs and snapshots.
	Reserve store.Reserve
}

// Result is what a pull did. Retries and warnings are events; see
// pkg/progress.
type Result struct {
	Name         string // canonical name registered
	Target       ocispec.Descriptor
	Platforms    []Platform
	Changed      bool          // the record is new, or points to another target, or got labels
	Previous     digest.Digest // target of the record before, if there was one
	Host         string        // that resolved the reference
	Engine       Engine
	EngineReason string
	Fetched      int64 // bytes that came over the network
	Reused       int64 // bytes of wanted blobs, each counted once, that did not have to
	Unpacked     int64 // uncompressed bytes applied
	Duration     time.Duration
	Labels       map[string]string // that the request put on the record
	NewLabels    []string          // keys of those that the record did not have like that
}

// NewTarget reports whether the record is new or points to another target than
// before.
func (r *Result) NewTarget() bool { return r.Changed && r.Previous != r.Target.Digest }

// Platform is one platform of a pulled image.
type Platform struct {
	Platform ocispec.Platform
	Manifest digest.Digest
	Config   digest.Digest
	Layers   []ocispec.Descriptor // bottom first, as in the manifest
	ChainID  digest.Digest        // of the top layer; empty if there is none
	Unpacked bool
}
