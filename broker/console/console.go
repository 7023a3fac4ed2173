// Package console serves pages for people with browsers: how the broker stands, its topics and what
// is pending in them, its groups, and the tier. Pending records can be cancelled and moved.
//
// It computes nothing that an API computes: what is pending, in flight and in the tier it asks of
// the packages behind /api/, and changes things only through them. The rest it asks of a [Broker].
// Pages are complete without JavaScript; a script of a few lines shows them anew every few seconds.
// What clients choose, such as keys and the names of groups, is escaped by html/template, and
// nothing is fetched from elsewhere, by a Content-Security-Policy.
//
// A page is made within [patience], with a sentence in place of a part that fails. It has no
// goroutines. Its only state are the outcomes of the last changes, until they are shown.
package console

import (
	"bytes"
	"context"
	"embed"
	"errors"
	"html/template"
	"io/fs"
	"log/slog"
	"net/http"
	"net/url"
	"path"
	"strings"
	"time"

	"github.com/morrowmq/morrow/broker/alarms"
	"github.com/morrowmq/morrow/broker/inflight"
	"github.com/morrowmq/morrow/broker/remote"
	"github.com/morrowmq/morrow/broker/rest"
	"github.com/morrowmq/morrow/broker/schedules"
)

// Root is where the console is.
const Root = "/console/"

// Schedules is what is pending: [schedules.API].
type Schedules interface {
	Topics() schedules.Topics
	List(ctx context.Context, topic string, q url.Values) (schedules.Page, error)
	Timeline(topic string, q url.Values) (schedules.Timeline, error)
	Sources(topic string, q url.Values) (schedules.Sources, error)
	Show(ctx context.Context, name schedules.Name) (schedules.Record, error)
	Cancel(ctx context.Context, name schedules.Name) (schedules.Cancelled, error)
	CancelMany(ctx context.Context, topic string, c schedules.CancelMany) (schedules.CancelledMany, error)
	Move(ctx context.Context, name schedules.Name, m schedules.Move) (schedules.Moved, error)
}

// Tier is what is in object storage: [remote.API].
type Tier interface {
	Status(topic string) (remote.Status, error)
	Segments(ctx context.Context, topic, partition string) (remote.Segments, error)
}

// Shares is what share groups have in flight: [inflight.API].
type Shares interface {
	List(group string) ([]inflight.Partition, error)
}

// Alarms are what a person should look at: [alarms.API].
type Alarms interface {
	List() []alarms.Alarm
}

// Config is what a Console shows. All fields are needed.
type Config struct {
	Broker    Broker
	Schedules Schedules
	Tier      Tier
	Shares    Shares
	Alarms    Alarms
	Now       func() time.Time
	Logger    *slog.Logger
}

// Console answers requests. It is safe for concurrent use.
type Console struct {
	Config
	outcomes outcomes
}

// New makes a console.
func New(c Config) *Console { return &Console{Config: c} }

// Routes are all routes.
func (c *Console) Routes() []rest.Route {
	const record = Root + "topics/{topic}/records/{partition}/{ticket}"
	return []rest.Route{
		{Method: http.MethodGet, Path: Root, Handler: c.overview},
		{Method: http.MethodGet, Path: Root + "topics/{topic}", Handler: c.topic},
		{Method: http.MethodGet, Path: Root + "topics/{topic}/cancel", Handler: c.together},
		{Method: http.MethodPost, Path: Root + "topics/{topic}/cancel", Handler: c.cancelTogether},
		{Method: http.MethodGet, Path: record, Handler: c.record},
		{Method: http.MethodPost, Path: record + "/cancel", Handler: c.cancel},
		{Method: http.MethodPost, Path: record + "/move", Handler: c.move},
		{Method: http.MethodGet, Path: Root + "groups", Handler: c.groups},
		{Method: http.MethodGet, Path: Root + "group", Handler: c.group},
		{Method: http.MethodGet, Path: Root + "tier", Handler: c.tier},
		{Method: http.MethodGet, Path: Root + "tier/{topic}", Handler: c.segments},
		{Method: http.MethodGet, Path: Root + "static/{file}", Handler: c.static},
	}
}

// Wanted reports whether who asks would rather have a page than text: a browser, not curl.
func Wanted(r *http.Request) bool { return strings.Contains(r.Header.Get("Accept"), "text/html") }

// patience bounds how long a page waits for what it shows.
const patience = 5 * time.Second

// why says why a part of a page cannot be had.
func why(err error) string {
	if errors.Is(err, context.DeadlineExceeded) {
		return "there was no answer within " + patience.String()
	}
	return err.Error()
}

//go:embed pages
var pages embed.FS

//go:embed static
var static embed.FS

// templates are the pages by name, each with the layout around it.
var templates = func() map[string]*template.Template {
	layout := template.Must(template.New("layout.html").Funcs(functions).ParseFS(pages, "pages/layout.html"))
	names, err := fs.Glob(pages, "pages/*.html")
	if err != nil {
		panic(err)
	}
	all := make(map[string]*template.Template)
	for _, name := range names {
		if base := path.Base(name); base != "layout.html" {
			all[strings.TrimSuffix(base, ".html")] = template.Must(template.Must(layout.Clone()).ParseFS(pages, name))
		}
	}
	return all
}()

// page is what the layout shows.
type page struct {
	Title string
	// Section is the entry of the navigation that the page belongs to.
	Section string
	// Live pages are shown anew by the script.
	Live    bool
	Version string
	Now     time.Time
	Outcome *outcome
	Body    any
}

// policy lets a page use only what comes from the broker itself.
const policy = "default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'; img-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"

// secure sets the headers of everything that is served.
func secure(h http.Header) {
	h.Set("Content-Security-Policy", policy)
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Referrer-Policy", "same-origin") // with no-referrer, a form would be sent with the origin null, and refused
}

// show writes a page. It is written when it is whole: a client never sees half of one.
func (c *Console) show(w http.ResponseWriter, r *http.Request, status int, name string, p page) {
	p.Version, p.Now = c.Broker.Version(), c.Now()
	p.Outcome = c.outcomes.find(r.URL.Query().Get(outcomeParameter))
	var text bytes.Buffer
	if err := templates[name].Execute(&text, p); err != nil {
		c.Logger.Error("a page of the console cannot be made", "page", name, "err", err)
		http.Error(w, "the page cannot be made: "+err.Error(), http.StatusInternalServerError)
		return
	}
	h := w.Header()
	secure(h)
	h.Set("Content-Type", "text/html; charset=utf-8")
	h.Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	_, _ = w.Write(text.Bytes()) // the client has gone
}

// refuse shows why there is no page.
func (c *Console) refuse(w http.ResponseWriter, r *http.Request, status int, message string) {
	c.show(w, r, status, "refused", page{Title: http.StatusText(status), Body: message})
}

// static serves the style sheet and the script. They change with the binary, and are asked for anew each time.
func (c *Console) static(w http.ResponseWriter, r *http.Request) {
	name := r.PathValue("file")
	if _, err := fs.Stat(static, "static/"+name); err != nil || name == "." {
		c.notFound(w, r)
		return
	}
	secure(w.Header())
	w.Header().Set("Cache-Control", "no-cache")
	http.ServeFileFS(w, r, static, "static/"+name)
}

func (c *Console) notFound(w http.ResponseWriter, r *http.Request) {
	c.refuse(w, r, http.StatusNotFound, "There is no page "+quoted(r.URL.Path)+".")
}
