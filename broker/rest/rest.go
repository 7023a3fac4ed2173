// Package rest is what the APIs on the broker's HTTP address share: routes, and how requests are
// read, answered and refused as JSON. It knows nothing of what they are about.
package rest

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"os"
	"reflect"
	"slices"
	"strings"
)

// Route is one method and path, in the syntax of [http.ServeMux], and who answers it.
type Route struct {
	Method, Path string
	Handler      http.HandlerFunc
}

// Error is how a request is refused.
type Error struct {
	// Status is the HTTP status code.
	Status int `json:"-"`
	// Code is for programs: one word.
	Code string `json:"error"`
	// Message is for people.
	Message string `json:"message"`
}

func (e *Error) Error() string { return e.Message }

// Refuse makes an Error.
func Refuse(status int, code, format string, args ...any) *Error {
	return &Error{status, code, fmt.Sprintf(format, args...)}
}

// BadRequest refuses what the client has sent.
func BadRequest(format string, args ...any) *Error {
	return Refuse(http.StatusBadRequest, "bad_request", format, args...)
}

// Kind says how an error of a package below is told to clients.
type Kind struct {
	Is     error
	Status int
	Code   string
}

// Kinds are those of one API. The first that matches counts.
type Kinds []Kind

// common are the kinds of every API.
var common = Kinds{
	// What was asked for may be done all the same.
	{Is: context.DeadlineExceeded, Status: http.StatusGatewayTimeout, Code: "timeout"},
	{Is: context.Canceled, Status: http.StatusServiceUnavailable, Code: "stopping"},
}

// Classify says what the client is told. What is not known is a storage failure, or a bug.
func (ks Kinds) Classify(err error) *Error {
	if e, ok := errors.AsType[*Error](err); ok {
		return e
	}
	for _, kinds := range []Kinds{ks, common} {
		for _, k := range kinds {
			if errors.Is(err, k.Is) {
				return &Error{k.Status, k.Code, err.Error()}
			}
		}
	}
	return &Error{http.StatusInternalServerError, "internal", err.Error()}
}

// Route makes a route of a function that returns what is sent as JSON. It is called with no other
// query parameters than these.
func (ks Kinds) Route(method, path string, f func(*http.Request) (any, error), parameters ...string) Route {
	return Route{method, path, ks.answer(func(r *http.Request) (any, error) {
		if err := checkQuery(r.URL.RawQuery, parameters); err != nil {
			return nil, err
		}
		return f(r)
	})}
}

// checkQuery refuses a query with what would not count: what is no parameter, or a second value of one.
func checkQuery(query string, known []string) error {
	q, err := url.ParseQuery(query)
	if err != nil {
		return BadRequest("the query cannot be read: %v", err)
	}
	for _, name := range slices.Sorted(maps.Keys(q)) {
		switch {
		case len(known) == 0:
			return BadRequest("unknown parameter %q, expected none", name)
		case len(known) == 1 && name != known[0]:
			return BadRequest("unknown parameter %q, expected %s", name, known[0])
		case !slices.Contains(known, name):
			return BadRequest("unknown parameter %q, expected one of %s", name, strings.Join(known, ", "))
		case len(q[name]) > 1:
			return BadRequest("%s is given %d times, expected once", name, len(q[name]))
		}
	}
	return nil
}

func (ks Kinds) answer(f func(*http.Request) (any, error)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		status := http.StatusOK
		v, err := f(r)
		if err != nil {
			e := ks.Classify(err)
			status, v = e.Status, e
		}
		body, err := json.Marshal(v)
		if err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		h := w.Header()
		h.Set("Content-Type", "application/json")
		h.Set("Cache-Control", "no-store")
		h.Set("X-Content-Type-Options", "nosniff")
		w.WriteHeader(status)
		_, _ = w.Write(append(body, '\n')) // the client has gone
	}
}

// maxBody bounds the body of a request.
const maxBody = 1 << 20

// Decode reads a JSON body into v. No body leaves v as it is.
func Decode(r *http.Request, v any) error {
	if r.ContentLength == 0 {
		return nil
	}
	d := json.NewDecoder(http.MaxBytesReader(nil, r.Body, maxBody))
	d.DisallowUnknownFields()
	if err := d.Decode(v); err != nil {
		if large, ok := errors.AsType[*http.MaxBytesError](err); ok {
			return Refuse(http.StatusRequestEntityTooLarge, "too_large", "the body has more than %d bytes", large.Limit)
		}
		if errors.Is(err, os.ErrDeadlineExceeded) {
			return Refuse(http.StatusRequestTimeout, "too_slow", "the body did not arrive in time")
		}
		if wrong, ok := errors.AsType[*json.UnmarshalTypeError](err); ok {
			return BadRequest("the body cannot be read: %s is a JSON %s, expected %s", cmp.Or(wrong.Field, "it"), wrong.Value, jsonKind(wrong.Type.Kind()))
		}
		return BadRequest("the body cannot be read: %s", strings.TrimPrefix(err.Error(), "json: "))
	}
	if d.More() {
		return BadRequest("the body cannot be read: there is more than one JSON value")
	}
	return nil
}

// jsonKind is what a field of a Go type is in JSON.
func jsonKind(k reflect.Kind) string {
	switch k {
	case reflect.Bool:
		return "true or false"
	case reflect.String:
		return "a string"
	case reflect.Slice, reflect.Array:
		return "an array"
	case reflect.Struct, reflect.Map:
		return "an object"
	default:
		return "an integer"
	}
}
