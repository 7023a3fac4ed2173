package api

import (
	"fmt"
	"net"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/morrowmq/morrow/cluster"
	"github.com/morrowmq/morrow/log/record"
)

// A second opinion on error codes: the same bad requests are sent to kfake, a broker written by
// those who write franz-go. Where the two differ, accepted says why.

// side is one of the two brokers.
type side struct {
	*client
	node   string
	topics map[string][16]byte // ids by name
}

// bad is a request that is not to be answered with success, or on the edge of it.
type bad struct {
	name    string
	version int16
	req     func(s *side) kmsg.Request
}

// accepted are the requests that the two answer differently, each with the reason. Kafka is the judge.
var accepted = map[string]string{
	"produce nothing":                          "INVALID_RECORD in Kafka; CORRUPT_MESSAGE would be tried again",
	"produce two batches":                      "INVALID_RECORD in Kafka; CORRUPT_MESSAGE would be tried again",
	"produce a torn batch":                     "INVALID_RECORD in Kafka, which does not see a batch; CORRUPT_MESSAGE would be tried again",
	"produce an old format":                    "INVALID_RECORD in Kafka; CORRUPT_MESSAGE would be tried again",
	"produce zstd in version 6":                "KIP-110; kfake does not look",
	"produce without key to a compacted topic": "as in Kafka; kfake does not look into batches",
	"metadata of a bad name":                   "as in Kafka; kfake does not check names",
	"metadata of an empty name":                "as in Kafka; kfake does not check names",
	"create a bad name":                        "as in Kafka; kfake does not check names",
	"create with no replicas":                  "as in Kafka; kfake takes 0 for the default",
	"create with an unknown config":            "as in Kafka; kfake keeps what it is given",
	"create with a bad config":                 "as in Kafka; kfake keeps what it is given",
	"create with a null config":                "as in Kafka; kfake keeps what it is given",
	"grow to as many":                          "as in Kafka; kfake lets it pass",
	"delete neither name nor id":               "INVALID_REQUEST in Kafka; kfake looks for the zero id",
	"delete records of a compacted topic":      "POLICY_VIOLATION in Kafka; kfake does not look at the policy",
	"describe loggers":                         "Kafka describes them; ours are an empty list",
	"alter an unknown config":                  "as in Kafka; kfake keeps what it is given",
	"alter to a bad value":                     "as in Kafka; kfake keeps what it is given",
	"alter twice":                              "as in Kafka; kfake takes the last",
	"alter to null":                            "as in Kafka; kfake deletes",
	"alter by appending to a number":           "INVALID_CONFIG in Kafka",
	"init with an id and no epoch":             "as in Kafka; kfake does not look",

	"elect where there is a leader":        "ELECTION_NOT_NEEDED in Kafka; kfake elects",
	"move to an unknown broker":            "as in Kafka; kfake lets it pass",
	"move to nowhere":                      "as in Kafka; kfake lets it pass",
	"raise an unknown feature":             "INVALID_UPDATE_VERSION since Kafka 3.3",
	"raise a feature too far":              "INVALID_UPDATE_VERSION since Kafka 3.3",
	"sync no group":                        "UNKNOWN_MEMBER_ID in Kafka, which makes the member join",
	"beat in no group":                     "UNKNOWN_MEMBER_ID in Kafka, which makes the member join",
	"beat in an empty group id":            "INVALID_GROUP_ID in Kafka",
	"leave no group":                       "UNKNOWN_MEMBER_ID of the member in Kafka",
	"commit as an unknown member":          "Kafka looks for the member before the generation",
	"beat as a member that has not joined": "GROUP_ID_NOT_FOUND in Kafka, as there is no group",
	"leave 848 unknown":                    "GROUP_ID_NOT_FOUND in Kafka, as there is no group",
	"join 848 without topics":              "as in Kafka; kfake waits for the topics",
	"join 848 without timeout":             "as in Kafka; kfake takes its own",
	"join 848 with a bad expression":       "INVALID_REGULAR_EXPRESSION since Kafka 4.0",
	"join 848 without a group":             "INVALID_REQUEST in Kafka, as for every empty field",
	"add without an id":                    "INVALID_REQUEST in Kafka",
	"describe the cluster as a controller": "KIP-919; kfake is its own controller",
}

func produceTo(topic string, change func(*kmsg.ProduceRequest, *kmsg.ProduceRequestTopicPartition), records record.Batch) func(*side) kmsg.Request {
	return func(s *side) kmsg.Request {
		req := producingTo(topic, records)
		req.Topics[0].TopicID = s.topics[topic]
		if change != nil {
			change(req, &req.Topics[0].Partitions[0])
		}
		return req
	}
}

func fetchFrom(topic string, offset int64, change func(*kmsg.FetchRequest, *kmsg.FetchRequestTopicPartition)) func(*side) kmsg.Request {
	return func(s *side) kmsg.Request {
		req := kmsg.NewPtrFetchRequest()
		req.MaxBytes, req.SessionEpoch = 1<<20, finalEpoch
		rt, rp := kmsg.NewFetchRequestTopic(), kmsg.NewFetchRequestTopicPartition()
		rt.Topic, rt.TopicID = topic, s.topics[topic]
		rp.FetchOffset, rp.PartitionMaxBytes = offset, 1<<20
		rt.Partitions = append(rt.Partitions, rp)
		req.Topics = append(req.Topics, rt)
		if change != nil {
			change(req, &req.Topics[0].Partitions[0])
		}
		return req
	}
}

func listFrom(topic string, timestamp int64, change func(*kmsg.ListOffsetsRequestTopicPartition)) func(*side) kmsg.Request {
	return func(*side) kmsg.Request {
		req := listRequest(topic, timestamp)
		if change != nil {
			change(&req.Topics[0].Partitions[0])
		}
		return req
	}
}

func same(req kmsg.Request) func(*side) kmsg.Request {
	return func(*side) kmsg.Request { return req }
}

func creating(rt kmsg.CreateTopicsRequestTopic) func(*side) kmsg.Request {
	return same(createRequest(rt))
}

func growing(topic string, count int32) func(*side) kmsg.Request {
	req := kmsg.NewPtrCreatePartitionsRequest()
	rt := kmsg.NewCreatePartitionsRequestTopic()
	rt.Topic, rt.Count = topic, count
	req.Topics = append(req.Topics, rt)
	return same(req)
}

func deleting(name string, id [16]byte) func(*side) kmsg.Request {
	req := kmsg.NewPtrDeleteTopicsRequest()
	req.TopicNames = []string{name}
	req.Topics = append(req.Topics, deletionOf(name, id))
	return same(req)
}

func describing(kind kmsg.ConfigResourceType, name string) func(*side) kmsg.Request {
	return func(s *side) kmsg.Request {
		req := kmsg.NewPtrDescribeConfigsRequest()
		rr := kmsg.NewDescribeConfigsRequestResource()
		rr.ResourceType, rr.ResourceName = kind, strings.ReplaceAll(name, "$node", s.node)
		req.Resources = append(req.Resources, rr)
		return req
	}
}

func altering(kind kmsg.ConfigResourceType, name string, steps ...step) func(*side) kmsg.Request {
	return func(s *side) kmsg.Request {
		return alterRequest(kind, strings.ReplaceAll(name, "$node", s.node), steps...)
	}
}

func initializing(txn *string, id int64, epoch int16) func(*side) kmsg.Request {
	req := kmsg.NewPtrInitProducerIDRequest()
	req.TransactionalID, req.ProducerID, req.ProducerEpoch, req.TransactionTimeoutMillis = txn, id, epoch, 1000
	return same(req)
}

// badRequests are sent to both brokers, in this order.
func badRequests() []bad {
	good := batch(values("a")...)
	damaged, two, old, torn := batch(values("a")...), append(batch(values("a")...), good...), batch(values("a")...), good[:65]
	damaged[len(damaged)-1]++
	old[16] = 1
	acks := func(r *kmsg.ProduceRequest, _ *kmsg.ProduceRequestTopicPartition) { r.Acks = 3 }
	metadata := func(names ...string) *kmsg.MetadataRequest { return metadataRequest(names...) }
	coordinator := func(kind int8) *kmsg.FindCoordinatorRequest {
		req := groupRequest("g")
		req.CoordinatorType = kind
		return req
	}
	const remove, add = kmsg.IncrementalAlterConfigOpDelete, kmsg.IncrementalAlterConfigOpAppend
	return []bad{
		{"produce", 9, produceTo("orders", nil, good)},
		{"produce by id", 13, produceTo("orders", nil, good)},
		{"produce with bad acks", 9, produceTo("orders", acks, good)},
		{"produce to no topic", 9, produceTo("nowhere", nil, good)},
		{"produce to no topic id", 13, produceTo("nowhere", nil, good)},
		{"produce to no partition", 9, produceTo("orders", func(_ *kmsg.ProduceRequest, p *kmsg.ProduceRequestTopicPartition) { p.Partition = 9 }, good)},
		{"produce nothing", 9, produceTo("orders", nil, nil)},
		{"produce two batches", 9, produceTo("orders", nil, two)},
		{"produce a torn batch", 9, produceTo("orders", nil, torn)},
		{"produce a damaged batch", 9, produceTo("orders", nil, damaged)},
		{"produce an old format", 9, produceTo("orders", nil, old)},
		{"produce zstd in version 6", 6, produceTo("orders", nil, batchOf(record.Zstd, values("a")...))},
		{"produce too much", 9, produceTo("small", nil, batch(values(strings.Repeat("x", 300))...))},
		{"produce without key to a compacted topic", 9, produceTo("compacted", nil, good)},
		{"produce a gap", 9, produceTo("orders", nil, sequenced(good, 77, 0, 5))},

		{"fetch", 12, fetchFrom("orders", 0, nil)},
		{"fetch below", 12, fetchFrom("orders", -1, nil)},
		{"fetch above", 12, fetchFrom("orders", 999, nil)},
		{"fetch no topic", 12, fetchFrom("nowhere", 0, nil)},
		{"fetch no topic id", 13, fetchFrom("nowhere", 0, nil)},
		{"fetch no partition", 12, fetchFrom("orders", 0, func(_ *kmsg.FetchRequest, p *kmsg.FetchRequestTopicPartition) { p.Partition = 9 })},
		{"fetch with a future epoch", 12, fetchFrom("orders", 0, func(_ *kmsg.FetchRequest, p *kmsg.FetchRequestTopicPartition) { p.CurrentLeaderEpoch = 99 })},
		{"fetch in no session", 12, fetchFrom("orders", 0, func(r *kmsg.FetchRequest, _ *kmsg.FetchRequestTopicPartition) { r.SessionID, r.SessionEpoch = 12345, 3 })},

		{"list", 7, listFrom("orders", -1, nil)},
		{"list no topic", 7, listFrom("nowhere", -1, nil)},
		{"list no partition", 7, listFrom("orders", -1, func(p *kmsg.ListOffsetsRequestTopicPartition) { p.Partition = 9 })},
		{"list with a future epoch", 7, listFrom("orders", -1, func(p *kmsg.ListOffsetsRequestTopicPartition) { p.CurrentLeaderEpoch = 99 })},
		{"list an unknown special", 7, listFrom("orders", -9, nil)},
		{"list max timestamp before version 7", 6, listFrom("orders", -3, nil)},

		{"epoch end", 4, same(epochRequest("orders", -1, 0))},
		{"epoch end of no topic", 4, same(epochRequest("nowhere", -1, 0))},
		{"epoch end with a future epoch", 4, same(epochRequest("orders", 99, 0))},

		{"metadata of no topic", 12, same(metadata("nowhere"))},
		{"metadata of a bad name", 12, same(metadata("no where"))},
		{"metadata of an empty name", 12, same(metadata(""))},
		{"metadata of no topic id", 12, func(*side) kmsg.Request {
			req := kmsg.NewPtrMetadataRequest()
			req.Topics = append(req.Topics, kmsg.MetadataRequestTopic{TopicID: [16]byte{9}})
			return req
		}},

		{"create what exists", 7, creating(newTopicRequest("orders"))},
		{"create a bad name", 7, creating(newTopicRequest("a b"))},
		{"create with no partitions", 7, creating(newTopicRequest("new1", sized(0, 1)))},
		{"create with no replicas", 7, creating(newTopicRequest("new2", sized(1, 0)))},
		{"create with too many replicas", 7, creating(newTopicRequest("new3", sized(1, 3)))},
		{"create with an unknown config", 7, creating(newTopicRequest("new4", configured("no.such.thing", kmsg.StringPtr("1"))))},
		{"create with a bad config", 7, creating(newTopicRequest("new5", configured("retention.ms", kmsg.StringPtr("soon"))))},
		{"create with a null config", 7, creating(newTopicRequest("new6", configured("retention.ms", nil)))},
		{"create with an assignment and a number", 7, creating(newTopicRequest("new7", assigned(0, node), sized(2, -1)))},
		{"create one twice", 7, same(createRequest(newTopicRequest("twice"), newTopicRequest("twice")))},

		{"grow no topic", 3, growing("nowhere", 5)},
		{"grow to as many", 3, growing("orders", 2)},
		{"grow to fewer", 3, growing("orders", 1)},

		{"delete no topic", 5, deleting("nowhere", [16]byte{})},
		{"delete no topic by name", 6, deleting("nowhere", [16]byte{})},
		{"delete no topic id", 6, deleting("", [16]byte{9})},
		{"delete by name and id", 6, deleting("orders", [16]byte{9})},
		{"delete neither name nor id", 6, deleting("", [16]byte{})},

		{"delete records below", 2, same(deleteRequest("orders", -5))},
		{"delete records above", 2, same(deleteRequest("orders", 999))},
		{"delete records of no topic", 2, same(deleteRequest("nowhere", 0))},
		{"delete records of a compacted topic", 2, same(deleteRequest("compacted", 0))},

		{"describe no topic", 4, describing(topicResource, "nowhere")},
		{"describe this broker", 4, describing(brokerResource, "$node")},
		{"describe another broker", 4, describing(brokerResource, "99")},
		{"describe a broker without number", 4, describing(brokerResource, "x")},
		{"describe all brokers", 4, describing(brokerResource, "")},
		{"describe loggers", 4, describing(loggerResource, "$node")},
		{"describe another kind", 4, describing(kmsg.ConfigResourceType(3), "x")},

		{"alter no topic", 1, altering(topicResource, "nowhere", set("retention.ms", "1"))},
		{"alter an unknown config", 1, altering(topicResource, "orders", set("no.such.thing", "1"))},
		{"alter to a bad value", 1, altering(topicResource, "orders", set("retention.ms", "soon"))},
		{"alter twice", 1, altering(topicResource, "orders", set("retention.ms", "1"), set("retention.ms", "2"))},
		{"alter to null", 1, altering(topicResource, "orders", step{kmsg.IncrementalAlterConfigOpSet, "retention.ms", nil})},
		{"alter by appending to a number", 1, altering(topicResource, "orders", step{add, "retention.ms", kmsg.StringPtr("1")})},
		{"alter by an unknown operation", 1, altering(topicResource, "orders", step{9, "retention.ms", kmsg.StringPtr("1")})},
		{"alter back what is not set", 1, altering(topicResource, "orders", step{remove, "retention.ms", nil})},
		{"alter another broker", 1, altering(brokerResource, "99", set("log.retention.ms", "1"))},
		{"alter another kind", 1, altering(kmsg.ConfigResourceType(3), "x", set("a", "1"))},

		{"find a transaction", 4, same(coordinator(1))},
		{"init with an id and no epoch", 4, initializing(nil, 5, -1)},
		{"init with an empty transactional id", 4, initializing(kmsg.StringPtr(""), -1, -1)},
		{"init with a transactional id", 4, initializing(kmsg.StringPtr("t"), -1, -1)},

		{"find a group", 4, same(coordinator(0))},
		{"find what is not", 4, same(coordinator(9))},

		{"describe the cluster as a controller", 1, func(*side) kmsg.Request {
			req := kmsg.NewPtrDescribeClusterRequest()
			req.EndpointType = 2
			return req
		}},
		{"describe partitions of no topic", 0, func(*side) kmsg.Request {
			req := kmsg.NewPtrDescribeTopicPartitionsRequest()
			req.ResponsePartitionLimit = 10
			req.Topics = append(req.Topics, kmsg.DescribeTopicPartitionsRequestTopic{Topic: "nowhere"})
			return req
		}},
		{"list configs of another kind", 1, func(*side) kmsg.Request {
			req := kmsg.NewPtrListConfigResourcesRequest()
			req.ResourceTypes = []int8{3}
			return req
		}},
	}
}

func TestBadRequestsAreRefusedAsByKfake(t *testing.T) {
	w := newWorld(t)
	fake, err := kfake.NewCluster(kfake.NumBrokers(1))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(fake.Close)
	conn, err := net.Dial("tcp", fake.ListenAddrs()[0])
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	ours := &side{client: w.connect(), node: fmt.Sprint(node)}
	theirs := &side{client: &client{Conn: conn, w: w}, node: "0"}
	for _, s := range []*side{ours, theirs} {
		s.prepare(t)
	}
	used := map[string]bool{}
	for _, b := range slices.Concat(badRequests(), badReplicaRequests(), badGroupRequests(), badTransactionRequests()) {
		t.Run(b.name, func(t *testing.T) {
			our, their := ours.codes(t, b), theirs.codes(t, b)
			reason, ok := accepted[b.name]
			used[b.name] = true
			switch differ := our != their; {
			case differ && !ok:
				t.Errorf("we answer %s, kfake %s", our, their)
			case !differ && ok:
				t.Errorf("both answer %s, although a difference is accepted: %s", our, reason)
			}
		})
	}
	for name := range accepted {
		if !used[name] {
			t.Errorf("a difference is accepted for %q, which is not sent", name)
		}
	}
}

// prepare makes the topics of the requests.
func (s *side) prepare(t *testing.T) {
	s.topics = map[string][16]byte{"nowhere": {9}}
	resp := ask[*kmsg.CreateTopicsResponse](s.client, 7, createRequest(
		newTopicRequest("orders", sized(2, 1)),
		newTopicRequest("small", configured("max.message.bytes", kmsg.StringPtr("200"))),
		newTopicRequest("compacted", configured("cleanup.policy", kmsg.StringPtr("compact"))),
	))
	for _, rt := range resp.Topics {
		wantCode(t, "create "+rt.Topic, rt.ErrorCode, nil)
		s.topics[rt.Topic] = cluster.TopicID(rt.TopicID)
	}
}

// codes sends a request, until what it concerns is loaded, and names the error codes in the answer.
func (s *side) codes(t *testing.T, b bad) string {
	for range 6000 { // a minute
		req := b.req(s)
		req.SetVersion(b.version)
		s.send(req)
		var names []string
		errorCodes(reflect.ValueOf(s.receive(req)).Elem(), func(code int16) {
			names = append(names, codeName(code))
		})
		if !slices.Contains(names, codeName(kerr.CoordinatorLoadInProgress.Code)) {
			return strings.Join(names, " ")
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Fatal("the coordinator is still loading")
	return ""
}

// errorCodes finds every error code in a response.
func errorCodes(v reflect.Value, found func(int16)) {
	switch v.Kind() {
	case reflect.Struct:
		for i := range v.NumField() {
			if name := v.Type().Field(i).Name; name == "ErrorCode" {
				found(int16(v.Field(i).Int()))
			} else if name != "UnknownTags" {
				errorCodes(v.Field(i), found)
			}
		}
	case reflect.Slice:
		for i := range v.Len() {
			errorCodes(v.Index(i), found)
		}
	}
}
