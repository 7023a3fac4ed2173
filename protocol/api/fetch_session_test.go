package api

import (
	"errors"
	"flag"
	"fmt"
	"math"
	"os"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/morrowmq/morrow/cluster"
)

var update = flag.Bool("update", false, "write what scripts print into testdata")

// TestFetchSessions runs the histories of testdata/fetch_sessions.txt: paragraphs of commands, a
// line "----", and what they print. The commands are those of sessionScript.run.
func TestFetchSessions(t *testing.T) {
	const path = "testdata/fetch_sessions.txt"
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var printed []string
	for _, paragraph := range strings.Split(strings.TrimSpace(string(text)), "\n\n") {
		commands, _, runs := strings.Cut(paragraph+"\n", "----\n")
		if !runs {
			printed = append(printed, paragraph)
			continue
		}
		synctest.Test(t, func(t *testing.T) {
			s := &sessionScript{world: newWorld(t, with("max.incremental.fetch.session.cache.slots", "2")), sessions: map[string]*scriptSession{}}
			s.client = s.connect()
			var out strings.Builder
			for _, line := range strings.Split(strings.TrimSpace(commands), "\n") {
				if !strings.HasPrefix(line, "#") {
					out.WriteString(s.run(strings.Fields(line)))
				}
			}
			printed = append(printed, strings.TrimRight(commands+"----\n"+out.String(), "\n"))
		})
	}
	got := strings.Join(printed, "\n\n") + "\n"
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if got != string(text) {
		t.Errorf("%s prints something else; run with -update and read the diff. Now:\n%s", path, got)
	}
}

// sessionScript is a world with names for sessions.
type sessionScript struct {
	*world
	client   *client
	sessions map[string]*scriptSession
}

// scriptSession is a session as its client knows it.
type scriptSession struct{ id, epoch int32 }

// run runs one command and returns what it prints:
//
//	topic NAME PARTITIONS
//	delete NAME
//	produce TOPIC/PARTITION VALUE…
//	sleep DURATION
//	count                         the sessions kept
//	start NAME [closes=NAME] …    asks for a session that is called NAME from now on
//	next NAME [epoch=N] …         the next request of a session
//	once [closes=NAME] …          asks for none
//
// The requests go on with v=VERSION (12), forget=TOPIC/PARTITION, and places TOPIC/PARTITION@OFFSET.
func (s *sessionScript) run(words []string) string {
	s.Helper()
	switch words[0] {
	case "topic":
		n, _ := strconv.Atoi(words[2])
		s.create(words[1], int32(n))
	case "delete":
		t, _ := s.store.Image().Topic(words[1])
		if _, err := s.api.apply(s.Context(), cluster.DeleteTopics{IDs: []cluster.TopicID{t.ID}}); err != nil {
			s.Fatal(err)
		}
	case "produce":
		p := parsePlace(words[1] + "@0")
		req := producingTo(p.topic, batch(values(words[2:]...)...))
		req.Topics[0].Partitions[0].Partition = p.partition
		wantCode(s, words[1], ask[*kmsg.ProduceResponse](s.client, 9, req).Topics[0].Partitions[0].ErrorCode, nil)
	case "sleep":
		d, err := time.ParseDuration(words[1])
		if err != nil {
			s.Fatal(err)
		}
		time.Sleep(d)
	case "count":
		return fmt.Sprintln(s.api.FetchSessions())
	case "start":
		return s.fetch(words[1], initialEpoch, words[2:])
	case "next":
		return s.fetch(words[1], s.sessions[words[1]].epoch, words[2:])
	case "once":
		return s.fetch("", finalEpoch, words[1:])
	default:
		s.Fatalf("no command %q", words[0])
	}
	return ""
}

func parsePlace(word string) place {
	at, offset, _ := strings.Cut(word, "@")
	topic, partition, _ := strings.Cut(at, "/")
	n, _ := strconv.Atoi(partition)
	o, _ := strconv.ParseInt(offset, 10, 64)
	return place{topic, int32(n), o}
}

func (s *sessionScript) fetch(name string, epoch int32, words []string) string {
	var places []place
	var forgotten []place
	version, id := int16(12), sessionless
	if epoch > initialEpoch {
		id = s.sessions[name].id
	}
	for _, word := range words {
		option, value, isOption := strings.Cut(word, "=")
		n, _ := strconv.Atoi(value)
		switch {
		case !isOption:
			places = append(places, parsePlace(word))
		case option == "v":
			version = int16(n)
		case option == "epoch":
			epoch = int32(n)
		case option == "forget":
			forgotten = append(forgotten, parsePlace(value+"@0"))
		case option == "closes":
			id = s.sessions[value].id
		}
	}
	req := s.fetchOf(0, places...)
	req.SessionID, req.SessionEpoch = id, epoch
	for _, p := range forgotten {
		t, _ := s.store.Image().Topic(p.topic)
		ft := kmsg.NewFetchRequestForgottenTopic()
		ft.Topic, ft.TopicID, ft.Partitions = p.topic, t.ID, []int32{p.partition}
		req.ForgottenTopics = append(req.ForgottenTopics, ft)
	}
	resp := ask[*kmsg.FetchResponse](s.client, version, req)
	if resp.ErrorCode != 0 {
		return fmt.Sprintf("%s\n", codeName(resp.ErrorCode))
	}
	if epoch == initialEpoch && resp.SessionID != sessionless {
		s.sessions[name] = &scriptSession{id: resp.SessionID}
	}
	if kept := s.sessions[name]; kept != nil && epoch != finalEpoch {
		kept.epoch = epoch + 1
	}
	return s.print(resp)
}

func (s *sessionScript) print(resp *kmsg.FetchResponse) string {
	var out strings.Builder
	out.WriteString("no session")
	for name, kept := range s.sessions {
		if kept.id == resp.SessionID {
			out.Reset()
			out.WriteString("session " + name)
		}
	}
	for _, t := range resp.Topics {
		name := t.Topic
		if topic, ok := s.store.Image().TopicByID(t.TopicID); ok {
			name = topic.Name
		}
		for _, p := range t.Partitions {
			fmt.Fprintf(&out, ", %s/%d", name, p.Partition)
			if p.ErrorCode != 0 {
				fmt.Fprintf(&out, " %s", codeName(p.ErrorCode))
				continue
			}
			fmt.Fprintf(&out, " end %d", p.HighWatermark)
			for _, r := range fetched(s, p.RecordBatches) {
				out.WriteString(" " + r)
			}
		}
	}
	return out.String() + "\n"
}

func TestFetchSessionEpochWraps(t *testing.T) {
	if got := nextEpoch(math.MaxInt32); got != 1 {
		t.Errorf("after the last epoch comes %d, expected 1", got)
	}
}

func TestFetchSessionWithTwoRequestsAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.create("orders", 1)
		c := w.connect()
		req := w.fetchOf(0, place{"orders", 0, 0})
		req.SessionEpoch = initialEpoch
		id := ask[*kmsg.FetchResponse](c, 12, req).SessionID
		first, second := w.fetchOf(time.Second), w.fetchOf(time.Second)
		first.SessionID, first.SessionEpoch = id, 1
		second.SessionID, second.SessionEpoch = id, 2
		a := w.poll(first)
		b := w.poll(second) // overtakes
		resp, _ := a.answer()
		wantCode(t, "the one that was overtaken", resp.ErrorCode, kerr.InvalidFetchSessionEpoch)
		resp, _ = b.answer()
		wantCode(t, "the other", resp.ErrorCode, nil)
	})
}

// A client may name partitions that do not exist, in as many sessions as there are slots, and add
// to each without end.
func TestSessionsTogetherKeepBoundedPartitions(t *testing.T) {
	c := newFetchSessions(func() int { return 1000 }, time.Now)
	request := func(session, epoch int32, from, n int) *kmsg.FetchRequest {
		req := kmsg.NewPtrFetchRequest()
		req.Version, req.SessionID, req.SessionEpoch = 12, session, epoch
		topic := kmsg.NewFetchRequestTopic()
		topic.Topic, topic.Partitions = "nowhere", make([]kmsg.FetchRequestTopicPartition, n)
		for i := range topic.Partitions {
			topic.Partitions[i].Partition = int32(from + i)
		}
		req.Topics = append(req.Topics, topic)
		return req
	}
	open := func(n int) int32 {
		turn, err := c.begin(request(0, initialEpoch, 0, n))
		if err != nil {
			t.Fatal(err)
		}
		if err := turn.finish(); err != nil {
			t.Fatal(err)
		}
		return turn.id
	}
	const share = maxKeptParts * 2 / 5
	first, second := open(share), open(share)
	if first == sessionless || second == sessionless {
		t.Fatal("no session though there is room")
	}
	if id := open(share); id != sessionless {
		t.Errorf("session %d holds more than there is room for", id)
	}
	if _, err := c.begin(request(first, 1, share, share)); !errors.Is(err, kerr.FetchSessionIDNotFound) {
		t.Errorf("a session grew beyond what there is room for: %v", err)
	}
	if c.len() != 1 || c.parts.Load() != share {
		t.Errorf("%d sessions with %d partitions are left, expected one with %d", c.len(), c.parts.Load(), share)
	}
	if open(share) == sessionless {
		t.Error("the room of the closed session is not free")
	}
}
