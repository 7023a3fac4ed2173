package local

import (
	"encoding/json"
	"fmt"
	"strconv"

	bolt "go.etcd.io/bbolt"

	"github.com/morrowmq/morrow/cluster"
	"github.com/morrowmq/morrow/cluster/config"
)

// The records below are what values of the database hold, as JSON. Their shape
// is the format: see FORMAT.md.

type topicRecord struct {
	Name       string            `json:"name"`
	Partitions []partitionRecord `json:"partitions"`
	Config     config.Values     `json:"config,omitempty"`
	Internal   bool              `json:"internal,omitempty"`
	ScheduleOf cluster.TopicID   `json:"schedule_of,omitzero"`
	Schedule   cluster.TopicID   `json:"schedule,omitzero"`
}

type partitionRecord struct {
	Replicas       []int32 `json:"replicas"`
	ISR            []int32 `json:"isr"`
	Leader         int32   `json:"leader"`
	LeaderEpoch    int32   `json:"leader_epoch"`
	PartitionEpoch int32   `json:"partition_epoch"`
}

type deletionRecord struct {
	Name       string            `json:"name"`
	Partitions int32             `json:"partitions"`
	Deleted    int64             `json:"deleted_ms"`
	Left       []cluster.Cleanup `json:"left"`
}

type brokerRecord struct {
	Endpoints []endpointRecord `json:"endpoints"`
	Rack      string           `json:"rack,omitempty"`
}

type endpointRecord struct {
	Listener string `json:"listener"`
	Security string `json:"security"`
	Host     string `json:"host"`
	Port     int32  `json:"port"`
}

// putChange writes what a command changes.
func putChange(tx *bolt.Tx, c *cluster.Change) error {
	w := writer{tx: tx}
	for _, id := range c.Dropped {
		w.delete(bucketTopics, id[:])
	}
	for _, t := range c.Topics {
		w.put(bucketTopics, t.ID[:], recordOfTopic(t))
	}
	for _, d := range c.Deletions {
		w.put(bucketDeletions, d.ID[:], deletionRecord{Name: d.Name, Partitions: d.Partitions, Deleted: d.Deleted, Left: d.Left})
	}
	for _, id := range c.Cleaned {
		w.delete(bucketDeletions, id[:])
	}
	for _, b := range c.Brokers {
		w.put(bucketBrokers, keyOfBroker(b.ID), recordOfBroker(b))
	}
	if c.ClusterConfig != nil {
		w.putOverrides(bucketConfigs, keyAllBrokers, *c.ClusterConfig)
	}
	for id, overrides := range c.BrokerConfigs {
		w.putOverrides(bucketConfigs, keyOfBroker(id), overrides)
	}
	for group, overrides := range c.GroupConfigs {
		w.putOverrides(bucketGroups, []byte(group), overrides)
	}
	return w.err
}

// writer writes to a transaction until something fails.
type writer struct {
	tx  *bolt.Tx
	err error
}

func (w *writer) put(bucket, key []byte, record any) {
	if w.err != nil {
		return
	}
	value, err := json.Marshal(record)
	if err == nil {
		err = w.tx.Bucket(bucket).Put(key, value)
	}
	w.err = err
}

func (w *writer) putOverrides(bucket, key []byte, overrides config.Values) {
	if len(overrides) == 0 {
		w.delete(bucket, key)
		return
	}
	w.put(bucket, key, overrides)
}

func (w *writer) delete(bucket, key []byte) {
	if w.err == nil {
		w.err = w.tx.Bucket(bucket).Delete(key)
	}
}

// readAll reads everything as the change that makes it from nothing.
func readAll(tx *bolt.Tx) (cluster.Change, error) {
	c := cluster.Change{BrokerConfigs: map[int32]config.Values{}, GroupConfigs: map[string]config.Values{}}
	for _, b := range []struct {
		name []byte
		read func(c *cluster.Change, key, value []byte) error
	}{
		{bucketTopics, readTopic},
		{bucketDeletions, readDeletion},
		{bucketBrokers, readBroker},
		{bucketConfigs, readBrokerConfig},
		{bucketGroups, readGroupConfig},
	} {
		bucket := tx.Bucket(b.name)
		if bucket == nil {
			return c, fmt.Errorf("metadata: bucket %s is missing", b.name)
		}
		err := bucket.ForEach(func(key, value []byte) error {
			if err := b.read(&c, key, value); err != nil {
				return fmt.Errorf("metadata: bucket %s, key %x: %w", b.name, key, err)
			}
			return nil
		})
		if err != nil {
			return c, err
		}
	}
	return c, nil
}

func readTopic(c *cluster.Change, key, value []byte) error {
	var r topicRecord
	id, err := decodeWithID(key, value, &r)
	if err != nil {
		return err
	}
	t := &cluster.Topic{
		ID: id, Name: r.Name, Config: r.Config, Internal: r.Internal,
		ScheduleOf: r.ScheduleOf, Schedule: r.Schedule,
		Partitions: make([]cluster.Partition, len(r.Partitions)),
	}
	for i, p := range r.Partitions {
		t.Partitions[i] = cluster.Partition(p)
	}
	c.Topics = append(c.Topics, t)
	return nil
}

func recordOfTopic(t *cluster.Topic) topicRecord {
	r := topicRecord{
		Name: t.Name, Config: t.Config, Internal: t.Internal,
		ScheduleOf: t.ScheduleOf, Schedule: t.Schedule,
		Partitions: make([]partitionRecord, len(t.Partitions)),
	}
	for i, p := range t.Partitions {
		r.Partitions[i] = partitionRecord(p)
	}
	return r
}

func readDeletion(c *cluster.Change, key, value []byte) error {
	var r deletionRecord
	id, err := decodeWithID(key, value, &r)
	if err != nil {
		return err
	}
	c.Deletions = append(c.Deletions, &cluster.Deletion{ID: id, Name: r.Name, Partitions: r.Partitions, Deleted: r.Deleted, Left: r.Left})
	return nil
}

func decodeWithID(key, value []byte, record any) (id cluster.TopicID, err error) {
	if len(key) != len(id) {
		return id, fmt.Errorf("a topic id has %d bytes", len(id))
	}
	return cluster.TopicID(key), json.Unmarshal(value, record)
}

func recordOfBroker(b cluster.Broker) brokerRecord {
	r := brokerRecord{Rack: b.Rack, Endpoints: make([]endpointRecord, len(b.Endpoints))}
	for i, e := range b.Endpoints {
		r.Endpoints[i] = endpointRecord(e)
	}
	return r
}

func readBroker(c *cluster.Change, key, value []byte) error {
	id, err := brokerOfKey(key)
	if err != nil {
		return err
	}
	var r brokerRecord
	if err := json.Unmarshal(value, &r); err != nil {
		return err
	}
	b := cluster.Broker{ID: id, Rack: r.Rack, Endpoints: make([]cluster.Endpoint, len(r.Endpoints))}
	for i, e := range r.Endpoints {
		b.Endpoints[i] = cluster.Endpoint(e)
	}
	c.Brokers = append(c.Brokers, b)
	return nil
}

func readBrokerConfig(c *cluster.Change, key, value []byte) error {
	var overrides config.Values
	if err := json.Unmarshal(value, &overrides); err != nil {
		return err
	}
	if string(key) == string(keyAllBrokers) {
		c.ClusterConfig = &overrides
		return nil
	}
	id, err := brokerOfKey(key)
	c.BrokerConfigs[id] = overrides
	return err
}

func readGroupConfig(c *cluster.Change, key, value []byte) error {
	var overrides config.Values
	err := json.Unmarshal(value, &overrides)
	c.GroupConfigs[string(key)] = overrides
	return err
}

func keyOfBroker(id int32) []byte { return strconv.AppendInt(nil, int64(id), 10) }

func brokerOfKey(key []byte) (int32, error) {
	id, err := strconv.ParseInt(string(key), 10, 32)
	return int32(id), err
}
