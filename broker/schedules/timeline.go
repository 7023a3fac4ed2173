package schedules

import (
	"math"
	"net/url"
	"time"

	"github.com/morrowmq/morrow/broker/partition"
	"github.com/morrowmq/morrow/broker/rest"
	"github.com/morrowmq/morrow/delay"
)

const maxBuckets = 1000

// Timeline counts what is pending by when it is due, by the parameters of the route. Without an
// end, it ends behind the last record.
func (a *API) Timeline(topic string, q url.Values) (answer Timeline, err error) {
	n, err := intParameter(q, "buckets", 24, maxBuckets)
	if err != nil {
		return answer, err
	}
	now := a.now().UnixMilli()
	from, err := timeParameter(q, "from", now)
	if err != nil {
		return answer, err
	}
	until, err := timeParameter(q, "until", math.MinInt64)
	if err != nil {
		return answer, err
	}
	if from < 0 || from >= delay.LastDue {
		return answer, rest.BadRequest("the timeline would begin at %d, expected a time from 0 and before %d", from, int64(delay.LastDue))
	}
	parts, err := a.topic(topic, q)
	if err != nil {
		return answer, err
	}
	toEnd := until == math.MinInt64
	if toEnd {
		if until, err = behindLast(parts, from); err != nil {
			return answer, err
		}
	}
	if from >= until || until > delay.LastDue {
		return answer, rest.BadRequest("the timeline would go from %d until %d, expected times in this order, at most %d", from, until, int64(delay.LastDue))
	}
	width := bucketWidth(from, until, n)
	if toEnd && n > 1 {
		until = min(after(until-1, width), delay.LastDue)
	}
	bounds := split(from, until, width)
	counts, err := count(parts, append(append([]int64{math.MinInt64 + 1}, bounds...), math.MaxInt64))
	if err != nil {
		return answer, err
	}
	answer = Timeline{Topic: topic, NowMs: now, Before: counts[0], After: counts[len(counts)-1]}
	for i, c := range counts[1 : len(counts)-1] {
		answer.Buckets = append(answer.Buckets, Bucket{bounds[i], bounds[i+1], c})
	}
	return answer, nil
}

// widths are those of buckets that people count in, in milliseconds. The last, and its multiples by
// ten, are for what is centuries away.
var widths = []int64{
	1, 2, 5, 10, 20, 50, 100, 200, 500,
	second, 2 * second, 5 * second, 10 * second, 15 * second, 30 * second,
	minute, 2 * minute, 5 * minute, 10 * minute, 15 * minute, 30 * minute,
	hour, 2 * hour, 3 * hour, 6 * hour, 12 * hour,
	day, 2 * day, 7 * day, 14 * day, 28 * day, 91 * day, 182 * day, 364 * day, 3640 * day,
}

const (
	second = 1000
	minute = 60 * second
	hour   = 60 * minute
	day    = 24 * hour
)

// bucketWidth is the smallest width for which a range has at most n buckets that begin at multiples
// of it, but for the first. For a single one it is the whole range.
func bucketWidth(from, until int64, n int) int64 {
	for i, width := 0, int64(0); n > 1; i++ {
		if i < len(widths) {
			width = widths[i]
		} else {
			width *= 10
		}
		if (until-1)/width-from/width < int64(n) {
			return width
		}
	}
	return until
}

// after is the first multiple of a width after a time.
func after(at, width int64) int64 { return (at/width + 1) * width }

// split returns the bounds of buckets from one multiple of a width to the next. The first and the
// last may be narrower.
func split(from, until, width int64) []int64 {
	bounds := []int64{from}
	for at := after(from, width); at < until; at += width {
		bounds = append(bounds, at)
	}
	return append(bounds, until)
}

// endBuckets is how finely the end is looked for.
const endBuckets = 100

// behindLast finds a time after from, which is before delay.LastDue, and a little behind the last
// due time: to within a few hundredths of the distance.
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
	low, high := bounds[last], bounds[last+1]
	bounds = split(low, high, bucketWidth(low, high, endBuckets))
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
