package schedules

import (
	"math"
	"net/http"
	"time"

	"github.com/morrowmq/morrow/broker/partition"
	"github.com/morrowmq/morrow/broker/rest"
	"github.com/morrowmq/morrow/delay"
)

const maxBuckets = 1000

// timeline counts what is pending by when it is due. Without an end, it ends behind the last record.
func (a *API) timeline(r *http.Request) (any, error) {
	q := r.URL.Query()
	n, err := intParameter(q, "buckets", 24, maxBuckets)
	if err != nil {
		return nil, err
	}
	now := a.now().UnixMilli()
	from, err := timeParameter(q, "from", now)
	if err != nil {
		return nil, err
	}
	until, err := timeParameter(q, "until", math.MinInt64)
	if err != nil {
		return nil, err
	}
	if from < 0 || from >= delay.LastDue {
		return nil, rest.BadRequest("the timeline would begin at %d, expected a time from 0 and before %d", from, int64(delay.LastDue))
	}
	parts, err := a.topic(r)
	if err != nil {
		return nil, err
	}
	if until == math.MinInt64 {
		if until, err = behindLast(parts, from); err != nil {
			return nil, err
		}
	}
	if from >= until || until > delay.LastDue {
		return nil, rest.BadRequest("the timeline would go from %d until %d, expected times in this order, at most %d", from, until, int64(delay.LastDue))
	}
	bounds := split(from, until, n)
	counts, err := count(parts, append(append([]int64{math.MinInt64 + 1}, bounds...), math.MaxInt64))
	if err != nil {
		return nil, err
	}
	answer := Timeline{Topic: r.PathValue("topic"), NowMs: now, Before: counts[0], After: counts[len(counts)-1]}
	for i, c := range counts[1 : len(counts)-1] {
		answer.Buckets = append(answer.Buckets, Bucket{bounds[i], bounds[i+1], c})
	}
	return answer, nil
}

// split returns the bounds of at most n buckets of equal width; the last may be narrower.
func split(from, until int64, n int) []int64 {
	width := (until - from + int64(n) - 1) / int64(n)
	var bounds []int64
	for at := from; at < until; at += width {
		bounds = append(bounds, at)
	}
	return append(bounds, until)
}

// behindLast finds a time after from, which is before delay.LastDue, and a little behind the last due time: to within a hundredth of the
// distance.
func behindLast(parts []*partition.Partition, from int64) (int64, error) {
	bounds := []int64{from}
	for width := time.Minute.Milliseconds(); from+width < delay.LastDue; width *= 2 {
		bounds = append(bounds, from+width)
	}
	bounds = append(bounds, delay.LastDue)
	last, err := lastBucket(parts, bounds)
	if err != nil {
		return 0, err
	}
	bounds = split(bounds[last], bounds[last+1], 60)
	if last, err = lastBucket(parts, bounds); err != nil {
		return 0, err
	}
	return bounds[last+1], nil
}

// lastBucket is the last bucket that is not empty, 0 if all are.
func lastBucket(parts []*partition.Partition, bounds []int64) (last int, err error) {
	counts, err := count(parts, bounds)
	for i, c := range counts {
		if c > 0 {
			last = i
		}
	}
	return last, err
}

// count adds up the timelines of partitions.
func count(parts []*partition.Partition, bounds []int64) ([]int64, error) {
	sum := make([]int64, len(bounds)-1)
	for _, p := range parts {
		counts, err := p.CountScheduled(bounds)
		if err != nil {
			return nil, err
		}
		for i, c := range counts {
			sum[i] += c
		}
	}
	return sum, nil
}
