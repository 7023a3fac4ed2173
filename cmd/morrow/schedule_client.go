package main

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"github.com/morrowmq/morrow/broker/schedules"
	"github.com/morrowmq/morrow/internal/when"
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
	ms, err := when.ParseTime(s)
	if err == nil {
		return &ms, nil
	}
	d, err := when.ParseSpan(s)
	if err != nil {
		return nil, errors.New("must be an RFC 3339 time, epoch milliseconds or a duration like 90s or 2d")
	}
	ms = now.Add(d).UnixMilli()
	return &ms, nil
}
