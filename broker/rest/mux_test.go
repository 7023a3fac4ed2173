package rest

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

func TestWhatIsNotServedIsRefusedAsTheRest(t *testing.T) {
	h := Handler([]Route{
		{http.MethodGet, "/livez", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusOK) }},
		kinds.Route(http.MethodGet, "/api/v1/things/{id}", func(*http.Request) (any, error) { return 1, nil }),
		kinds.Route(http.MethodDelete, "/api/v1/things/{id}", func(*http.Request) (any, error) { return 2, nil }),
	})
	for _, c := range []struct {
		method, path string
		status       int
		body, allow  string
	}{
		{"GET", "/api/v1/things/7", 200, "1\n", ""},
		{"DELETE", "/api/v1/things/7", 200, "2\n", ""},
		{"POST", "/api/v1/things/7", 405, `{"error":"method_not_allowed","message":"POST is not served at /api/v1/things/7, only DELETE, GET, HEAD"}` + "\n", "DELETE, GET, HEAD"},
		{"GET", "/api/v1/things/", 404, `{"error":"unknown_path","message":"nothing is served at /api/v1/things/"}` + "\n", ""},
		{"POST", "/api/", 404, `{"error":"unknown_path","message":"nothing is served at /api/"}` + "\n", ""},
		{"POST", "/livez", 405, "Method Not Allowed\n", "GET, HEAD"},
		{"GET", "/nope", 404, "404 page not found\n", ""},
	} {
		w := httptest.NewRecorder()
		h.ServeHTTP(w, httptest.NewRequest(c.method, c.path, nil))
		kind := "text/plain"
		if strings.HasPrefix(c.path, apiPrefix) {
			kind = "application/json"
		}
		got := w.Header()
		if w.Code != c.status || w.Body.String() != c.body || got.Get("Allow") != c.allow || c.path != "/livez" && !strings.HasPrefix(got.Get("Content-Type"), kind) {
			t.Errorf("%s %s: %d %s%v", c.method, c.path, w.Code, w.Body, got)
		}
	}
}
