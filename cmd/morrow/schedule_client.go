package main

import (
	"context"
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
	fl.StringVar(&f.from, "from", "", "only what is due at or after this `time`: now, a duration from now, an RFC 3339 time, or milliseconds since 1970")
	fl.StringVar(&f.until, "until", "", "only what is due before this `time`")
	fl.StringVar(&f.prefix, "prefix", "", "only records whose morrow-key begins with this")
}

// parse is the filter that the flags say.
func (f *scheduleFilter) parse(now time.Time) (parsed schedules.Filter, err error) {
	if f.partition != anyPartition {
		parsed.Partition = &f.partition
	}
	parsed.KeyPrefix = f.prefix
	if parsed.FromMs, err = parseDue("from", f.from, now); err != nil {
		return parsed, err
	}
	parsed.UntilMs, err = parseDue("until", f.until, now)
	return parsed, err
}

// parseDue reads the value of a flag, nil if that is empty.
func parseDue(flag, s string, now time.Time) (*int64, error) {
	if s == "" {
		return nil, nil
	}
	ms, err := when.ParseAt(s, now)
	if err != nil {
		return nil, fmt.Errorf("invalid value %q for --%s: %w", s, flag, err)
	}
	return &ms, nil
}
