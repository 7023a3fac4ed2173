package console

import (
	"crypto/rand"
	"net/http"
	"net/url"
	"sync"
)

// outcomeParameter names an outcome in the address of the page that shows it.
const outcomeParameter = "outcome"

// outcome is what became of a change.
type outcome struct {
	Done bool
	Text string
}

// keptOutcomes is how many of the last outcomes can be shown.
const keptOutcomes = 256

// outcomes keeps those of the last changes, so that a page can show what happened and no link can
// claim it. The zero value is empty.
type outcomes struct {
	mu   sync.Mutex
	kept map[string]outcome
	ids  []string // in the order they came
}

// add keeps an outcome and returns its id.
func (o *outcomes) add(what outcome) string {
	id := rand.Text()
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.kept == nil {
		o.kept = make(map[string]outcome)
	}
	if len(o.ids) == keptOutcomes {
		delete(o.kept, o.ids[0])
		o.ids = o.ids[1:]
	}
	o.kept[id], o.ids = what, append(o.ids, id)
	return id
}

// find returns the outcome of that id, nil if there is none any more.
func (o *outcomes) find(id string) *outcome {
	o.mu.Lock()
	defer o.mu.Unlock()
	if what, ok := o.kept[id]; ok {
		return &what
	}
	return nil
}

// redirect leads from a form to the page that shows what became of it.
func (c *Console) redirect(w http.ResponseWriter, r *http.Request, to string, what outcome) {
	u := url.URL{Path: to, RawQuery: url.Values{outcomeParameter: {c.outcomes.add(what)}}.Encode()}
	secure(w.Header())
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.Header().Set("Cache-Control", "no-store")
	http.Redirect(w, r, u.String(), http.StatusSeeOther)
}
