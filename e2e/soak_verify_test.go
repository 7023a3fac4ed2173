package e2e

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
)

// What the soak test compares when all is quiet.

// tieredTopics are those that a restore brings back.
var tieredTopics = []string{historyTopic, randomTopic, retieredTopic, farTopic, toggledTopic, jobsTopic, deadTopic}

// awaitPending waits until so many records of a topic are pending.
func (s *soak) awaitPending(topic string, want int64) {
	s.t.Helper()
	ctx := deadline(s.t, 90*time.Second)
	for {
		sum := summary(ctx, s.b, topic)
		if sum.Partitions > 0 && sum.Loading == 0 && sum.Pending == want {
			return
		}
		if ctx.Err() != nil {
			s.t.Fatalf("%s: expected %d pending, got %+v", topic, want, sum)
		}
		time.Sleep(50 * time.Millisecond)
	}
}

// read reads a whole topic as a consumer of committed records does.
func (s *soak) read(topic string) (all []*kgo.Record) {
	s.t.Helper()
	ctx := deadline(s.t, 90*time.Second)
	ends, err := s.adm.ListCommittedOffsets(ctx, topic)
	if err != nil {
		s.t.Fatal(err)
	}
	starts, err := s.adm.ListStartOffsets(ctx, topic)
	if err != nil {
		s.t.Fatal(err)
	}
	left := map[int32]int64{}
	ends.Each(func(o kadm.ListedOffset) {
		if from, ok := starts.Lookup(topic, o.Partition); ok && from.Offset < o.Offset {
			left[o.Partition] = o.Offset
		}
	})
	cl := client(s.t, s.b, kgo.ConsumeTopics(topic), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()), isolation(true), kgo.KeepControlRecords(), kgo.FetchMaxWait(100*time.Millisecond))
	defer cl.Close()
	for len(left) > 0 {
		fetched := cl.PollFetches(ctx)
		if ctx.Err() != nil {
			s.t.Fatalf("%s: %d records read, not to %v", topic, len(all), left)
		}
		fetched.EachError(func(_ string, p int32, err error) { s.note(fmt.Sprintf("read %s-%d", topic, p), err) })
		fetched.EachRecord(func(r *kgo.Record) {
			if !r.Attrs.IsControl() {
				all = append(all, r)
			}
			if r.Offset+1 >= left[r.Partition] {
				delete(left, r.Partition)
			}
		})
	}
	return all
}

// entry is a pending record as the API lists it.
type entry struct {
	Partition int32
	Ticket    int64
	Due       int64 `json:"due_ms"`
}

// pending lists what is pending in a topic.
func (s *soak) pending(topic string) (all []entry) {
	s.t.Helper()
	ctx := deadline(s.t, time.Minute)
	for cursor := ""; ; {
		var page struct {
			Records []entry
			Next    string
		}
		if err := api(ctx, s.b, http.MethodGet, "/"+topic+"?limit=1000&cursor="+cursor, nil, &page); err != nil {
			s.t.Fatal(err)
		}
		all = append(all, page.Records...)
		if cursor = page.Next; cursor == "" {
			return all
		}
	}
}

// verifyFar holds what is pending against what producers were told.
func (s *soak) verifyFar(when string) {
	s.t.Helper()
	l := s.ledgerOf(farTopic)
	there := map[[2]int64]bool{}
	for _, e := range s.pending(farTopic) {
		at := [2]int64{int64(e.Partition), e.Ticket}
		if there[at] {
			s.t.Errorf("%s: ticket %d of partition %d is listed twice", when, e.Ticket, e.Partition)
		}
		there[at] = true
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	missing, back, waiting := 0, 0, 0
	for id, p := range l.promised {
		is := there[[2]int64{int64(p.partition), p.ticket}]
		switch {
		case p.fate == pending && !is:
			missing++
			s.t.Logf("%s: %s, ticket %d of partition %d, is not pending", when, id, p.ticket, p.partition)
		case p.fate == cancelled && is:
			back++
			s.t.Logf("%s: %s, ticket %d of partition %d, was cancelled and is pending", when, id, p.ticket, p.partition)
		case is:
			waiting++
		}
	}
	if missing+back > 0 {
		s.t.Errorf("%s: %d records are pending no more, %d are again", when, missing, back)
	}
	s.t.Logf("%s: %d of %d far records are pending", when, waiting, len(l.promised))
}

// settle waits until everything is in the bucket.
func (s *soak) settle() {
	s.t.Helper()
	ctx := s.t.Context()
	s.alter(ctx, farTopic, "retention.ms", "-1")
	topics := slices.Clone(tieredTopics)
	for _, topic := range tieredTopics {
		topics = append(topics, "__schedule."+topic)
	}
	awaitConfirmed(deadline(s.t, 90*time.Second), s.t, s.b, topics...)
}

// troubles are metrics that are zero when all is well.
var troubles = regexp.MustCompile("^morrow_(schedule_failing_partitions|tier_failing_partitions|tier_stopped_partitions|tier_damaged_segments|log_failures_total|request_panics_total)")

// verifyMetrics holds metrics against what is there: of topics that are gone nothing is. What was
// put right a moment ago may not be in them yet.
func (s *soak) verifyMetrics() {
	s.t.Helper()
	for end := time.Now().Add(patience * time.Minute); ; time.Sleep(200 * time.Millisecond) {
		problems := s.metricProblems()
		if len(problems) == 0 {
			return
		}
		if time.Now().After(end) {
			s.t.Errorf("in the metrics: %s", strings.Join(problems, "\n"))
			return
		}
	}
}

func (s *soak) metricProblems() (problems []string) {
	s.t.Helper()
	ctx := deadline(s.t, time.Minute)
	wrong := func(format string, args ...any) { problems = append(problems, fmt.Sprintf(format, args...)) }
	for _, topic := range append([]string{compactedTopic}, tieredTopics...) {
		listed := len(s.pending(topic))
		series := seriesOf(ctx, s.t, s.b, topic)
		for name, want := range map[string]int{
			"morrow_schedule_pending_records": listed, "morrow_schedule_overdue_records": 0, "morrow_schedule_undecided_records": 0,
			"morrow_schedule_stopped_sources": 0,
		} {
			if line := fmt.Sprintf("%s{topic=%q} %d", name, topic, want); !slices.Contains(series, line) {
				wrong("no series %s among %q", line, slices.DeleteFunc(slices.Clone(series), func(l string) bool { return !strings.HasPrefix(l, name) }))
			}
		}
	}
	for n := range 3 {
		if left := seriesOf(ctx, s.t, s.b, fmt.Sprintf("churn-%d", n)); len(left) > 0 {
			wrong("a deleted topic has series %q", left)
		}
	}
	if runs := summary(ctx, s.b, farTopic).Runs; runs == 0 {
		wrong("nothing that is far was moved to a run: the test is void")
	}
	remote := 0
	for _, line := range scrape(ctx, s.t, s.b) {
		name, value, _ := strings.Cut(line, " ")
		if n, err := strconv.Atoi(value); err == nil && strings.HasPrefix(name, "morrow_tier_remote_segments") {
			remote += n
		}
		switch {
		case strings.HasPrefix(name, "morrow_") && strings.HasPrefix(value, "-"):
			wrong("negative: %s", line)
		case troubles.MatchString(name) && value != "0":
			wrong("not well: %s", line)
		}
	}
	if remote < 20 {
		wrong("%d segments are in the tier: the test is void", remote)
	}
	return problems
}

// verifyDisk looks for files of topics that are gone, and for too many of those that are there.
func (s *soak) verifyDisk() {
	s.t.Helper()
	ctx := deadline(s.t, time.Minute)
	for {
		problems := s.diskProblems(ctx)
		if len(problems) == 0 {
			return
		}
		if ctx.Err() != nil {
			s.t.Errorf("on the disk: %s", strings.Join(problems, "\n"))
			return
		}
		time.Sleep(200 * time.Millisecond)
	}
}

func (s *soak) diskProblems(ctx context.Context) (problems []string) {
	topics, err := s.adm.ListTopicsWithInternal(context.WithoutCancel(ctx))
	if err != nil {
		return []string{err.Error()}
	}
	names := map[string]string{}
	for name, detail := range topics {
		names[fmt.Sprintf("%x", detail.ID[:])] = name
	}
	dirs, err := os.ReadDir(filepath.Join(s.b.DataDir(), "logs"))
	if err != nil {
		return []string{err.Error()}
	}
	for _, d := range dirs {
		id, _, _ := strings.Cut(d.Name(), "-")
		name := names[id]
		size := sizeOf(filepath.Join(s.b.DataDir(), "logs", d.Name()))
		switch {
		case !d.IsDir(): // what the directory is
		case d.Name() == "journal":
			if size > 10<<20 {
				problems = append(problems, fmt.Sprintf("the journal has %d bytes", size))
			}
		case name == "":
			problems = append(problems, fmt.Sprintf("%s, %d bytes, belongs to no topic", d.Name(), size))
		case slices.Contains(tieredTopics, strings.TrimPrefix(name, "__schedule.")) && size > 400_000:
			problems = append(problems, fmt.Sprintf("%s of %s has %d bytes", d.Name(), name, size))
		}
	}
	return problems
}

func sizeOf(dir string) (size int64) {
	_ = filepath.WalkDir(dir, func(_ string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			if info, err := d.Info(); err == nil {
				size += info.Size()
			}
		}
		return nil // files come and go
	})
	return size
}

// content is what a restore brings back: records by topic and place, and positions of groups.
type content struct {
	records map[string]string
	groups  map[string]int64
}

func (s *soak) contents() content {
	s.t.Helper()
	c := content{records: map[string]string{}, groups: map[string]int64{}}
	for _, topic := range tieredTopics {
		for _, r := range s.read(topic) {
			c.records[fmt.Sprintf("%s-%d@%d", topic, r.Partition, r.Offset)] = describeRecord(r)
		}
	}
	for _, group := range []string{"group", "of-t0", "of-t1"} {
		committed, err := s.adm.FetchOffsets(deadline(s.t, time.Minute), group)
		if err != nil {
			s.t.Fatal(err)
		}
		committed.Each(func(o kadm.OffsetResponse) { c.groups[fmt.Sprintf("%s of %s-%d", group, o.Topic, o.Partition)] = o.At })
	}
	return c
}

func (s *soak) compare(before content) {
	s.t.Helper()
	after := s.contents()
	var wrong []string
	for at, r := range before.records {
		if after.records[at] != r {
			wrong = append(wrong, fmt.Sprintf("%s is %.200q, was %.200q", at, after.records[at], r))
		}
	}
	for at, r := range after.records {
		if _, ok := before.records[at]; !ok {
			wrong = append(wrong, fmt.Sprintf("%s is %.200q, was not there", at, r))
		}
	}
	for group, at := range before.groups {
		if after.groups[group] != at {
			wrong = append(wrong, fmt.Sprintf("group %s is at %d, was at %d", group, after.groups[group], at))
		}
	}
	slices.Sort(wrong)
	for _, w := range wrong[:min(len(wrong), 20)] {
		s.t.Errorf("restored %s", w)
	}
	s.t.Logf("%d of %d records and positions are not the same after the restore", len(wrong), len(before.records)+len(before.groups))
}

// verifyFiles stops the broker, and checks what it has written with its own tools. Before that
// everything in the bucket is as old as a sweep wants it.
func (s *soak) verifyFiles() {
	s.t.Helper()
	old := time.Now().Add(-48 * time.Hour)
	err := filepath.WalkDir(s.store.dir, func(name string, _ fs.DirEntry, err error) error {
		if err == nil {
			err = os.Chtimes(name, old, old)
		}
		if errors.Is(err, fs.ErrNotExist) {
			err = nil
		}
		return err
	})
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Logf("sweep: %s", lastLine(s.morrow("tier", "sweep", "--delete", "--http", s.b.HTTP())))
	s.b.Stop()
	s.checkLogs()
	s.t.Logf("verify: %s", lastLine(s.morrow("tier", "verify", "--deep", "--url", s.store.url())))
}

// checkLogs looks for damage on the disk. Caches that were damaged and not needed since are none.
func (s *soak) checkLogs() {
	s.t.Helper()
	out, _ := exec.CommandContext(deadline(s.t, time.Minute), bin, "log", "check", "-o", "json", s.b.DataDir()).Output() // it fails if there is a problem
	var report struct {
		Total struct {
			Segments int
			Records  int64
		}
		Problems []struct {
			File, Problem string
			Cache         bool
		}
	}
	if err := json.Unmarshal(out, &report); err != nil {
		s.t.Fatalf("log check: %v: %.1000s", err, out)
	}
	for _, p := range report.Problems {
		if !p.Cache {
			s.t.Errorf("log check: %s: %s", p.File, p.Problem)
		}
	}
	s.t.Logf("log check: %d segments, %d records, %d problems", report.Total.Segments, report.Total.Records, len(report.Problems))
}

func lastLine(text string) string {
	text = strings.TrimSpace(text)
	return text[strings.LastIndexByte(text, '\n')+1:]
}

// restore loses the disk, and makes it anew from the bucket.
func (s *soak) restore() {
	s.t.Helper()
	if err := os.Rename(s.b.DataDir(), s.b.DataDir()+".lost"); err != nil {
		s.t.Fatal(err)
	}
	out := s.morrow("tier", "restore", "--data-dir", s.b.DataDir(), "--set", "tier.url="+s.store.url(), "--take-over")
	s.t.Logf("restore: %s", out)
	s.b.Restart()
}

// deliverFar moves some of the far records to the present, cancels the others, and waits for the deliveries.
func (s *soak) deliverFar() {
	s.t.Helper()
	ctx := deadline(s.t, 2*time.Minute)
	l := newLedger()
	far := s.ledgerOf(farTopic)
	far.mu.Lock()
	ids := map[[2]int64]string{}
	for id, p := range far.promised {
		ids[[2]int64{int64(p.partition), p.ticket}] = id
	}
	far.mu.Unlock()
	l.consume(s.t, s.b, farTopic)
	all := s.pending(farTopic)
	for _, e := range all[:min(len(all), 200)] {
		var moved struct {
			Ticket int64
			Due    int64 `json:"due_ms"`
		}
		path := "/" + farTopic + "/" + strconv.Itoa(int(e.Partition)) + "/" + strconv.FormatInt(e.Ticket, 10) + "/move"
		if err := api(ctx, s.b, http.MethodPost, path, map[string]int64{"delay_ms": e.Ticket % 1500}, &moved); err != nil {
			s.t.Fatalf("move %+v: %v", e, err)
		}
		id := ids[[2]int64{int64(e.Partition), e.Ticket}]
		if id == "" {
			continue // nobody was told its ticket
		}
		l.mu.Lock()
		l.promised[id] = &promise{due: moved.Due, partition: e.Partition, ticket: moved.Ticket}
		l.mu.Unlock()
	}
	for done := false; !done; {
		var answer struct {
			Done bool
		}
		if err := api(ctx, s.b, http.MethodPost, "/"+farTopic+"/cancel", map[string]any{"from_ms": time.Now().Add(10 * time.Minute).UnixMilli(), "limit": 1000}, &answer); err != nil {
			s.t.Fatal(err)
		}
		done = answer.Done
	}
	l.await(s.t, s.b, farTopic)
	s.t.Logf("far: %v delivered", l.verify(s.t))
}
