package e2e

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/morrowmq/morrow/internal/testnet"
)

// TestDelayMetricsDieWithTheirTopic is D4, D4b and D4e: what is pending in a deleted topic leaves
// no series, comes back under no topic of that name, and cancels that fail move no gauge.
func TestDelayMetricsDieWithTheirTopic(t *testing.T) {
	t.Parallel()
	const each = 1000
	var b *testnet.Broker
	var served map[string]bool
	ahead(t, 9*time.Second, func(due time.Time) (err error) {
		if b != nil {
			b.Stop()
		}
		b = start(t)
		served, err = deleteWhatIsPending(t, b, each, due)
		return err
	})

	ctx := deadline(t, time.Minute)
	if got := consume(t, b, "b", each); len(got) != each {
		t.Errorf("%d records of b were delivered", len(got))
	}
	named := guideNames(t)
	for end := time.Now().Add(patience * 10 * time.Second); !maps.Equal(named, served) && time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		maps.Copy(served, delayMetrics(ctx, t, b)) // some are there while something is pending, some once something was delivered
	}
	if !maps.Equal(named, served) {
		t.Errorf("docs/DELAY.md names %v, served are %v", slices.Sorted(maps.Keys(named)), slices.Sorted(maps.Keys(served)))
	}
	time.Sleep(500 * time.Millisecond)
	if s := seriesOf(ctx, t, b, "a"); len(s) > 0 {
		t.Errorf("after the due time topic a has %v", s)
	}
	for _, line := range scrape(ctx, t, b) {
		if strings.HasPrefix(line, "morrow_schedule") && strings.Contains(line, " -") {
			t.Errorf("negative: %s", line)
		}
	}
	adm := kadm.NewClient(client(t, b))
	topics, err := adm.ListTopics(ctx)
	if err != nil || topics.Has("a") {
		t.Errorf("topic a is back: %v", err)
	}
	ends, err := adm.ListEndOffsets(ctx, "anew")
	if err != nil {
		t.Fatal(err)
	}
	ends.Each(func(o kadm.ListedOffset) {
		if o.Offset != 0 {
			t.Errorf("partition %d of the new topic has got %d records", o.Partition, o.Offset)
		}
	})
}

// deleteWhatIsPending deletes the topics a and anew, and makes anew again, with so many records
// pending in each, and as many in b. It returns the names of the metrics served meanwhile.
func deleteWhatIsPending(t *testing.T, b *testnet.Broker, each int, due time.Time) (served map[string]bool, err error) {
	t.Helper()
	ctx := deadline(t, time.Minute)
	for _, topic := range []string{"a", "b", "anew"} {
		createTopic(t, b, topic, 2, nil)
		delay(ctx, t, b, topic, each, due)
	}
	err = errors.Join(awaitGauge(ctx, t, b, "a", each), awaitGauge(ctx, t, b, "b", each))
	var done struct{ Cancelled int }
	refused := api(ctx, b, http.MethodPost, "/a/cancel", map[string]any{"all": true, "limit": 100}, &done)
	if refused == nil && done.Cancelled != 100 {
		refused = fmt.Errorf("cancelled %d", done.Cancelled)
	}
	err = errors.Join(err, refused, awaitGauge(ctx, t, b, "a", each-100))
	// D4e: a ticket that was never given, and one that was cancelled already.
	for _, ticket := range []int{123_456, 0} {
		if answer := api(ctx, b, http.MethodDelete, fmt.Sprintf("/a/0/%d", ticket), nil, nil); !errors.Is(answer, errRefused) {
			t.Errorf("cancel of ticket %d: %v", ticket, answer)
		}
	}
	err = errors.Join(err, awaitGauge(ctx, t, b, "a", each-100))

	if _, err := kadm.NewClient(client(t, b)).DeleteTopics(ctx, "a", "anew"); err != nil {
		t.Fatal(err)
	}
	served = delayMetrics(ctx, t, b)
	awaitNoSeries(ctx, t, b, "a")
	createTopic(t, b, "anew", 2, nil)
	return served, errors.Join(err, awaitGauge(ctx, t, b, "anew", 0), awaitGauge(ctx, t, b, "b", each))
}

var delayMetric = regexp.MustCompile("morrow_(schedule|delay)_[a-z_]+")

// delayMetrics are the names of what is served about delays.
func delayMetrics(ctx context.Context, t *testing.T, b *testnet.Broker) map[string]bool {
	t.Helper()
	served := map[string]bool{}
	parts := strings.NewReplacer("seconds_bucket", "seconds", "seconds_sum", "seconds", "seconds_count", "seconds")
	for _, line := range scrape(ctx, t, b) {
		if name := delayMetric.FindString(line); name != "" && strings.HasPrefix(line, name) {
			served[parts.Replace(name)] = true
		}
	}
	return served
}

// guideNames are the names of metrics in the guide.
func guideNames(t *testing.T) map[string]bool {
	t.Helper()
	guide, err := os.ReadFile("../docs/DELAY.md")
	if err != nil {
		t.Fatal(err)
	}
	named := map[string]bool{}
	for _, name := range delayMetric.FindAllString(string(guide), -1) {
		named[name] = true
	}
	return named
}

// delay produces records that are due at a time.
func delay(ctx context.Context, t *testing.T, b *testnet.Broker, topic string, n int, due time.Time) {
	t.Helper()
	at := []kgo.RecordHeader{{Key: "morrow-deliver-at", Value: strconv.AppendInt(nil, due.UnixMilli(), 10)}}
	records := make([]*kgo.Record, n)
	for i := range records {
		records[i] = &kgo.Record{Topic: topic, Partition: int32(i % 2), Value: fmt.Appendf(nil, "%s-%d", topic, i), Headers: at}
	}
	if err := client(t, b, kgo.RecordPartitioner(kgo.ManualPartitioner())).ProduceSync(ctx, records...).FirstErr(); err != nil {
		t.Fatal(err)
	}
}

// wantGauge waits until a topic has so many records pending: a new one has no gauge before its
// schedule is loaded.
func wantGauge(ctx context.Context, t *testing.T, b *testnet.Broker, topic string, want int) {
	t.Helper()
	if err := awaitGauge(ctx, t, b, topic, want); err != nil {
		t.Error(err)
	}
}

func awaitGauge(ctx context.Context, t *testing.T, b *testnet.Broker, topic string, want int) error {
	t.Helper()
	line := fmt.Sprintf("morrow_schedule_pending_records{topic=%q} %d", topic, want)
	var series []string
	for end := time.Now().Add(patience * 20 * time.Second); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		if series = seriesOf(ctx, t, b, topic); slices.Contains(series, line) {
			return nil
		}
	}
	return fmt.Errorf("topic %s has %v, expected %s", topic, series, line)
}

// awaitNoSeries waits until a deleted topic has no series.
func awaitNoSeries(ctx context.Context, t *testing.T, b *testnet.Broker, topic string) {
	t.Helper()
	var series []string
	for end := time.Now().Add(patience * 20 * time.Second); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		if series = seriesOf(ctx, t, b, topic); len(series) == 0 {
			return
		}
	}
	t.Fatalf("after its deletion topic %s has %v", topic, series)
}

// seriesOf lists the series with a topic's name in any label.
func seriesOf(ctx context.Context, t *testing.T, b *testnet.Broker, topic string) (series []string) {
	t.Helper()
	for _, line := range scrape(ctx, t, b) {
		if strings.Contains(line, `="`+topic+`"`) || strings.Contains(line, `="__schedule.`+topic+`"`) {
			series = append(series, line)
		}
	}
	return series
}

// get asks a broker's HTTP address.
func get(ctx context.Context, t *testing.T, b *testnet.Broker, path string) []byte {
	t.Helper()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+b.HTTP()+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != http.StatusOK {
		t.Fatalf("%s: %s: %v", path, resp.Status, err)
	}
	return body
}

// scrape reads all series.
func scrape(ctx context.Context, t *testing.T, b *testnet.Broker) []string {
	t.Helper()
	var lines []string
	for line := range strings.Lines(string(get(ctx, t, b, "/metrics"))) {
		if !strings.HasPrefix(line, "#") {
			lines = append(lines, strings.TrimSpace(line))
		}
	}
	return lines
}
