package alarms

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/morrowmq/morrow/broker/partition"
	"github.com/morrowmq/morrow/broker/remote"
	"github.com/morrowmq/morrow/broker/share"
	"github.com/morrowmq/morrow/cluster"
)

var noon = time.Date(2026, 11, 27, 12, 0, 0, 0, time.UTC)

// expect compares alarms with what they should say.
func expect(t *testing.T, what string, got []Alarm, want ...Alarm) {
	t.Helper()
	if fmt.Sprintf("%+v", got) != fmt.Sprintf("%+v", want) {
		t.Errorf("%s:\n%+v\nexpected\n%+v", what, got, want)
	}
}

func TestStepOfTheClockIsAnAlarmForADay(t *testing.T) {
	at := noon.Add(-clockMemory)
	expect(t, "after a day", clockStep(at, -1500*time.Millisecond, noon),
		Alarm{Name: "clock_stepped", Subject: "clock", Text: "the wall clock jumped by -1.5s at 2026-11-26T12:00:00.000Z; delayed records are due by the new time"})
	expect(t, "later", clockStep(at, time.Second, noon.Add(1)))
	expect(t, "without a step", clockStep(time.Time{}, 0, noon))
}

// work is a partition's work in the background as a test wants it.
type work struct {
	spills, merges int64
	compaction     *partition.Compaction
}

func (w work) Setbacks() (spills, merges int64) { return w.spills, w.merges }

func (w work) Compaction() (c partition.Compaction, ok bool) {
	if w.compaction == nil {
		return c, false
	}
	return *w.compaction, true
}

func TestFailingWorkInTheBackgroundIsAnAlarm(t *testing.T) {
	alarm := func(name, text string) Alarm {
		return Alarm{Name: name, Subject: "orders-3", Text: text, Topic: "orders"}
	}
	const goesOn = " in a row; it is tried again, and the broker's log says why"
	for what, c := range map[string]struct {
		work work
		want []Alarm
	}{
		"all is well":            {work{compaction: &partition.Compaction{DirtyRatio: 1}}, nil},
		"spills and merges fail": {work{spills: 1, merges: 2}, []Alarm{alarm("spill_failing", "the last spill failed, 1 time"+goesOn), alarm("merge_failing", "the last merge or deletion of runs failed, 2 times"+goesOn)}},
		"not cleaned once":       {work{compaction: &partition.Compaction{Failures: 1}}, nil},
		"not cleaned twice":      {work{compaction: &partition.Compaction{Failures: 2}}, []Alarm{alarm("compaction_failing", "the last compaction failed, 2 times"+goesOn)}},
		"not cleaned any more": {
			work{compaction: &partition.Compaction{Failures: 2, Uncleanable: errors.New("bad batch at 7")}},
			[]Alarm{alarm("compaction_stopped", "it is not compacted any more, and grows: bad batch at 7; a restart tries again")},
		},
	} {
		expect(t, what, troubles("orders-3", "orders", c.work), c.want...)
	}
}

// with is the image after a command.
func with(t *testing.T, img *cluster.Image, c cluster.Command) *cluster.Image {
	t.Helper()
	change, err := cluster.Decide(img, c, noon, cluster.NewTopicID)
	if err != nil {
		t.Fatal(err)
	}
	return img.With(change)
}

func TestGroupThatCannotGiveUpRecordsIsAnAlarm(t *testing.T) {
	img := cluster.NewImage("c", 1, nil)
	stuck := share.Status{Key: share.Key{Group: "work ers", Topic: cluster.NewTopicID(), Partition: 2}, Stuck: errors.New("no such topic")}
	expect(t, "of a topic that is gone", deadLetters([]share.Status{stuck}, img))
	img = with(t, img, cluster.RegisterBroker{Broker: cluster.Broker{ID: 1}})
	img = with(t, img, cluster.CreateTopics{Topics: []cluster.NewTopic{{Name: "jobs", Partitions: 3, ReplicationFactor: 1}}})
	jobs, _ := img.Topic("jobs")
	stuck.Topic = jobs.ID
	expect(t, "of a topic", deadLetters([]share.Status{stuck, {Key: stuck.Key}}, img),
		Alarm{"dead_letter_failing", "jobs-2", `group "work ers" cannot write to its dead-letter topic: no such topic`, "jobs", "work ers"})
}

func TestTierThatDoesNotWorkIsAnAlarm(t *testing.T) {
	left := int64(7_200_000)
	full := Alarm{Name: "tier_disk_full", Subject: "disk", Text: "full in 2h00m if the store stays away"}
	expect(t, "a store that works and has something to do", ofTier(remote.Status{Usable: true, DiskFullInMs: &left}))
	expect(t, "a stopped partition", ofTier(remote.Status{Usable: true, DiskFullInMs: &left, Alarms: []remote.Alarm{{Name: "partition_stopped", Subject: "orders-1", Text: "the manifest was rolled back"}}}),
		Alarm{Name: "tier_partition_stopped", Subject: "orders-1", Text: "the manifest was rolled back"}, full)
	expect(t, "a store that is not in use", ofTier(remote.Status{Bucket: "s3://b", Error: "access denied"}),
		Alarm{Name: "tier_store_unusable", Subject: "s3://b", Text: "the store is not in use: access denied"})
}
