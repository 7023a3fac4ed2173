package bucket

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"hash"
	"hash/crc32"

	"github.com/minio/crc64nvme"
)

// Algorithm is a checksum over a whole object that object stores can verify.
type Algorithm uint8

// The algorithms, in order of preference. Their numbers are stored in manifests.
const (
	NoChecksum Algorithm = 0
	CRC64NVME  Algorithm = 1
	CRC32C     Algorithm = 2
	SHA256     Algorithm = 3 // no store combines it over parts: objects are limited to one part
)

func (a Algorithm) String() string {
	switch a {
	case CRC64NVME:
		return "crc64nvme"
	case CRC32C:
		return "crc32c"
	case SHA256:
		return "sha256"
	}
	return "none"
}

// New returns a hash whose Sum is big-endian, as S3 writes it. The algorithm must be a known one.
func (a Algorithm) New() hash.Hash {
	switch a {
	case CRC64NVME:
		return crc64nvme.New()
	case CRC32C:
		return crc32.New(castagnoli)
	case SHA256:
		return sha256.New()
	}
	panic("bucket: no hash for checksum algorithm " + a.String())
}

// Size is how many bytes a sum has; 0 if the algorithm is not known.
func (a Algorithm) Size() int {
	switch a {
	case CRC64NVME:
		return 8
	case CRC32C:
		return 4
	case SHA256:
		return 32
	}
	return 0
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// Checksum is the checksum of a whole object. Two are the same with ==. The zero value is "not known".
type Checksum struct {
	Algorithm Algorithm
	Sum       string // raw big-endian bytes
}

func (c Checksum) String() string {
	if c == (Checksum{}) {
		return "no checksum"
	}
	return c.Algorithm.String() + ":" + hex.EncodeToString([]byte(c.Sum))
}

// SumOf computes the checksum of b.
func SumOf(a Algorithm, b []byte) Checksum {
	h := a.New()
	h.Write(b)
	return sumOf(a, h)
}

func sumOf(a Algorithm, h hash.Hash) Checksum {
	return Checksum{Algorithm: a, Sum: string(h.Sum(nil))}
}

// BytesBody is a Body over b, which must not change until Put returns.
func BytesBody(a Algorithm, b []byte) Body {
	return Body{At: bytes.NewReader(b), Size: int64(len(b)), Sum: SumOf(a, b)}
}

// ErrCorrupt marks bytes that are not what was written: a checksum, a length or a structure is wrong.
var ErrCorrupt = errors.New("corrupt")
