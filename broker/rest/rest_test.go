package rest

import (
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

// counted counts what is read of a body.
type counted struct {
	io.Reader
	n int
}

func (c *counted) Read(p []byte) (int, error) {
	n, err := c.Reader.Read(p)
	c.n += n
	return n, err
}

// spaces never ends.
type spaces struct{}

func (spaces) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = ' '
	}
	return len(p), nil
}

func TestBodiesAreJudged(t *testing.T) {
	route := Kinds{}.Route(http.MethodPost, "/", func(r *http.Request) (any, error) {
		v := struct {
			Name string `json:"name"`
		}{"unset"}
		err := Decode(r, &v)
		return v, err
	})
	for name, test := range map[string]struct {
		body   io.Reader
		status int
		want   string
	}{
		"none":           {strings.NewReader(""), http.StatusOK, `{"name":"unset"}`},
		"right":          {strings.NewReader(`{"name":"a"}`), http.StatusOK, `{"name":"a"}`},
		"right, at most": {strings.NewReader(`{"name":"` + strings.Repeat("a", maxBody-11) + `"}`), http.StatusOK, `"aaa`},
		"one more":       {strings.NewReader(`{"name":"` + strings.Repeat("a", maxBody-10) + `"}`), http.StatusRequestEntityTooLarge, `"error":"too_large"`},
		"without end":    {spaces{}, http.StatusRequestEntityTooLarge, "more than 1048576 bytes"},
		"unknown field":  {strings.NewReader(`{"nmae":"a"}`), http.StatusBadRequest, "unknown field"},
		"two values":     {strings.NewReader(`{"name":"a"}{}`), http.StatusBadRequest, "more than one JSON value"},
		"cut short":      {strings.NewReader(`{"name":`), http.StatusBadRequest, "cannot be read"},
		"too deep":       {strings.NewReader(strings.Repeat("[", maxBody)), http.StatusBadRequest, "cannot be read"},
	} {
		t.Run(name, func(t *testing.T) {
			body := &counted{Reader: test.body}
			r := httptest.NewRequest(route.Method, "/", body)
			if s, ok := test.body.(*strings.Reader); ok {
				r.ContentLength = s.Size()
			}
			w := httptest.NewRecorder()
			route.Handler(w, r)
			if w.Code != test.status || !strings.Contains(w.Body.String(), test.want) {
				t.Errorf("answered %d %.200s, want %d with %s", w.Code, w.Body, test.status, test.want)
			}
			if body.n > maxBody+1 {
				t.Errorf("%d bytes were read", body.n)
			}
		})
	}
}

func TestErrorsAreToldByTheirKind(t *testing.T) {
	gone := errors.New("gone")
	kinds := Kinds{{Is: gone, Status: http.StatusNotFound, Code: "gone"}}
	for _, test := range []struct {
		err    error
		status int
		code   string
	}{
		{gone, http.StatusNotFound, "gone"},
		{BadRequest("bad"), http.StatusBadRequest, "bad_request"},
		{errors.New("disk"), http.StatusInternalServerError, "internal"},
	} {
		if e := kinds.Classify(test.err); e.Status != test.status || e.Code != test.code {
			t.Errorf("%v is told as %d %s", test.err, e.Status, e.Code)
		}
	}
}
