package console

import (
	"net/url"
	"strconv"

	"github.com/morrowmq/morrow/broker/schedules"
)

// The size of the timeline's drawing. The page scales it.
const (
	timelineWidth, timelineHeight = 960, 120
)

// timelinePart draws what is due when.
type timelinePart struct {
	Width, Height int
	Bars          []bar
	// From and Until are where the drawing begins and ends, ms; Middle lies between them.
	From, Middle, Until int64
	// Most is the count of the highest bar.
	Most int64
	// Overdue was due before the drawing begins, Later is due after its end.
	Overdue, Later int64
	Err            string
}

// bar is a bar of the drawing.
type bar struct {
	X, Y, Width, Height float64
	schedules.Bucket
}

// Empty says that there is nothing to draw.
func (t timelinePart) Empty() bool { return t.Most == 0 }

func (c *Console) timeline(topic string) timelinePart {
	line, err := c.Schedules.Timeline(topic, url.Values{"buckets": {strconv.Itoa(bars)}})
	if err != nil {
		return timelinePart{Err: err.Error()}
	}
	return draw(line)
}

// draw lays out a timeline. The highest bar is as high as the drawing; what is not empty can be seen.
func draw(line schedules.Timeline) timelinePart {
	t := timelinePart{Width: timelineWidth, Height: timelineHeight, Overdue: line.Before, Later: line.After}
	if len(line.Buckets) == 0 {
		return t
	}
	t.From, t.Until = line.Buckets[0].FromMs, line.Buckets[len(line.Buckets)-1].UntilMs
	t.Middle = t.From + (t.Until-t.From)/2
	for _, b := range line.Buckets {
		t.Most = max(t.Most, b.Count)
	}
	step := timelineWidth / float64(len(line.Buckets))
	for i, b := range line.Buckets {
		if b.Count == 0 {
			continue
		}
		height := max(2, timelineHeight*float64(b.Count)/float64(t.Most))
		t.Bars = append(t.Bars, bar{X: float64(i) * step, Y: timelineHeight - height, Width: step - min(2, step/4), Height: height, Bucket: b})
	}
	return t
}
