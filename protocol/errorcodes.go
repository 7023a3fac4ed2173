package protocol

import (
	"reflect"
	"strings"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// errorPath leads to the error codes within a response or a part of one: the
// fields of a struct that are codes, and those that lead on.
type errorPath struct {
	codes []int
	parts []errorPart
}

type errorPart struct {
	field int
	errorPath
}

// errorPathOf finds the error codes in responses of one kind.
func errorPathOf(r kmsg.Response) errorPath {
	return errorPathIn(reflect.TypeOf(r).Elem())
}

func errorPathIn(t reflect.Type) (path errorPath) {
	for i := range t.NumField() {
		f := t.Field(i)
		part := f.Type
		if part.Kind() == reflect.Slice || part.Kind() == reflect.Pointer {
			part = part.Elem()
		}
		switch {
		case f.Type.Kind() == reflect.Int16 && strings.HasSuffix(f.Name, "ErrorCode"):
			path.codes = append(path.codes, i)
		case part.Kind() == reflect.Struct:
			if p := errorPathIn(part); len(p.codes)+len(p.parts) > 0 {
				path.parts = append(path.parts, errorPart{i, p})
			}
		}
	}
	return path
}

// each calls yield for every code in r that is not zero.
func (p *errorPath) each(r kmsg.Response, yield func(code int16)) {
	p.walk(reflect.ValueOf(r).Elem(), yield)
}

func (p *errorPath) walk(v reflect.Value, yield func(code int16)) {
	for _, i := range p.codes {
		if code := int16(v.Field(i).Int()); code != 0 {
			yield(code)
		}
	}
	for i := range p.parts {
		part := &p.parts[i]
		switch f := v.Field(part.field); f.Kind() {
		case reflect.Slice:
			for j := range f.Len() {
				part.walk(f.Index(j), yield)
			}
		case reflect.Pointer:
			if !f.IsNil() {
				part.walk(f.Elem(), yield)
			}
		default:
			part.walk(f, yield)
		}
	}
}
