package console

import (
	"net/http"
	"net/url"
	"strconv"
)

// rowsOfPage is how many rows of a table a page shows.
const rowsOfPage = 200

// window is a part of a list that is too long for a page, and the way to the rest.
type window[T any] struct {
	Rows []T
	pager
}

// pager is what a page says of the rows that it does not show.
type pager struct {
	// From and To are the first and last row shown, counted from 1.
	From, To, Total int
	// Before and After lead to the rows around; empty if there are none.
	Before, After string
}

// Partial says that not all is shown.
func (p pager) Partial() bool { return p.To-p.From+1 < p.Total }

// part returns the rows of a list that a request asks for. The parameter says how many to leave out.
func part[T any](r *http.Request, parameter string, all []T) window[T] {
	skip, err := strconv.Atoi(r.URL.Query().Get(parameter))
	if err != nil || skip < 0 || skip >= len(all) {
		skip = 0
	}
	end := min(skip+rowsOfPage, len(all))
	w := window[T]{all[skip:end], pager{From: skip + 1, To: end, Total: len(all)}}
	if skip > 0 {
		w.Before = with(r, parameter, strconv.Itoa(max(0, skip-rowsOfPage)))
	}
	if end < len(all) {
		w.After = with(r, parameter, strconv.Itoa(end))
	}
	return w
}

// with is the address of a request with another value of a parameter.
func with(r *http.Request, parameter, value string) string {
	q := r.URL.Query()
	q.Set(parameter, value)
	q.Del(outcomeParameter)
	return (&url.URL{Path: r.URL.Path, RawPath: r.URL.RawPath, RawQuery: q.Encode()}).String()
}
