package console

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/morrowmq/morrow/broker/alarms"
	"github.com/morrowmq/morrow/broker/inflight"
	"github.com/morrowmq/morrow/broker/remote"
	"github.com/morrowmq/morrow/broker/rest"
	"github.com/morrowmq/morrow/broker/schedules"
)

// noon is the time of all tests.
var noon = time.Date(2026, 11, 27, 12, 0, 0, 0, time.UTC)

// world is a broker that says what a test wants, and a console that shows it.
type world struct {
	standing Standing
	topics   map[string]*TopicDetail
	groups   map[string]*GroupDetail
	groupErr error

	sums     []schedules.Topic
	page     schedules.Page
	line     schedules.Timeline
	sources  []schedules.Source
	record   *schedules.Record
	stuck    bool  // lists end only with their context
	pendErr  error // of all that asks for what is pending
	err      error // of changes
	asked    url.Values
	cancels  []schedules.Name
	moves    []schedules.Move
	together []schedules.CancelMany
	many     schedules.CancelledMany
	tier     remote.Status
	segments remote.Segments
	tierErr  error
	inFlight []inflight.Partition
	wrong    []alarms.Alarm

	*Console
	handler http.Handler
}

func newWorld() *world {
	w := &world{topics: map[string]*TopicDetail{}, groups: map[string]*GroupDetail{}, standing: Standing{Node: 1, Cluster: "abc", Started: noon.Add(-time.Hour)}, tier: remote.Status{Usable: true, Bucket: "file:///b"}}
	w.Console = New(Config{Broker: broker{w}, Schedules: pending{w}, Tier: store{w}, Shares: held{w}, Alarms: alarmed{w}, Now: func() time.Time { return noon }, Logger: slog.New(slog.DiscardHandler)})
	w.handler = rest.Handler(w.Routes())
	return w
}

// withTopic adds a topic of one partition.
func (w *world) withTopic(name string) *TopicDetail {
	d := &TopicDetail{Topic: Topic{Name: name, Partitions: 1, Records: 7, Bytes: 2048}, Delays: true, Parts: []Partition{{Start: 3, End: 10, Bytes: 2048}}}
	w.topics[name] = d
	w.sums = append(w.sums, schedules.Topic{Topic: name, Partitions: 1})
	return d
}

// get asks for a page and returns it, without the spaces between words and lines.
func (w *world) get(t *testing.T, path string, status int) string {
	t.Helper()
	return w.ask(t, httptest.NewRequest(http.MethodGet, path, nil), status)
}

func (w *world) ask(t *testing.T, r *http.Request, status int) string {
	t.Helper()
	answer := httptest.NewRecorder()
	w.handler.ServeHTTP(answer, r)
	h := answer.Header()
	if answer.Code != status {
		t.Fatalf("%s %s: %d %s", r.Method, r.URL, answer.Code, answer.Body)
	}
	if h.Get("Content-Security-Policy") != policy || h.Get("X-Content-Type-Options") != "nosniff" || h.Get("Referrer-Policy") != "same-origin" || h.Get("Cache-Control") != "no-store" || h.Get("Content-Type") != "text/html; charset=utf-8" {
		t.Errorf("%s %s: headers %v", r.Method, r.URL, h)
	}
	page := strings.Join(strings.Fields(answer.Body.String()), " ")
	if status != http.StatusSeeOther && (!strings.HasPrefix(page, "<!DOCTYPE html>") || !strings.HasSuffix(page, "</html>")) {
		t.Errorf("%s %s is no page: %s", r.Method, r.URL, page)
	}
	return page
}

// post sends a form and returns the page that it leads to.
func (w *world) post(t *testing.T, path string, form url.Values) string {
	t.Helper()
	r := httptest.NewRequest(http.MethodPost, path, strings.NewReader(form.Encode()))
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	answer := httptest.NewRecorder()
	w.handler.ServeHTTP(answer, r)
	if answer.Code != http.StatusSeeOther {
		t.Fatalf("POST %s: %d %s", path, answer.Code, answer.Body)
	}
	return w.get(t, answer.Header().Get("Location"), http.StatusOK)
}

// has reports an error for each text that a page lacks.
func has(t *testing.T, page string, texts ...string) {
	t.Helper()
	for _, text := range texts {
		if !strings.Contains(page, text) {
			t.Errorf("%q is not in %s", text, page)
		}
	}
}

// lacks reports an error for each text that a page has.
func lacks(t *testing.T, page string, texts ...string) {
	t.Helper()
	for _, text := range texts {
		if strings.Contains(page, text) {
			t.Errorf("%q is in %s", text, page)
		}
	}
}

type broker struct{ w *world }

func (b broker) Version() string    { return "v1" }
func (b broker) Standing() Standing { return b.w.standing }

func (b broker) Topics() (all []Topic) {
	for _, name := range slices.Sorted(maps.Keys(b.w.topics)) {
		all = append(all, b.w.topics[name].Topic)
	}
	return all
}

func (b broker) Topic(name string) *TopicDetail { return b.w.topics[name] }

func (b broker) Groups() (all []Group) {
	for _, id := range slices.Sorted(maps.Keys(b.w.groups)) {
		all = append(all, b.w.groups[id].Group)
	}
	return all
}

func (b broker) Group(_ context.Context, id string) (*GroupDetail, error) {
	return b.w.groups[id], b.w.groupErr
}

type pending struct{ w *world }

func (p pending) Topics() schedules.Topics { return schedules.Topics{Topics: p.w.sums} }

func (p pending) List(ctx context.Context, _ string, q url.Values) (schedules.Page, error) {
	p.w.asked = q
	if p.w.stuck {
		<-ctx.Done()
		return schedules.Page{}, fmt.Errorf("read a run: %w", ctx.Err())
	}
	return p.w.page, p.w.pendErr
}

func (p pending) Timeline(string, url.Values) (schedules.Timeline, error) {
	return p.w.line, p.w.pendErr
}

func (p pending) Sources(string, url.Values) (schedules.Sources, error) {
	return schedules.Sources{Sources: p.w.sources}, p.w.pendErr
}

func (p pending) Show(_ context.Context, name schedules.Name) (schedules.Record, error) {
	if p.w.record == nil {
		return schedules.Record{}, rest.Refuse(http.StatusNotFound, "not_pending", "nothing is pending under ticket %s", name.Ticket)
	}
	return *p.w.record, p.w.pendErr
}

func (p pending) Cancel(_ context.Context, name schedules.Name) (schedules.Cancelled, error) {
	p.w.cancels = append(p.w.cancels, name)
	return schedules.Cancelled{Topic: name.Topic, Partition: 2, Ticket: 17, Offset: 40}, p.w.err
}

func (p pending) CancelMany(_ context.Context, _ string, c schedules.CancelMany) (schedules.CancelledMany, error) {
	p.w.together = append(p.w.together, c)
	return p.w.many, p.w.err
}

func (p pending) Move(_ context.Context, name schedules.Name, m schedules.Move) (schedules.Moved, error) {
	p.w.moves = append(p.w.moves, m)
	return schedules.Moved{Topic: name.Topic, Partition: 2, OldTicket: 17, Ticket: 41, DueMs: noon.UnixMilli()}, p.w.err
}

type store struct{ w *world }

func (s store) Status(string) (remote.Status, error) { return s.w.tier, s.w.tierErr }

func (s store) Segments(context.Context, string, string) (remote.Segments, error) {
	return s.w.segments, s.w.tierErr
}

type held struct{ w *world }

func (h held) List(string) ([]inflight.Partition, error) { return h.w.inFlight, nil }

type alarmed struct{ w *world }

func (a alarmed) List() []alarms.Alarm { return a.w.wrong }
