package console

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"strings"

	"github.com/morrowmq/morrow/broker/schedules"
	"github.com/morrowmq/morrow/internal/when"
)

// maxForm bounds the body of a form.
const maxForm = 64 << 10

// recordPage is a pending record.
type recordPage struct {
	schedules.Record
}

func nameOf(r *http.Request) schedules.Name {
	return schedules.Name{Topic: r.PathValue("topic"), Partition: r.PathValue("partition"), Ticket: r.PathValue("ticket")}
}

func (c *Console) record(w http.ResponseWriter, r *http.Request) {
	ctx, cancel := context.WithTimeout(r.Context(), patience)
	defer cancel()
	name := nameOf(r)
	found, err := c.Schedules.Show(ctx, name)
	if err != nil {
		c.refuse(w, r, schedules.Classify(err).Status, "Ticket "+text(name.Ticket)+" of partition "+text(name.Partition)+" of "+text(name.Topic)+" cannot be shown: "+why(err))
		return
	}
	title := fmt.Sprintf("Ticket %d of %s-%d", found.Ticket, found.Topic, found.Partition)
	c.show(w, r, http.StatusOK, "record", page{Title: title, Section: "overview", Body: recordPage{found}})
}

// cancel cancels a record, and shows the topic with what came of it.
func (c *Console) cancel(w http.ResponseWriter, r *http.Request) {
	name := nameOf(r)
	done, err := c.Schedules.Cancel(r.Context(), name)
	if err != nil {
		c.redirect(w, r, back(name.Topic), failed("cancelled", name, err))
		return
	}
	c.redirect(w, r, back(name.Topic), outcome{true, fmt.Sprintf("Ticket %d of partition %d is cancelled, durably, by the record at offset %d.", done.Ticket, done.Partition, done.Offset)})
}

// move gives a record another due time, and shows the topic with what came of it.
func (c *Console) move(w http.ResponseWriter, r *http.Request) {
	name := nameOf(r)
	form, ok := c.form(w, r)
	if !ok {
		return
	}
	due := form.Get("due")
	at, err := when.ParseAt(due, c.Now())
	if err != nil {
		c.redirect(w, r, back(name.Topic), failed("moved", name, fmt.Errorf("due %s: it %w", quoted(due), err)))
		return
	}
	done, err := c.Schedules.Move(r.Context(), name, schedules.Move{DueMs: &at})
	if err != nil {
		c.redirect(w, r, back(name.Topic), failed("moved", name, err))
		return
	}
	c.redirect(w, r, back(name.Topic), outcome{true, fmt.Sprintf("Ticket %d of partition %d is moved to %s and waits as ticket %d.", done.OldTicket, done.Partition, when.RFC3339(done.DueMs), done.Ticket)})
}

// form reads the body of a form. If it cannot, it has answered.
func (c *Console) form(w http.ResponseWriter, r *http.Request) (form url.Values, ok bool) {
	r.Body = http.MaxBytesReader(w, r.Body, maxForm)
	if err := r.ParseForm(); err != nil {
		c.refuse(w, r, http.StatusBadRequest, "The form cannot be read: "+err.Error())
		return nil, false
	}
	return r.PostForm, true
}

// back is where a form leads: to the topic, if that can be one.
func back(topic string) string { return Root + "topics/" + topic }

// failed is the outcome of a change that failed. If the answer did not come in time, the change may
// be made all the same.
func failed(what string, name schedules.Name, err error) outcome {
	ticket := "Ticket " + text(name.Ticket) + " of partition " + text(name.Partition)
	if schedules.Classify(err).Status == http.StatusGatewayTimeout {
		return outcome{false, "It is not known whether " + strings.ToLower(ticket[:1]) + ticket[1:] + " is " + what + ": " + err.Error()}
	}
	return outcome{false, ticket + " was not " + what + ": " + err.Error()}
}

// Path is where the record is shown.
func (p recordPage) Path() string { return recordPath(p.Topic, p.Entry) }

// recordPath is where a pending record is shown.
func recordPath(topic string, e schedules.Entry) string {
	return fmt.Sprintf("%stopics/%s/records/%d/%d", Root, url.PathEscape(topic), e.Partition, e.Ticket)
}
