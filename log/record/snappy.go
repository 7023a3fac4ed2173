package record

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/klauspost/compress/s2"
)

// Snappy comes in two shapes. Most clients send one plain block. Java's library ("xerial") frames
// a stream of blocks, and Java reads both:
//
//	82 53 4e 41 50 50 59 00   magic
//	version                   int32  1
//	compatible with           int32  1
//	then per block            int32 length, block
//
// Such streams may follow each other. A length cannot be mistaken for the magic, which would be negative.
var xerialMagic = []byte("\x82SNAPPY\x00")

const (
	xerialHeaderLen = 16
	// maxSnappyRatio is above what a snappy copy element can expand to: 64 bytes out of 3.
	maxSnappyRatio = 22
)

var errXerial = errors.New("snappy framing is cut short")

func (d *Decompressor) unsnappy(src []byte) error {
	if !bytes.HasPrefix(src, xerialMagic) {
		return d.unsnappyBlock(src)
	}
	for len(src) > 0 {
		if bytes.HasPrefix(src, xerialMagic) {
			if len(src) < xerialHeaderLen {
				return errXerial
			}
			src = src[xerialHeaderLen:]
			continue
		}
		if len(src) < 4 {
			return errXerial
		}
		n := int64(binary.BigEndian.Uint32(src))
		src = src[4:]
		if n > int64(len(src)) {
			return errXerial
		}
		if err := d.unsnappyBlock(src[:n]); err != nil {
			return err
		}
		src = src[n:]
	}
	return nil
}

// unsnappyBlock appends one block to the buffer. The length a block claims is believed only
// as far as snappy could reach it. The decoder also reads S2, which no client sends.
func (d *Decompressor) unsnappyBlock(block []byte) error {
	n, err := s2.DecodedLen(block)
	if err != nil {
		return err
	}
	end := len(d.buf) + n
	if end > d.limit() {
		return d.tooLarge()
	}
	if n > maxSnappyRatio*len(block) {
		return fmt.Errorf("a snappy block of %d bytes cannot hold %d", len(block), n)
	}
	if end > cap(d.buf) {
		d.grow(max(end, 2*cap(d.buf)), d.limit())
	}
	// Decode writes to its destination's length, from its start.
	if _, err := s2.Decode(d.buf[len(d.buf):end:end], block); err != nil {
		return err
	}
	d.buf = d.buf[:end]
	return nil
}
