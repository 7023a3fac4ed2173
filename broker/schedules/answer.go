package schedules

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"

	"github.com/morrowmq/morrow/broker/partition"
	"github.com/morrowmq/morrow/delay"
	"github.com/morrowmq/morrow/log"
	"github.com/morrowmq/morrow/log/record"
)

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

func refuse(status int, code, format string, args ...any) *Error {
	return &Error{status, code, fmt.Sprintf(format, args...)}
}

func badRequest(format string, args ...any) *Error {
	return refuse(http.StatusBadRequest, "bad_request", format, args...)
}

// kinds maps the errors of the packages below. The first that matches counts.
var kinds = []struct {
	is     error
	status int
	code   string
}{
	{delay.ErrNotPending, http.StatusNotFound, "not_pending"},
	{partition.ErrNoSchedule, http.StatusNotFound, "no_schedule"},
	{record.ErrInvalid, http.StatusBadRequest, "bad_request"},
	{partition.ErrLoading, http.StatusServiceUnavailable, "loading"},
	{partition.ErrNotHere, http.StatusServiceUnavailable, "not_here"},
	{partition.ErrOffline, http.StatusServiceUnavailable, "offline"},
	{log.ErrNoSpace, http.StatusServiceUnavailable, "no_space"},
	// The record that decides may be committed all the same.
	{context.DeadlineExceeded, http.StatusGatewayTimeout, "timeout"},
	{context.Canceled, http.StatusServiceUnavailable, "stopping"},
}

// classify says what the client is told. What is not known is a storage failure, or a bug.
func classify(err error) *Error {
	if e, ok := errors.AsType[*Error](err); ok {
		return e
	}
	for _, k := range kinds {
		if errors.Is(err, k.is) {
			return &Error{k.status, k.code, err.Error()}
		}
	}
	return &Error{http.StatusInternalServerError, "internal", err.Error()}
}

// answer makes a handler of a function that returns what is sent as JSON.
func answer(f func(*http.Request) (any, error)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		status := http.StatusOK
		v, err := f(r)
		if err != nil {
			e := classify(err)
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

// decode reads a JSON body into v. No body leaves v as it is.
func decode(r *http.Request, v any) error {
	if r.ContentLength == 0 {
		return nil
	}
	d := json.NewDecoder(http.MaxBytesReader(nil, r.Body, maxBody))
	d.DisallowUnknownFields()
	if err := d.Decode(v); err != nil {
		return badRequest("the body cannot be read: %v", err)
	}
	if d.More() {
		return badRequest("the body cannot be read: there is more than one JSON value")
	}
	return nil
}
