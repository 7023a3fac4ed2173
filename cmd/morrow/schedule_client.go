package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/morrowmq/morrow/broker/schedules"
)

// scheduleClient asks the API of a broker's HTTP address.
type scheduleClient struct {
	http    string
	output  string
	timeout time.Duration
}

// get asks for what the path names below /api/v1/schedules.
func (c *scheduleClient) get(ctx context.Context, answer any, q url.Values, path ...string) error {
	return c.do(ctx, http.MethodGet, answer, nil, q, path...)
}

// do sends a request with a JSON body, if that is not nil, and reads the answer. A refusal is a *schedules.Error.
func (c *scheduleClient) do(ctx context.Context, method string, answer, body any, q url.Values, path ...string) error {
	ctx, cancel := context.WithTimeout(ctx, c.timeout)
	defer cancel()
	var sent bytes.Buffer
	if body != nil {
		if err := json.NewEncoder(&sent).Encode(body); err != nil {
			return err
		}
	}
	u := url.URL{Scheme: "http", Host: c.http, RawQuery: q.Encode()}
	req, err := http.NewRequestWithContext(ctx, method, u.JoinPath(append([]string{"api/v1/schedules"}, escaped(path)...)...).String(), &sent)
	if err != nil {
		return err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return c.explain(err)
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(resp.Body)
	if err != nil {
		return fmt.Errorf("read the answer: %w", err)
	}
	if resp.StatusCode != http.StatusOK {
		refused := &schedules.Error{Status: resp.StatusCode}
		if err := json.Unmarshal(data, refused); err != nil || refused.Code == "" {
			refused.Message = fmt.Sprintf("%s answered %s", c.http, resp.Status)
		}
		return refused
	}
	return json.Unmarshal(data, answer)
}

// explain says in one line what is wrong between this program and the broker.
func (c *scheduleClient) explain(err error) error {
	var op *net.OpError
	var network net.Error
	switch {
	case errors.As(err, &network) && network.Timeout():
		return fmt.Errorf("no answer from %s within %s", c.http, c.timeout)
	case errors.As(err, &op) && op.Op == "dial":
		return unreachable(op)
	}
	return err
}

func escaped(path []string) []string {
	out := make([]string, len(path))
	for i, p := range path {
		out[i] = url.PathEscape(p)
	}
	return out
}

// pages lists up to limit pending records, all of them if it is 0, page by page.
func (c *scheduleClient) pages(ctx context.Context, topic string, q url.Values, limit int) (schedules.Page, error) {
	const most = 10_000
	all := schedules.Page{Topic: topic, Records: []schedules.Entry{}}
	for {
		n := most
		if limit > 0 {
			n = min(n, limit-len(all.Records))
		}
		q.Set("limit", strconv.Itoa(n))
		var page schedules.Page
		if err := c.get(ctx, &page, q, topic); err != nil {
			return all, err
		}
		all.Records = append(all.Records, page.Records...)
		all.Next = page.Next
		if page.Next == "" || limit > 0 && len(all.Records) >= limit {
			return all, nil
		}
		q.Set("cursor", page.Next)
	}
}

// scheduleFilter selects pending records.
type scheduleFilter struct {
	partition           int32
	from, until, prefix string
}

func (f *scheduleFilter) addTo(cmd *cobra.Command) {
	fl := cmd.Flags()
	fl.Int32VarP(&f.partition, "partition", "p", -1, "only this partition")
	fl.StringVar(&f.from, "from", "", "only what is due at or after this: an RFC 3339 time, epoch milliseconds, or a duration from now")
	fl.StringVar(&f.until, "until", "", "only what is due before this")
	fl.StringVar(&f.prefix, "prefix", "", "only records whose morrow-key begins with this")
}

func (f *scheduleFilter) query(now time.Time) (url.Values, error) {
	q := url.Values{}
	if f.partition >= 0 {
		q.Set("partition", strconv.Itoa(int(f.partition)))
	}
	if f.prefix != "" {
		q.Set("prefix", f.prefix)
	}
	for _, t := range []struct{ name, value string }{{"from", f.from}, {"until", f.until}} {
		ms, err := parseDue(t.value, now)
		if err != nil {
			return nil, fmt.Errorf("invalid value %q for --%s: %w", t.value, t.name, err)
		}
		if ms != nil {
			q.Set(t.name, strconv.FormatInt(*ms, 10))
		}
	}
	return q, nil
}

// parseDue reads a time, or a duration from now; nil if s is empty.
func parseDue(s string, now time.Time) (*int64, error) {
	if s == "" {
		return nil, nil
	}
	ms, err := parseTime(s)
	if err == nil {
		return &ms, nil
	}
	d, err := parseSpan(s)
	if err != nil {
		return nil, errors.New("must be an RFC 3339 time, epoch milliseconds or a duration like 90s or 2d")
	}
	ms = now.Add(d).UnixMilli()
	return &ms, nil
}

// parseSpan is time.ParseDuration that also knows whole days.
func parseSpan(s string) (time.Duration, error) {
	if days, rest, ok := strings.Cut(s, "d"); ok {
		if n, err := strconv.Atoi(days); err == nil && n >= 0 && n < 100_000 {
			whole := time.Duration(n) * 24 * time.Hour
			if rest == "" {
				return whole, nil
			}
			part, err := time.ParseDuration(rest)
			return whole + part, err
		}
	}
	return time.ParseDuration(s)
}

// timestamp shows a time in milliseconds since the epoch.
func timestamp(ms int64) string { return time.UnixMilli(ms).Format("2006-01-02T15:04:05.000Z07:00") }

// dueIn says how far away a time is.
func dueIn(ms int64, now time.Time) string {
	d := time.UnixMilli(ms).Sub(now)
	if d < 0 {
		return "overdue by " + span(-d)
	}
	return "in " + span(d)
}

// span is a duration to two units at most.
func span(d time.Duration) string {
	const day = 24 * time.Hour
	switch {
	case d < time.Second:
		return d.Round(time.Millisecond).String()
	case d < time.Minute:
		return d.Round(100 * time.Millisecond).String()
	case d < time.Hour:
		return d.Round(time.Second).String()
	case d < day:
		return fmt.Sprintf("%dh%02dm", d/time.Hour, d%time.Hour/time.Minute)
	default:
		return fmt.Sprintf("%dd%02dh", d/day, d%day/time.Hour)
	}
}
