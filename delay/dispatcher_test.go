package delay

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/morrowmq/morrow/log/record"
)

func testRules(t testing.TB, change func(*RulesConfig)) *Rules {
	t.Helper()
	c := RulesConfig{Enable: true, Dialects: []string{"morrow"}, MaxMs: DefaultMaxMs, MaxPending: -1, Levels: DefaultLevels, MaxMessageBytes: 1 << 20}
	if change != nil {
		change(&c)
	}
	r, err := ParseRules(c)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// batchOf builds a producer's batch.
func batchOf(codec record.Codec, now time.Time, records ...record.Record) record.Batch {
	var w record.Builder
	w.Reset(record.Attributes(0).WithCodec(codec), now.UnixMilli())
	for i, r := range records {
		w.Add(int32(i), now.UnixMilli(), r.Key, r.Value, r.Headers...)
	}
	b, err := w.Finish()
	if err != nil {
		panic(err)
	}
	return b
}

func with(value string, headers ...string) record.Record {
	r := record.Record{Key: []byte("k"), Value: []byte(value)}
	for i := 0; i < len(headers); i += 2 {
		r.Headers = append(r.Headers, record.Header{Key: headers[i], Value: []byte(headers[i+1])})
	}
	return r
}

// dispatching runs a dispatcher for the duration of a synctest bubble's test.
func dispatching(t *testing.T, c DispatcherConfig) *Dispatcher {
	d := NewDispatcher(c)
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = d.Run(ctx)
	}()
	t.Cleanup(func() {
		cancel()
		<-ended
	})
	return d
}

func TestDelayedRecordIsDeliveredWhenDueAndNotBefore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPartition(testRules(t, nil))
		line := dispatching(t, DispatcherConfig{}).Attach("orders-0", p.schedule, p)
		defer line.Detach()
		if _, err := p.produce(batchOf(record.None, time.Now(), with("hello", HeaderDelay, "3s", "user", "x"))); err != nil {
			t.Fatal(err)
		}
		time.Sleep(3*time.Second - time.Millisecond)
		synctest.Wait()
		if got := p.visible(); len(got) != 0 {
			t.Fatalf("delivered early: %v", got)
		}
		time.Sleep(2 * time.Millisecond)
		synctest.Wait()
		got := p.visible()
		if len(got) != 1 || string(got[0].Value) != "hello" || string(got[0].Key) != "k" {
			t.Fatalf("delivered %v, want hello", got)
		}
		if h := got[0].Headers; len(h) != 4 || h[0].Key != "user" || h[1].Key != HeaderTicket || string(h[1].Value) != "0" {
			t.Fatalf("headers %v", h)
		}
	})
}
