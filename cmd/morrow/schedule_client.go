package main

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/morrowmq/morrow/broker/schedules"
)

// scheduleClient is what the commands share: how to ask, and how to print.
type scheduleClient struct {
	apiClient
	output string
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

// anyPartition is the default of --partition. The broker refuses other numbers that no partition has.
const anyPartition = -1

// scheduleFilter selects pending records.
type scheduleFilter struct {
	partition           int32
	from, until, prefix string
}

func (f *scheduleFilter) addTo(cmd *cobra.Command) {
	fl := cmd.Flags()
	fl.Int32VarP(&f.partition, "partition", "p", anyPartition, "only this partition")
	fl.StringVar(&f.from, "from", "", "only what is due at or after this: an RFC 3339 time, epoch milliseconds, or a duration from now")
	fl.StringVar(&f.until, "until", "", "only what is due before this")
	fl.StringVar(&f.prefix, "prefix", "", "only records whose morrow-key begins with this")
}

func (f *scheduleFilter) query(now time.Time) (url.Values, error) {
	q := url.Values{}
	if f.partition != anyPartition {
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
	case d < time.Second-time.Millisecond/2:
		return d.Round(time.Millisecond).String()
	case d < time.Minute-50*time.Millisecond:
		return d.Round(100 * time.Millisecond).String()
	case d < time.Hour-time.Second/2:
		return d.Round(time.Second).String()
	case d < day-time.Minute/2:
		d = d.Round(time.Minute)
		return fmt.Sprintf("%dh%02dm", d/time.Hour, d%time.Hour/time.Minute)
	default:
		d = d.Round(time.Hour)
		return fmt.Sprintf("%dd%02dh", d/day, d%day/time.Hour)
	}
}
