package protocol

import (
	"encoding/binary"
	"errors"
	"fmt"
)

// A request on the wire:
//
//	| size int32 | key int16 | version int16 | correlation id int32 | client id | tags | body … |
//	             |<------------------------- size bytes ------------------------------------->|
//
// The client id is a nullable string with a 16-bit length in every version, also
// where the body uses compact strings, because a client sends ApiVersions
// before it knows what the broker can read. The tags (KIP-482) are there if the
// request's version is flexible. ControlledShutdown v0, the only request without
// a client id, left the protocol with Kafka 4.0.
const (
	sizeBytes      = 4
	fixedBytes     = sizeBytes + 2 + 2 + 4
	minFrameBytes  = fixedBytes - sizeBytes
	maxHeaderTags  = 64
	frameStepBytes = 1 << 20 // what FrameTimeout and WriteTimeout allow for
	largeFrame     = 1 << 20 // frames above share only part of the memory
)

// preamble is the part of a frame that is judged before memory is taken for it.
type preamble struct {
	size          int32
	key, version  int16
	correlationID int32
}

func parsePreamble(p []byte) preamble {
	return preamble{
		size:          int32(binary.BigEndian.Uint32(p)),
		key:           int16(binary.BigEndian.Uint16(p[4:])),
		version:       int16(binary.BigEndian.Uint16(p[6:])),
		correlationID: int32(binary.BigEndian.Uint32(p[8:])),
	}
}

func (p preamble) reject(label string, err error) error {
	return &rejectedError{p.key, p.version, label, err}
}

// checkSize judges the first four bytes of a frame.
func checkSize(p []byte, maxBytes int32) error {
	size := int32(binary.BigEndian.Uint32(p))
	switch {
	case size >= minFrameBytes && size <= maxBytes:
		return nil
	case p[0] == 0x16 && p[1] == 0x03:
		return errors.New("it looks like TLS, and this listener is not")
	case string(p) == "GET " || string(p) == "POST" || string(p) == "HEAD" || string(p) == "PUT ":
		return errors.New("it looks like HTTP")
	case size > maxBytes:
		return fmt.Errorf("its size is %d bytes, more than socket.request.max.bytes (%d)", size, maxBytes)
	default:
		return fmt.Errorf("its size is %d bytes, less than a request header", size)
	}
}

var errHeader = errors.New("its header is cut short")

// parseHeader reads what follows the preamble in a frame (without its size) and
// returns the client id, aliasing the frame, and the body.
func parseHeader(frame []byte, flexible bool) (clientID, body []byte, err error) {
	p := frame[minFrameBytes:]
	if len(p) < 2 {
		return nil, nil, errHeader
	}
	n := int(int16(binary.BigEndian.Uint16(p)))
	p = p[2:]
	if n > len(p) {
		return nil, nil, errHeader
	}
	if n > 0 {
		clientID, p = p[:n], p[n:]
	}
	if flexible {
		p, err = skipTags(p, maxHeaderTags)
	}
	return clientID, p, err
}

// skipTags skips a section of tagged fields.
func skipTags(p []byte, maxTags int) ([]byte, error) {
	n, p, err := uvarint(p)
	if err != nil {
		return nil, err
	}
	if n > uint32(maxTags) {
		return nil, fmt.Errorf("it has %d tagged fields in one place, more than %d", n, maxTags)
	}
	for range n {
		var size uint32
		if _, p, err = uvarint(p); err != nil {
			return nil, err
		}
		if size, p, err = uvarint(p); err != nil {
			return nil, err
		}
		if uint64(size) > uint64(len(p)) {
			return nil, errCutShort
		}
		p = p[size:]
	}
	return p, nil
}

var errCutShort = errors.New("it is cut short")

// uvarint reads an unsigned 32-bit varint.
func uvarint(p []byte) (uint32, []byte, error) {
	v, n := binary.Uvarint(p)
	if n <= 0 || v > 1<<32-1 {
		return 0, nil, errCutShort
	}
	return uint32(v), p[n:], nil
}

// rejectedError says why a frame ended its connection. key and version are
// those of the frame if it came that far, else -1.
type rejectedError struct {
	key, version int16
	label        string // in the metrics
	err          error
}

func (e *rejectedError) Error() string { return e.err.Error() }
func (e *rejectedError) Unwrap() error { return e.err }
