package unpack

import (
	"errors"
	"fmt"
	"math"

	lay "github.com/containerd-pull/containerd-pull/pkg/layer"
)

// Bounds limit what a layer may become when it is unpacked. Zero means the
// default, which no honest layer approaches; negative means unlimited.
type Bounds struct {
	// Bytes limits the uncompressed layer and, as much, the bytes of its files.
	Bytes int64
	// Ratio limits these bytes in relation to those of the compressed layer. It
	// counts from ratioFloor on: small layers of zeros compress as well as a bomb.
	Ratio int64
}

const (
	defaultBytes = 1 << 40
	// defaultRatio is twice what deflate can do, which is 1032 (258 bytes in 2
	// bits). zstd can do more than 30000.
	defaultRatio = 2000
	ratioFloor   = 1 << 30

	// unbounded is why an engine is refused: containerd's applier takes no limits.
	unbounded = "containerd's applier does not keep to limits.unpacked_bytes and limits.ratio"
)

// isSet reports whether a bound was asked for.
func (b Bounds) isSet() bool { return b.Bytes > 0 || b.Ratio > 0 }

// bound is the one of the Bounds that a layer would meet first. key names its
// setting.
type bound struct {
	bytes int64 // 0 stands for none
	key   string
}

// of returns the bound of a layer of size compressed bytes.
func (b Bounds) of(size int64) bound {
	most := bound{bytes: orDefault(b.Bytes, defaultBytes), key: "limits.unpacked_bytes"}
	ratio := orDefault(b.Ratio, defaultRatio)
	if ratio == 0 || size > math.MaxInt64/ratio {
		return most
	}
	if n := max(size*ratio, ratioFloor); most.bytes == 0 || n < most.bytes {
		return bound{bytes: n, key: "limits.ratio"}
	}
	return most
}

// orDefault replaces the zero value by its default and no bound, a negative
// value, by 0.
func orDefault(n, otherwise int64) int64 {
	if n == 0 {
		return otherwise
	}
	return max(n, 0)
}

// explain names the setting in the error of a layer that grew over its bound.
func (b bound) explain(err error) error {
	if !errors.Is(err, lay.ErrLimit) {
		return err
	}
	return fmt.Errorf("%s allows %d bytes; raise it if the layer is what it should be: %w", b.key, b.bytes, err)
}
