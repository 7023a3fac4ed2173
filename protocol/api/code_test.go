package api

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"syscall"
	"testing"

	"github.com/twmb/franz-go/pkg/kerr"

	"github.com/morrowmq/morrow/broker/partition"
	"github.com/morrowmq/morrow/cluster"
	"github.com/morrowmq/morrow/delay"
	"github.com/morrowmq/morrow/log"
	"github.com/morrowmq/morrow/log/record"
	"github.com/morrowmq/morrow/tier"
	"github.com/morrowmq/morrow/tier/bucket"
)

func TestCodeOfEveryKindOfError(t *testing.T) {
	for _, test := range []struct {
		err  error
		want *kerr.Error
	}{
		{nil, nil},
		{errors.New("surprise"), kerr.UnknownServerError},
		{kerr.InvalidTopicException, kerr.InvalidTopicException},
		{coded(kerr.PolicyViolation, "no"), kerr.PolicyViolation},
		{record.ErrCRC, kerr.CorruptMessage},
		{record.ErrCodec, kerr.UnsupportedCompressionType},
		{record.ErrTooLarge, kerr.MessageTooLarge},
		{&record.RecordErrors{Err: record.ErrTimestamp, Records: []record.RecordError{{}}, Count: 1}, kerr.InvalidTimestamp},
		{&record.RecordErrors{Err: record.ErrInvalid, Records: []record.RecordError{{}}, Count: 1}, kerr.InvalidRecord},
		{partition.ErrTooLarge, kerr.MessageTooLarge},
		{partition.ErrNotHere, kerr.NotLeaderForPartition},
		// An offline partition says what took it offline, whatever that was.
		{fmt.Errorf("%w: %w", partition.ErrOffline, record.ErrCRC), kerr.KafkaStorageError},
		{&log.OfflineError{Err: record.ErrCRC}, kerr.KafkaStorageError},
		{&log.CorruptError{Err: record.ErrCRC}, kerr.KafkaStorageError},
		{&log.TieredError{}, kerr.KafkaStorageError},
		{&bucket.Error{Op: "get", Kind: bucket.ErrDenied}, kerr.KafkaStorageError},
		{&bucket.Error{Op: "get", Kind: bucket.ErrUnknown, Err: context.DeadlineExceeded}, kerr.RequestTimedOut},
		{tier.ErrLost, kerr.KafkaStorageError},
		{partition.ErrNotRemote, kerr.KafkaStorageError},
		// What the disk does not give, it may give later.
		{fmt.Errorf("read: %w", &fs.PathError{Op: "read", Err: syscall.EIO}), kerr.KafkaStorageError},
		{&log.OutOfRangeError{}, kerr.OffsetOutOfRange},
		{&log.OutOfOrderSequenceError{}, kerr.OutOfOrderSequenceNumber},
		{&log.ProducerFencedError{}, kerr.InvalidProducerEpoch},
		{&log.FencedEpochError{}, kerr.NotLeaderForPartition},
		{log.ErrClosed, kerr.NotLeaderForPartition},
		{log.ErrTooLarge, kerr.RecordListTooLarge},
		// Producers try again, whichever client they use.
		{fmt.Errorf("%w: %w", log.ErrNoSpace, &fs.PathError{Op: "write", Err: syscall.ENOSPC}), kerr.NotEnoughReplicas},
		{partition.ErrLoading, kerr.NotEnoughReplicas},
		{partition.ErrCrowded, kerr.NotEnoughReplicas},
		{partition.ErrStaged, kerr.NotEnoughReplicas},
		{&delay.TooManyPendingError{}, kerr.NotEnoughReplicas},
		{context.DeadlineExceeded, kerr.RequestTimedOut},
		{&cluster.Error{Kind: cluster.TopicExists}, kerr.TopicAlreadyExists},
		{&cluster.Error{Kind: cluster.InvalidConfig, Err: errors.New("bad")}, kerr.InvalidConfig},
	} {
		wantCode(t, fmt.Sprint(test.err), code(test.err), test.want)
		if test.err != nil {
			wantCode(t, fmt.Sprint("wrapped ", test.err), code(fmt.Errorf("append: %w", test.err)), test.want)
		}
	}
}

func TestMessageTellsWhatTheCodeDoesNot(t *testing.T) {
	for err, want := range map[error]string{
		kerr.InvalidRequest:                    kerr.InvalidRequest.Description,
		coded(kerr.InvalidRequest, "no %d", 1): "no 1",
		log.ErrNoSpace:                         log.ErrNoSpace.Error(),
	} {
		if got := message(err); got != want {
			t.Errorf("message of %v is %q, expected %q", err, got, want)
		}
	}
}

func TestAnErrorThatNothingElseExplainsIsLogged(t *testing.T) {
	for _, test := range []struct {
		err    error
		want   *kerr.Error
		logged bool
	}{
		{log.ErrNoSpace, kerr.NotEnoughReplicas, false},
		{errors.New("surprise"), kerr.UnknownServerError, true},
		{&log.CorruptError{File: "surprise", Err: record.ErrCRC}, kerr.KafkaStorageError, true},
		{&fs.PathError{Op: "read", Path: "surprise", Err: syscall.EIO}, kerr.KafkaStorageError, true},
		{&log.OfflineError{Log: "surprise", Err: record.ErrCRC}, kerr.KafkaStorageError, false}, // when it went offline
	} {
		w := newWorld(t)
		wantCode(t, test.err.Error(), w.api.explain(test.err, "fetch", "orders", 3), test.want)
		said := w.lines.String()
		if logged := strings.Contains(said, "doing=fetch") && strings.Contains(said, "surprise") && strings.Contains(said, "orders"); logged != test.logged {
			t.Errorf("%v is logged: %v, expected %v:\n%s", test.err, logged, test.logged, said)
		}
	}
}
