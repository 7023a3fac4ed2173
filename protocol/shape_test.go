package protocol

import (
	"encoding/binary"
	"math/rand/v2"
	"reflect"
	"runtime"
	"testing"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// Every request kmsg can encode, in every version and with random content, is
// walked over exactly.
// walk is check and returns what follows the body.
func (s shape) walk(body []byte, version int16, flexible bool) ([]byte, error) {
	w := walker{p: body, version: version, flexible: flexible}
	w.structure(s)
	return w.p, w.err
}

func TestShapesMatchWhatKmsgEncodes(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 2))
	for key, text := range shapes {
		s := parseShape(text)
		for version := range kmsg.RequestForKey(int16(key)).MaxVersion() + 1 {
			for range 20 {
				req := kmsg.RequestForKey(int16(key))
				req.SetVersion(version)
				fill(rnd, reflect.ValueOf(req).Elem())
				req.SetVersion(version)
				body := req.AppendTo(nil)
				rest, err := s.walk(body, version, req.IsFlexible())
				if err != nil || len(rest) != 0 {
					t.Errorf("%s v%d: walk of %d bytes: %d left, error %v", key.Name(), version, len(body), len(rest), err)
					break
				}
				if len(body) > 0 {
					if _, err := s.walk(body[:len(body)-1], version, req.IsFlexible()); err == nil {
						t.Errorf("%s v%d: a body cut by one byte passed", key.Name(), version)
						break
					}
				}
			}
		}
	}
}

// fill sets everything in v to random values.
func fill(rnd *rand.Rand, v reflect.Value) {
	switch v.Kind() {
	case reflect.Struct:
		if tags, ok := v.Addr().Interface().(*kmsg.Tags); ok {
			for range rnd.IntN(3) {
				tags.Set(100+rnd.Uint32N(1000), make([]byte, rnd.IntN(4)))
			}
			return
		}
		for i := range v.NumField() {
			if v.Type().Field(i).IsExported() {
				fill(rnd, v.Field(i))
			}
		}
	case reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), rnd.IntN(4), 4))
		for i := range v.Len() {
			fill(rnd, v.Index(i))
		}
	case reflect.Pointer:
		if rnd.IntN(2) == 0 {
			v.SetZero()
			return
		}
		v.Set(reflect.New(v.Type().Elem()))
		fill(rnd, v.Elem())
	case reflect.Array:
		for i := range v.Len() {
			fill(rnd, v.Index(i))
		}
	case reflect.String:
		v.SetString("some string"[:rnd.IntN(12)])
	case reflect.Bool:
		v.SetBool(rnd.IntN(2) == 0)
	case reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		v.SetInt(rnd.Int64())
	case reflect.Uint8, reflect.Uint16, reflect.Uint32:
		v.SetUint(rnd.Uint64())
	case reflect.Float64:
		v.SetFloat(rnd.Float64())
	}
}

// A length that kmsg would believe, because a byte per element is left, is
// refused without being allocated for.
func TestShapeRefusesElementsThatAreNotThere(t *testing.T) {
	body := make([]byte, 4<<20)
	copy(body, "\xff\xff\x00\x00\x00\x00\x00\x00") // no transactional id, acks, timeout
	binary.BigEndian.PutUint32(body[8:], 900_000)  // topics, all of them empty so far as the bytes go …
	for i := 12; i < len(body); i++ {
		body[i] = 0x7f // … but the first has a name longer than the body
	}
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	_, err := parseShape(shapes[kmsg.Produce]).check(body, 3, false)
	runtime.ReadMemStats(&after)
	if err == nil {
		t.Error("accepted")
	}
	if n := after.TotalAlloc - before.TotalAlloc; n > 64<<10 {
		t.Errorf("%d bytes allocated", n)
	}
}

func TestShapeBoundsElementsAndTags(t *testing.T) {
	metadata := parseShape(shapes[kmsg.Metadata])
	names := func(n int) []byte {
		p := binary.BigEndian.AppendUint32(nil, uint32(n))
		return append(p, make([]byte, 2*n)...) // empty names
	}
	if _, err := metadata.check(names(maxElements), 1, false); err != nil {
		t.Errorf("%d elements: %v", maxElements, err)
	}
	if _, err := metadata.check(names(maxElements+1), 1, false); err == nil {
		t.Errorf("%d elements accepted", maxElements+1)
	}

	heartbeat := parseShape(shapes[kmsg.Heartbeat])
	tags := func(n int) []byte {
		p := []byte{1, 0, 0, 0, 0, 1, 0}
		p = binary.AppendUvarint(p, uint64(n))
		return append(p, make([]byte, 2*n)...) // empty tagged fields
	}
	if _, err := heartbeat.check(tags(maxTags), 4, true); err != nil {
		t.Errorf("%d tags: %v", maxTags, err)
	}
	if _, err := heartbeat.check(tags(maxTags+1), 4, true); err == nil {
		t.Errorf("%d tags accepted", maxTags+1)
	}
	if _, err := heartbeat.check([]byte{1, 0, 0, 0, 0, 1, 0, 0xff, 0xff, 0xff, 0xff, 0x0f}, 4, true); err == nil {
		t.Error("2^32-1 tags accepted")
	}
}

// A name that only the newer versions can carry would be stored in records, and answered in
// versions, that cannot.
func TestShapeRefusesStringsThatOldVersionsCannotHold(t *testing.T) {
	for length, ok := range map[int]bool{0: true, maxString: true, maxString + 1: false, 70_000: false} {
		req := kmsg.NewPtrDescribeGroupsRequest()
		req.Version = 5
		req.Groups = []string{string(make([]byte, length))}
		_, err := parseShape(shapes[kmsg.DescribeGroups]).check(req.AppendTo(nil), req.Version, true)
		if (err == nil) != ok {
			t.Errorf("a string of %d bytes: %v", length, err)
		}
	}
}

// Whatever the walk accepts costs kmsg no more than a multiple of its size, and
// no panic.
func FuzzShape(f *testing.F) {
	rnd := rand.New(rand.NewPCG(3, 4))
	for key := range shapes {
		req := kmsg.RequestForKey(int16(key))
		version := rnd.Int64N(int64(req.MaxVersion() + 1))
		fill(rnd, reflect.ValueOf(req).Elem())
		req.SetVersion(int16(version))
		f.Add(int16(key), int16(version), req.AppendTo(nil))
	}
	f.Fuzz(func(t *testing.T, key, version int16, body []byte) {
		text, ok := shapes[kmsg.Key(key)]
		if !ok || version < 0 || version > kmsg.RequestForKey(key).MaxVersion() {
			return
		}
		req := kmsg.RequestForKey(key)
		req.SetVersion(version)
		if _, err := parseShape(text).check(body, version, req.IsFlexible()); err == nil {
			_ = req.ReadFrom(body)
		}
	})
}
