package group

import (
	"errors"

	"github.com/twmb/franz-go/pkg/kerr"

	"github.com/morrowmq/morrow/broker/coord"
)

// codeOf maps what a command or its shard returned to Kafka's error code.
// Whatever keeps the journal from serving for now is COORDINATOR_NOT_AVAILABLE:
// every client retries it.
func codeOf(err error) int16 {
	if err == nil {
		return 0
	}
	var ke *kerr.Error
	switch {
	case errors.As(err, &ke):
		return ke.Code
	case errors.Is(err, coord.ErrLoading):
		return kerr.CoordinatorLoadInProgress.Code
	case errors.Is(err, coord.ErrNotLeader):
		return kerr.NotCoordinator.Code
	case errors.Is(err, coord.ErrFenced):
		return kerr.InvalidProducerEpoch.Code
	case errors.Is(err, coord.ErrTooLarge):
		return kerr.UnknownServerError.Code
	}
	return kerr.CoordinatorNotAvailable.Code
}

// refusal is an error code with an explanation, for responses that carry one.
type refusal struct {
	code   *kerr.Error
	reason string
}

func refuse(code *kerr.Error, reason string) error { return &refusal{code, reason} }

func (r *refusal) Error() string { return r.code.Message + ": " + r.reason }
func (r *refusal) Unwrap() error { return r.code }

// messageOf returns the explanation of a refusal, and nil for any other error.
func messageOf(err error) *string {
	var r *refusal
	if errors.As(err, &r) {
		return &r.reason
	}
	return nil
}

// coded is an error as the handlers of other packages can tell it: with a code of
// Kafka's.
func coded(err error) error {
	var ke *kerr.Error
	if err == nil || errors.As(err, &ke) {
		return err
	}
	return kerr.ErrorForCode(codeOf(err))
}
