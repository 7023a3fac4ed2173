package rest

import (
	"net/http"
	"strings"
)

// apiPrefix is where the answers are JSON.
const apiPrefix = "/api/"

// Handler serves routes. What matches none of them below /api/ is refused as every other request
// there, as JSON; elsewhere as text.
func Handler(routes []Route) http.Handler {
	mux := http.NewServeMux()
	for _, r := range routes {
		mux.HandleFunc(r.Method+" "+r.Path, r.Handler)
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		refuse, pattern := mux.Handler(r)
		if pattern != "" || !strings.HasPrefix(r.URL.Path, apiPrefix) {
			mux.ServeHTTP(w, r)
			return
		}
		probe := verdict{header: w.Header()}
		refuse.ServeHTTP(&probe, r)
		Kinds{}.answer(func(r *http.Request) (any, error) {
			if probe.status == http.StatusMethodNotAllowed {
				return nil, Refuse(probe.status, "method_not_allowed", "%s is not served at %s, only %s", r.Method, r.URL.Path, w.Header().Get("Allow"))
			}
			return nil, Refuse(http.StatusNotFound, "unknown_path", "nothing is served at %s", r.URL.Path)
		})(w, r)
	})
}

// verdict takes from an answer its status and headers.
type verdict struct {
	header http.Header
	status int
}

func (v *verdict) Header() http.Header         { return v.header }
func (v *verdict) WriteHeader(status int)      { v.status = status }
func (v *verdict) Write(b []byte) (int, error) { return len(b), nil }
