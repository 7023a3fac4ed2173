package bench

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"strconv"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
)

// Topic is a topic of a run.
type Topic struct {
	Name string

	brokers []string
	created bool // by us, so that we may delete it
}

// TopicName makes a name nobody else has.
func TopicName() string { return "morrow-bench-" + strconv.FormatUint(rand.Uint64(), 36) }

// OpenTopic creates a topic with one replica. One that exists is used as it is, and never deleted.
func OpenTopic(ctx context.Context, brokers []string, name string, partitions int32, configs map[string]*string) (*Topic, error) {
	t := &Topic{Name: name, brokers: brokers}
	err := t.withAdmin(func(adm *kadm.Client) error {
		_, err := adm.CreateTopic(ctx, partitions, 1, configs, name)
		if errors.Is(err, kerr.TopicAlreadyExists) {
			return nil
		}
		t.created = err == nil
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("create topic %s: %w", name, err)
	}
	return t, nil
}

// Created reports whether OpenTopic created it.
func (t *Topic) Created() bool { return t.created }

// Delete deletes the topic if OpenTopic created it.
func (t *Topic) Delete(ctx context.Context) error {
	if !t.created {
		return nil
	}
	err := t.withAdmin(func(adm *kadm.Client) error {
		_, err := adm.DeleteTopic(ctx, t.Name)
		return err
	})
	if err != nil {
		return fmt.Errorf("delete topic %s: %w", t.Name, err)
	}
	return nil
}

func (t *Topic) withAdmin(do func(*kadm.Client) error) error {
	cl, err := kgo.NewClient(kgo.SeedBrokers(t.brokers...), kgo.ClientID(clientID), kgo.RetryTimeout(patience))
	if err != nil {
		return err
	}
	defer cl.Close()
	return do(kadm.NewClient(cl))
}

// layout is where a topic's partitions are led.
type layout map[string][]int32 // broker's host:port → partitions

// findLayout waits until every partition of a topic has a leader: a new one may lack some for a moment.
func findLayout(ctx context.Context, brokers []string, topic string) (l layout, err error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	t := &Topic{Name: topic, brokers: brokers}
	err = t.withAdmin(func(adm *kadm.Client) error {
		for {
			l, err = layoutOf(ctx, adm, topic)
			if err == nil || !kerr.IsRetriable(err) {
				return err
			}
			select {
			case <-ctx.Done():
				return err
			case <-time.After(50 * time.Millisecond):
			}
		}
	})
	if err != nil {
		return nil, fmt.Errorf("find the leaders of topic %s: %w", topic, err)
	}
	return l, nil
}

func layoutOf(ctx context.Context, adm *kadm.Client, topic string) (layout, error) {
	md, err := adm.Metadata(ctx, topic)
	if err != nil {
		return nil, err
	}
	addrs := map[int32]string{}
	for _, b := range md.Brokers {
		addrs[b.NodeID] = net.JoinHostPort(b.Host, strconv.Itoa(int(b.Port)))
	}
	t := md.Topics[topic]
	if t.Err != nil {
		return nil, t.Err
	}
	l := layout{}
	for _, p := range t.Partitions.Sorted() {
		addr, ok := addrs[p.Leader]
		if p.Err != nil || !ok {
			return nil, errors.Join(p.Err, kerr.LeaderNotAvailable)
		}
		l[addr] = append(l[addr], p.Partition)
	}
	if len(l) == 0 {
		return nil, kerr.UnknownTopicOrPartition
	}
	return l, nil
}

// lane is what one connection works on: a broker and some of the partitions it leads.
type lane struct {
	addr       string
	partitions []int32
}

// lanes deals the partitions out to connections: every partition to one connection, or, if there
// are more connections, every connection to one partition.
func (l layout) lanes(connections int) []lane {
	total := 0
	for _, ps := range l {
		total += len(ps)
	}
	var lanes []lane
	for addr, ps := range l {
		n := max(1, connections*len(ps)/total)
		for i := range n {
			own := lane{addr: addr}
			for j := i; j < len(ps); j += n {
				own.partitions = append(own.partitions, ps[j])
			}
			if len(own.partitions) == 0 {
				own.partitions = []int32{ps[i%len(ps)]}
			}
			lanes = append(lanes, own)
		}
	}
	return lanes
}
