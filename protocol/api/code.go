package api

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"strings"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/morrowmq/morrow/broker/partition"
	"github.com/morrowmq/morrow/broker/share"
	"github.com/morrowmq/morrow/cluster"
	"github.com/morrowmq/morrow/delay"
	"github.com/morrowmq/morrow/log"
	"github.com/morrowmq/morrow/log/record"
	"github.com/morrowmq/morrow/tier"
	"github.com/morrowmq/morrow/tier/bucket"
)

// codedError is a Kafka error with words of our own.
type codedError struct {
	kafka *kerr.Error
	text  string
}

func (e *codedError) Error() string { return e.text }
func (e *codedError) Unwrap() error { return e.kafka }

func coded(e *kerr.Error, format string, args ...any) error {
	return &codedError{e, fmt.Sprintf(format, args...)}
}

// kinds maps the sentinel errors of the other packages to Kafka's codes. The first that matches counts.
var kinds = []struct {
	is   error
	code *kerr.Error
}{
	{record.ErrCRC, kerr.CorruptMessage},
	{record.ErrTorn, kerr.CorruptMessage},
	{record.ErrMagic, kerr.UnsupportedForMessageFormat},
	{record.ErrCodec, kerr.UnsupportedCompressionType},
	{record.ErrTooLarge, kerr.MessageTooLarge},
	{record.ErrTimestamp, kerr.InvalidTimestamp},
	{record.ErrInvalid, kerr.InvalidRecord},

	{partition.ErrTooLarge, kerr.MessageTooLarge},
	{log.ErrTooLarge, kerr.RecordListTooLarge},
	{log.ErrUnverified, kerr.InvalidTxnState},
	{log.ErrInTransaction, kerr.InvalidTxnState},
	{partition.ErrFencedEpoch, kerr.FencedLeaderEpoch},
	{partition.ErrUnknownEpoch, kerr.UnknownLeaderEpoch},
	{partition.ErrNotHere, kerr.NotLeaderForPartition},
	// Retried by Java and librdkafka alike.
	{partition.ErrLoading, kerr.NotEnoughReplicas},
	{partition.ErrCrowded, kerr.NotEnoughReplicas},
	{partition.ErrStaged, kerr.NotEnoughReplicas},
	{log.ErrNoSpace, kerr.NotEnoughReplicas},
	// The topic is being deleted: clients ask for the metadata and learn of it.
	{log.ErrClosed, kerr.NotLeaderForPartition},

	{share.ErrRecordState, kerr.InvalidRecordState},
	{share.ErrBadAck, kerr.InvalidRequest},
	{share.ErrUnknown, kerr.InvalidRecordState}, // nothing was ever acquired there
	{share.ErrLoading, kerr.CoordinatorLoadInProgress},
	{share.ErrNotLeader, kerr.NotCoordinator},
	{share.ErrCommitTimeout, kerr.RequestTimedOut},

	{cluster.TopicExists, kerr.TopicAlreadyExists},
	{cluster.UnknownTopic, kerr.UnknownTopicOrPartition},
	{cluster.InvalidTopicName, kerr.InvalidTopicException},
	{cluster.InvalidPartitions, kerr.InvalidPartitions},
	{cluster.InvalidReplicationFactor, kerr.InvalidReplicationFactor},
	{cluster.InvalidAssignment, kerr.InvalidReplicaAssignment},
	{cluster.InvalidConfig, kerr.InvalidConfig},
	{cluster.InvalidRequest, kerr.InvalidRequest},
	{cluster.TopicDeletionDisabled, kerr.TopicDeletionDisabled},
	{cluster.InternalTopic, kerr.InvalidRequest},
	{cluster.UnknownBroker, kerr.BrokerNotAvailable},

	{context.DeadlineExceeded, kerr.RequestTimedOut},
	{context.Canceled, kerr.NotLeaderForPartition},
}

// code maps any error to a Kafka code. What it does not know is UNKNOWN_SERVER_ERROR: a bug, or a
// storage failure nobody classified.
func code(err error) int16 {
	if err == nil {
		return 0
	}
	if e, ok := errors.AsType[*kerr.Error](err); ok {
		return e.Code
	}
	if storageFailed(err) || tierFailed(err) && !errors.Is(err, context.DeadlineExceeded) {
		return kerr.KafkaStorageError.Code // consumers ask again, and keep their place
	}
	if k := typed(err); k != nil {
		return k.Code
	}
	for _, k := range kinds {
		if errors.Is(err, k.is) {
			return k.code.Code
		}
	}
	if _, ok := errors.AsType[*fs.PathError](err); ok {
		return kerr.KafkaStorageError.Code // a file could not be read: the next try may have it
	}
	return kerr.UnknownServerError.Code
}

// storageFailed reports whether an error says that a log cannot be used. It wraps what went wrong
// there, which must not be taken for something the client did.
func storageFailed(err error) bool {
	_, corrupt := errors.AsType[*log.CorruptError](err)
	_, tiered := errors.AsType[*log.TieredError](err)
	return corrupt || tiered || offline(err)
}

// offline reports whether a log or partition is not there at all, which was logged when it went.
func offline(err error) bool {
	_, failed := errors.AsType[*log.OfflineError](err)
	return failed || errors.Is(err, partition.ErrOffline)
}

// tierFailed reports whether records cannot be had from the tier: the store does not give them, or
// gives something else.
func tierFailed(err error) bool {
	if _, ok := errors.AsType[*bucket.Error](err); ok {
		return true
	}
	for _, is := range []error{tier.ErrCorrupt, tier.ErrLost, tier.ErrVersion, tier.ErrClosed, partition.ErrNotRemote} {
		if errors.Is(err, is) {
			return true
		}
	}
	return false
}

// typed maps the error types of the other packages.
func typed(err error) *kerr.Error {
	if _, ok := errors.AsType[*log.OutOfRangeError](err); ok {
		return kerr.OffsetOutOfRange
	}
	if _, ok := errors.AsType[*log.OutOfOrderSequenceError](err); ok {
		return kerr.OutOfOrderSequenceNumber
	}
	if _, ok := errors.AsType[*log.ProducerFencedError](err); ok {
		return kerr.InvalidProducerEpoch
	}
	if _, ok := errors.AsType[*log.FencedEpochError](err); ok {
		return kerr.NotLeaderForPartition // another term has begun since the request was looked at
	}
	if _, ok := errors.AsType[*delay.TooManyPendingError](err); ok {
		return kerr.NotEnoughReplicas // retried by Java and librdkafka alike
	}
	return nil
}

// explain is code for answers that have no room for a message: an error that neither the code nor
// an earlier line of the broker's log explains is logged.
func (a *API) explain(err error, doing, topic string, number int32) int16 {
	c := code(err)
	if c == kerr.UnknownServerError.Code || c == kerr.KafkaStorageError.Code && !offline(err) || tierFailed(err) {
		a.unexplained.Do(func() {
			a.logger.Error("request failed for a reason no client is told", "doing", doing, "topic", topic, "partition", number, "err", err)
		})
	}
	return c
}

// refusal is what an answer says of an error: its code, and a message; 0 and nil if there is none.
func refusal(err error) (number int16, text *string) {
	if err == nil {
		return 0, nil
	}
	return code(err), kmsg.StringPtr(message(err))
}

// message is what the client is told besides the code. What an error quotes may be as long as a
// request; a string of an answer may not.
func message(err error) string {
	text := explanation(err)
	if len(text) > maxMessage {
		text = strings.ToValidUTF8(text[:maxMessage], "") + "…"
	}
	return text
}

const maxMessage = 2000

func explanation(err error) string {
	if e, ok := errors.AsType[*codedError](err); ok {
		return e.text
	}
	if e, ok := errors.AsType[*kerr.Error](err); ok {
		return e.Description
	}
	return err.Error()
}
