package console

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"time"

	"github.com/morrowmq/morrow/broker/schedules"
	"github.com/morrowmq/morrow/internal/when"
)

// selection says which of the pending records of a topic are meant, as people write it. The zero
// value means all.
type selection struct {
	// Prefix is what morrow-key begins with.
	Prefix string
	// From and Until bound the due time: From <= due < Until.
	From, Until string
}

// selectionOf is what a form says.
func selectionOf(form url.Values) selection {
	return selection{Prefix: form.Get("prefix"), From: form.Get("from"), Until: form.Get("until")}
}

// All says that every pending record is meant.
func (s selection) All() bool { return s == selection{} }

// filter is the selection with times that stay what they are while the clock goes on.
func (s selection) filter(now time.Time) (f schedules.Filter, err error) {
	f.KeyPrefix = s.Prefix
	if f.FromMs, err = bound("from", s.From, now); err != nil {
		return f, err
	}
	f.UntilMs, err = bound("until", s.Until, now)
	return f, err
}

// bound reads a bound of due times, nil if there is none.
func bound(name, value string, now time.Time) (*int64, error) {
	if value == "" {
		return nil, nil
	}
	ms, err := when.ParseAt(value, now)
	if err != nil {
		return nil, fmt.Errorf("due %s %s: it %w", name, quoted(value), err)
	}
	return &ms, nil
}

// maxTogether is how many records are counted, and cancelled, at one request.
const maxTogether = 100_000

// togetherPage asks whether what a selection means is to be cancelled.
type togetherPage struct {
	Topic  string
	Which  schedules.Filter
	All    bool
	Counts schedules.CancelledMany
	Err    string
}

// together counts what a selection means, and asks whether that is to be cancelled.
func (c *Console) together(w http.ResponseWriter, r *http.Request) {
	ctx, stop := context.WithTimeout(r.Context(), patience)
	defer stop()
	topic, chosen := r.PathValue("topic"), selectionOf(r.URL.Query())
	which, err := chosen.filter(c.Now())
	if err != nil {
		c.refuse(w, r, http.StatusBadRequest, "It is not clear which records are meant. "+err.Error())
		return
	}
	body := togetherPage{Topic: topic, Which: which, All: chosen.All()}
	dry := which.Cancel()
	dry.All, dry.DryRun, dry.Limit = body.All, true, maxTogether
	if body.Counts, err = c.Schedules.CancelMany(ctx, topic, dry); err != nil {
		if status := schedules.Classify(err).Status; status < http.StatusInternalServerError {
			c.refuse(w, r, status, "These records cannot be cancelled: "+why(err))
			return
		}
		body.Err = "They cannot be counted: " + why(err)
	}
	c.show(w, r, http.StatusOK, "together", page{Title: "Cancel records of " + topic, Section: "overview", Body: body})
}

// cancelTogether cancels what a selection means, and shows the topic with what came of it.
func (c *Console) cancelTogether(w http.ResponseWriter, r *http.Request) {
	form, ok := c.form(w, r)
	if !ok {
		return
	}
	topic := r.PathValue("topic")
	which, err := selectionOf(form).filter(c.Now())
	if err != nil {
		c.redirect(w, r, back(topic), outcome{false, "Nothing was cancelled. " + err.Error()})
		return
	}
	cancel := which.Cancel()
	cancel.All, cancel.Limit = form.Get("all") != "", maxTogether
	done, err := c.Schedules.CancelMany(r.Context(), topic, cancel)
	if err != nil {
		c.redirect(w, r, back(topic), outcome{false, "It is not certain that all of them are cancelled: " + err.Error()})
		return
	}
	c.redirect(w, r, back(topic), outcome{true, cancelledTogether(done)})
}

// cancelledTogether tells what was done.
func cancelledTogether(done schedules.CancelledMany) string {
	if done.Matched == 0 {
		return "Nothing was cancelled: none of these records is pending any more."
	}
	told := plural(done.Cancelled, "record") + " cancelled, durably."
	if done.TooLate > 0 {
		told += " It was too late for " + count(done.TooLate) + ": delivered, or cancelled by others."
	}
	if !done.Done {
		told += " There are more of them."
	}
	return told
}
