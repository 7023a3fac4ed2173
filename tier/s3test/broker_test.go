package s3test

import (
	"context"
	"fmt"
	"hash/crc32"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/morrowmq/morrow/internal/testnet"
	"github.com/morrowmq/morrow/internal/vfs"
	"github.com/morrowmq/morrow/tier"
	"github.com/morrowmq/morrow/tier/bucket"
	"github.com/morrowmq/morrow/tier/proxytest"
)

// binary builds the broker once.
var binary = sync.OnceValues(func() (string, error) {
	if bin := os.Getenv("MORROW_BIN"); bin != "" {
		return bin, nil
	}
	dir, err := os.MkdirTemp("", "s3test-bin")
	if err != nil {
		return "", err
	}
	cleanup = append(cleanup, func() { os.RemoveAll(dir) })
	bin := filepath.Join(dir, "morrow")
	build := exec.Command("go", "build", "-o", bin, "./cmd/morrow")
	build.Dir = root
	if out, err := build.CombinedOutput(); err != nil {
		return "", fmt.Errorf("build the broker: %w\n%s", err, out)
	}
	return bin, nil
})

// installation is a broker process whose bucket is behind a proxy.
type installation struct {
	*testing.T
	*testnet.Broker
	proxy  *proxytest.Proxy
	bucket *bucket.S3 // without the proxy
	prefix string     // of the bucket
	config string
	client *kgo.Client
	admin  *kadm.Client

	mu  sync.Mutex // guards ids
	ids map[string]string
}

// install starts a broker, with more lines of configuration.
func install(t *testing.T, configs ...string) *installation {
	t.Helper()
	return installParts(t, 64<<20, configs...)
}

// installParts starts a broker that sends what is larger than partSize in parts.
func installParts(t *testing.T, partSize int, configs ...string) *installation {
	t.Helper()
	bin, err := binary()
	if err != nil {
		t.Fatal(err)
	}
	addr := startGateway(t)
	i := &installation{T: t, proxy: startProxy(t, addr), prefix: tier.NewToken().String(), ids: map[string]string{}}
	open := func(addr string) string {
		return fmt.Sprintf("s3://%s/%s?endpoint=http://%s&part_size=%d", bucketName, i.prefix, addr, partSize)
	}
	b, err := bucket.Open(t.Context(), open(addr), vfs.OS{})
	if err != nil {
		t.Fatal(err)
	}
	i.bucket = b.(*bucket.S3)
	lines := append([]string{
		"tier.url: " + open(strings.TrimPrefix(i.proxy.URL, "http://")),
		"log.retention.check.interval.ms: 300",
	}, configs...)
	i.config = filepath.Join(t.TempDir(), "morrow.yaml")
	if err := os.WriteFile(i.config, []byte(strings.Join(lines, "\n")+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	i.Broker = testnet.Start(t, bin, "--config", i.config)
	i.client = i.connect()
	i.admin = kadm.NewClient(i.client)
	return i
}

// connect makes a client, which is closed when the test ends.
func (i *installation) connect(opts ...kgo.Opt) *kgo.Client {
	i.Helper()
	c, err := kgo.NewClient(append([]kgo.Opt{
		kgo.SeedBrokers(i.Addr()), kgo.Dialer(testnet.Dial), kgo.RecordPartitioner(kgo.ManualPartitioner()),
		kgo.ProducerBatchCompression(kgo.NoCompression()), kgo.MetadataMinAge(50 * time.Millisecond), kgo.FetchMaxWait(200 * time.Millisecond),
	}, opts...)...)
	if err != nil {
		i.Fatal(err)
	}
	i.Cleanup(c.Close)
	return c
}

// patience is how many times as long as it should a slow machine may take.
const patience = 3

// within is a context that ends with the test, or after d, or several d on a slow machine.
func (i *installation) within(d time.Duration) context.Context {
	ctx, cancel := context.WithTimeout(i.Context(), patience*d)
	i.Cleanup(cancel)
	return ctx
}

// create makes a tiered topic with one partition; configs are name, value, name, value.
func (i *installation) create(topic string, configs ...string) {
	i.Helper()
	yes := "true"
	set := map[string]*string{"remote.storage.enable": &yes}
	for n := 0; n < len(configs); n += 2 {
		set[configs[n]] = &configs[n+1]
	}
	made, err := i.admin.CreateTopic(i.within(30*time.Second), 1, 1, set, topic)
	if err != nil {
		i.Fatalf("create %s: %v", topic, err)
	}
	i.mu.Lock()
	defer i.mu.Unlock()
	i.ids[topic] = fmt.Sprintf("%x", made.ID[:])
}

// id is the id of a topic, as it is written in keys and directories.
func (i *installation) id(topic string) string {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.ids[topic]
}

// lookUp learns the id of a topic that the broker made.
func (i *installation) lookUp(topic string) string {
	i.Helper()
	found, err := i.admin.ListTopicsWithInternal(i.within(30*time.Second), topic)
	if err != nil || found[topic].Err != nil {
		i.Fatalf("topic %s: %v, %v", topic, err, found[topic].Err)
	}
	i.mu.Lock()
	defer i.mu.Unlock()
	id := found[topic].ID
	i.ids[topic] = fmt.Sprintf("%x", id[:])
	return i.ids[topic]
}

// manifest is what the bucket has of a topic, nil if nothing can be said.
func (i *installation) manifest(topic string) *tier.Manifest {
	id, err := tier.ParseTopicID(i.id(topic))
	if err != nil {
		i.Fatal(err)
	}
	m, err := tier.ReadManifest(context.WithoutCancel(i.Context()), i.bucket, i.cluster(), id, 0)
	if err != nil {
		return nil
	}
	return m
}

// cluster is the broker's cluster id.
func (i *installation) cluster() string {
	name := ""
	_ = i.bucket.List(context.WithoutCancel(i.Context()), "", func(o bucket.Object) error {
		name, _, _ = strings.Cut(o.Key, "/")
		return nil
	})
	return name
}

// localStart is the base of the first local segment of a topic.
func (i *installation) localStart(topic string) int64 {
	segments, err := filepath.Glob(filepath.Join(i.DataDir(), "logs", i.id(topic)+"-0", "*.log"))
	if err != nil || len(segments) == 0 {
		return 0
	}
	base, _ := strconv.ParseInt(strings.TrimSuffix(filepath.Base(segments[0]), ".log"), 10, 64)
	return base
}

// metric adds up the series of a family that carry a label.
func (i *installation) metric(family, label string) (sum float64, ok bool) {
	r, err := http.Get("http://" + i.HTTP() + "/metrics")
	if err != nil {
		return 0, false
	}
	defer r.Body.Close()
	text, err := io.ReadAll(r.Body)
	if err != nil {
		return 0, false
	}
	series := regexp.MustCompile(`(?m)^` + family + `(?:\{([^}]*)\})? (\S+)$`)
	for _, m := range series.FindAllStringSubmatch(string(text), -1) {
		if strings.Contains(m[1], label) {
			v, err := strconv.ParseFloat(m[2], 64)
			if err == nil {
				sum, ok = sum+v, true
			}
		}
	}
	return sum, ok
}

// await polls until a condition holds.
func (i *installation) await(what string, d time.Duration, holds func() bool) {
	i.Helper()
	for end := time.Now().Add(patience * d); !holds(); time.Sleep(50 * time.Millisecond) {
		if time.Now().After(end) {
			i.Fatalf("not within %v: %s", patience*d, what)
		}
	}
}

// payload is 1 KiB that tells where it belongs, and that it is whole.
func payload(topic string, n int) []byte {
	b := fmt.Appendf(nil, "%s %d ", topic, n)
	for len(b) < 1016 {
		b = append(b, byte('a'+n%26))
	}
	return fmt.Appendf(b, "%08x", crc32.ChecksumIEEE(b))
}

// whole reports whether a value is a payload, and its number.
func whole(value []byte) (n int, ok bool) {
	if len(value) != 1024 {
		return 0, false
	}
	fields := strings.Fields(string(value[:1016]))
	n, err := strconv.Atoi(fields[1])
	return n, err == nil && string(value[1016:]) == fmt.Sprintf("%08x", crc32.ChecksumIEEE(value[:1016]))
}

// produce sends n payloads to a topic. All are acknowledged.
func (i *installation) produce(topic string, n int) { i.Helper(); i.produceFrom(topic, 0, n) }

// produceFrom writes the payloads from a number on, below end.
func (i *installation) produceFrom(topic string, from, end int) {
	i.Helper()
	ctx := i.within(2 * time.Minute)
	var wg sync.WaitGroup
	for k := from; k < end; k++ {
		wg.Add(1)
		i.client.Produce(ctx, &kgo.Record{Topic: topic, Value: payload(topic, k)}, func(_ *kgo.Record, err error) {
			defer wg.Done()
			if err != nil {
				i.Errorf("produce %d to %s: %v", k, topic, err)
			}
		})
	}
	wg.Wait()
}

// readAll consumes n payloads from offset 0: every offset once, each whole.
func (i *installation) readAll(topic string, n int) {
	i.Helper()
	c := i.connect(kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{topic: {0: kgo.NewOffset().At(0)}}))
	defer c.Close()
	ctx := i.within(2 * time.Minute)
	for next := 0; next < n; {
		fetches := c.PollFetches(ctx)
		if ctx.Err() != nil {
			i.Fatalf("%s: read %d of %d", topic, next, n)
		}
		fetches.EachRecord(func(r *kgo.Record) {
			if k, ok := whole(r.Value); !ok || k != next || r.Offset != int64(next) {
				i.Fatalf("%s: offset %d holds payload %d (whole: %v), expected %d", topic, r.Offset, k, ok, next)
			}
			next++
		})
	}
}

// alter sets configs of a topic.
func (i *installation) alter(topic string, configs ...string) {
	i.Helper()
	var set []kadm.AlterConfig
	for n := 0; n < len(configs); n += 2 {
		set = append(set, kadm.AlterConfig{Op: kadm.SetConfig, Name: configs[n], Value: &configs[n+1]})
	}
	done, err := i.admin.AlterTopicConfigs(i.within(30*time.Second), set, topic)
	if err != nil || done[0].Err != nil {
		i.Fatalf("alter %s: %v, %v", topic, err, done)
	}
}

// sweep has the broker delete orphans.
func (i *installation) sweep() {
	i.Helper()
	r, err := http.Post("http://"+i.HTTP()+"/api/v1/tier/sweep", "application/json", strings.NewReader(`{"delete":true}`))
	if err != nil {
		i.Fatal(err)
	}
	defer r.Body.Close()
	answer, err := io.ReadAll(r.Body)
	if err != nil || r.StatusCode != http.StatusOK {
		i.Fatalf("sweep: %s %s, %v", r.Status, answer, err)
	}
	i.Logf("swept: %.300s", answer)
}

// background does something again and again until the test ends.
func (i *installation) background(do func()) {
	var wg sync.WaitGroup
	wg.Go(func() {
		for i.Context().Err() == nil {
			do()
		}
	})
	i.Cleanup(wg.Wait)
}
