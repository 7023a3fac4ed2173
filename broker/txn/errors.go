package txn

import (
	"errors"

	"github.com/twmb/franz-go/pkg/kerr"

	"github.com/morrowmq/morrow/broker/coord"
)

// toKafka turns what a command or its shard returned into Kafka's error. Whatever
// keeps the journal from serving for now is COORDINATOR_NOT_AVAILABLE: every client retries it.
func toKafka(err error) error {
	if err == nil {
		return nil
	}
	if ke, ok := errors.AsType[*kerr.Error](err); ok {
		return ke
	}
	switch {
	case errors.Is(err, coord.ErrLoading):
		return kerr.CoordinatorLoadInProgress
	case errors.Is(err, coord.ErrNotLeader):
		return kerr.NotCoordinator
	case errors.Is(err, coord.ErrTooLarge):
		return kerr.UnknownServerError
	}
	return kerr.CoordinatorNotAvailable
}

func codeOf(err error) int16 {
	if ke, ok := errors.AsType[*kerr.Error](toKafka(err)); ok {
		return ke.Code
	}
	return 0
}

// fencedCode is codeOf for a request whose older versions do not know PRODUCER_FENCED.
func fencedCode(err error, known bool) int16 { return oldFenced(codeOf(err), known) }

func oldFenced(code int16, known bool) int16 {
	if code == kerr.ProducerFenced.Code && !known {
		return kerr.InvalidProducerEpoch.Code
	}
	return code
}
