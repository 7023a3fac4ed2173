package rest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

var (
	errGone = errors.New("gone")
	errBusy = errors.New("busy")

	kinds = Kinds{
		{Is: errGone, Status: http.StatusNotFound, Code: "gone"},
		{Is: errBusy, Status: http.StatusServiceUnavailable, Code: "busy"},
	}
)

// ask sends a body to a route that answers with what f returns.
func ask(t *testing.T, body io.Reader, f func(*http.Request) (any, error)) *httptest.ResponseRecorder {
	t.Helper()
	r := kinds.Route(http.MethodPost, "/x", f)
	if r.Method != http.MethodPost || r.Path != "/x" {
		t.Errorf("route %+v", r)
	}
	w := httptest.NewRecorder()
	r.Handler(w, httptest.NewRequest(http.MethodPost, "/x", body))
	return w
}

func TestErrorsAreToldByTheirKind(t *testing.T) {
	for _, c := range []struct {
		err    error
		status int
		body   string
	}{
		{fmt.Errorf("topic a: %w", errGone), 404, `{"error":"gone","message":"topic a: gone"}`},
		{errors.Join(errBusy, errGone), 404, `{"error":"gone","message":"busy\ngone"}`}, // the first kind of the list
		{fmt.Errorf("wait: %w", context.DeadlineExceeded), 504, `{"error":"timeout","message":"wait: context deadline exceeded"}`},
		{context.Canceled, 503, `{"error":"stopping","message":"context canceled"}`},
		{errors.New("disk on fire"), 500, `{"error":"internal","message":"disk on fire"}`},
		{BadRequest("limit is %d", 0), 400, `{"error":"bad_request","message":"limit is 0"}`},
		{fmt.Errorf("somewhere: %w", Refuse(http.StatusConflict, "too_late", "%q", "x")), 409, `{"error":"too_late","message":"\"x\""}`},
	} {
		r := ask(t, nil, func(*http.Request) (any, error) { return "not sent", c.err })
		if got := r.Body.String(); r.Code != c.status || got != c.body+"\n" {
			t.Errorf("%v: %d %s", c.err, r.Code, got)
		}
	}
}

func TestAnswersAreJSONThatNobodyKeeps(t *testing.T) {
	r := ask(t, nil, func(*http.Request) (any, error) { return map[string]int{"n": 1}, nil })
	if got := r.Body.String(); r.Code != http.StatusOK || got != "{\"n\":1}\n" {
		t.Errorf("%d %q", r.Code, got)
	}
	for name, want := range map[string]string{"Content-Type": "application/json", "Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"} {
		if got := r.Header().Get(name); got != want {
			t.Errorf("%s is %q, want %q", name, got, want)
		}
	}
	if r := ask(t, nil, func(*http.Request) (any, error) { return func() {}, nil }); r.Code != http.StatusInternalServerError {
		t.Errorf("what cannot be sent: %d", r.Code)
	}
}

func TestBodiesAreReadStrictly(t *testing.T) {
	for body, want := range map[string]string{
		``:                 "7",
		`{}`:               "7",
		`{"n":1}`:          "1",
		"{\"n\":1}\n":      "1",
		`{"n":"x"}`:        "the body cannot be read: n is a JSON string, expected an integer",
		`{"n":1.5}`:        "the body cannot be read: n is a JSON number 1.5, expected an integer",
		`[1]`:              "the body cannot be read: it is a JSON array, expected an object",
		`{"m":1}`:          `the body cannot be read: unknown field "m"`,
		`{"n":1`:           "the body cannot be read: unexpected EOF",
		`{"n":1} {"n":2}`:  "the body cannot be read: there is more than one JSON value",
		`{"n":1} trailing`: "the body cannot be read: there is more than one JSON value",
	} {
		r := ask(t, strings.NewReader(body), func(r *http.Request) (any, error) {
			v := struct {
				N int `json:"n"`
			}{7}
			err := Decode(r, &v)
			return v.N, err
		})
		got, status := r.Body.String(), http.StatusOK
		if strings.HasPrefix(want, "the body") {
			status = http.StatusBadRequest
			want = strings.ReplaceAll(want, `"`, `\"`)
		}
		if r.Code != status || !strings.Contains(got, want) {
			t.Errorf("%.40q: %d %s, want %d %s", body, r.Code, got, status, want)
		}
	}
	r := ask(t, strings.NewReader(strings.Repeat(" ", maxBody+1)), func(r *http.Request) (any, error) { return nil, Decode(r, new(int)) })
	if got := r.Body.String(); r.Code != http.StatusRequestEntityTooLarge || !strings.Contains(got, `"too_large"`) {
		t.Errorf("a large body: %d %s", r.Code, got)
	}
}

func TestQueriesAreReadStrictly(t *testing.T) {
	for _, c := range []struct {
		query string
		known []string
		want  string // of the refusal
	}{
		{"", nil, ""},
		{"", []string{"limit"}, ""},
		{"limit=1", []string{"limit", "from"}, ""},
		{"limit=", []string{"limit"}, ""},
		{"from=1&limit=1", []string{"limit", "from"}, ""},
		{"limt=1", []string{"limit", "from"}, `unknown parameter "limt", expected one of limit, from`},
		{"LIMIT=1", []string{"limit"}, `unknown parameter "LIMIT", expected limit`},
		{"x=1", nil, `unknown parameter "x", expected none`},
		{"limit=1&limit=2", []string{"limit"}, "limit is given 2 times, expected once"},
		{"limit=%zz", []string{"limit"}, `the query cannot be read: invalid URL escape "%zz"`},
		{"limit=1;from=2", []string{"limit", "from"}, "the query cannot be read: invalid semicolon separator in query"},
	} {
		asked := false
		route := kinds.Route(http.MethodGet, "/x", func(*http.Request) (any, error) { asked = true; return 1, nil }, c.known...)
		w := httptest.NewRecorder()
		route.Handler(w, httptest.NewRequest(http.MethodGet, "/x?"+c.query, nil))
		want, status := "1", http.StatusOK
		if c.want != "" {
			want, status = `{"error":"bad_request","message":"`+strings.ReplaceAll(c.want, `"`, `\"`)+`"}`, http.StatusBadRequest
		}
		if got := strings.TrimSpace(w.Body.String()); w.Code != status || got != want || asked != (c.want == "") {
			t.Errorf("%q with %v: %d %s, want %s", c.query, c.known, w.Code, got, want)
		}
	}
}
