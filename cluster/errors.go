package cluster

import (
	"errors"
	"fmt"
)

// Kind classifies why a command was refused. A Kind is itself an error, so
// that errors.Is(err, cluster.TopicExists) asks for it.
type Kind uint8

const (
	TopicExists              Kind = iota + 1 // a topic of that name is there
	UnknownTopic                             // no topic of that name or id
	InvalidTopicName                         // breaks Kafka's rules, collides, or is reserved
	InvalidPartitions                        // a partition count that makes no sense
	InvalidReplicationFactor                 // more replicas than brokers, or none
	InvalidAssignment                        // replicas given by the client that cannot be
	InvalidConfig                            // an unknown key, a bad value, or values that contradict each other
	InvalidRequest                           // contradicts itself
	TopicDeletionDisabled                    // delete.topic.enable is false
	InternalTopic                            // the topic belongs to the broker
	StaleEpoch                               // somebody else changed the partition first
	UnknownBroker                            // no broker of that id is registered
)

var kindNames = [...]string{
	TopicExists:              "topic exists",
	UnknownTopic:             "unknown topic",
	InvalidTopicName:         "invalid topic name",
	InvalidPartitions:        "invalid number of partitions",
	InvalidReplicationFactor: "invalid replication factor",
	InvalidAssignment:        "invalid replica assignment",
	InvalidConfig:            "invalid config",
	InvalidRequest:           "invalid request",
	TopicDeletionDisabled:    "topic deletion is disabled",
	InternalTopic:            "internal topic",
	StaleEpoch:               "stale epoch",
	UnknownBroker:            "unknown broker",
}

func (k Kind) Error() string {
	if int(k) < len(kindNames) && kindNames[k] != "" {
		return kindNames[k]
	}
	return "unknown refusal"
}

// Error is the refusal of a command or of one item of it. Nothing of what was
// refused has happened.
type Error struct {
	Kind    Kind
	Message string // for the user: names what was refused and what was expected
	Err     error  // what it was derived from, or nil
}

func (e *Error) Error() string { return e.Message }

// Unwrap makes errors.Is find the kind and errors.As the cause.
func (e *Error) Unwrap() []error {
	if e.Err == nil {
		return []error{e.Kind}
	}
	return []error{e.Kind, e.Err}
}

func refuse(k Kind, format string, args ...any) error {
	return &Error{Kind: k, Message: fmt.Sprintf(format, args...)}
}

// refuseConfig wraps what package config has to say about values.
func refuseConfig(err error) error {
	if err == nil {
		return nil
	}
	return &Error{Kind: InvalidConfig, Message: err.Error(), Err: err}
}

// BatchError is the outcome of a command of several items of which at least one
// was refused. The others were done.
type BatchError struct {
	Errs []error // parallel to the items; nil where the item was done
}

func (e *BatchError) Error() string { return errors.Join(e.Errs...).Error() }

// Unwrap lets errors.Is and errors.As look into the items.
func (e *BatchError) Unwrap() []error {
	var errs []error
	for _, err := range e.Errs {
		if err != nil {
			errs = append(errs, err)
		}
	}
	return errs
}

// ItemError returns the outcome of item i of a command that Apply or Decide
// answered with err: nil when the item was done.
func ItemError(err error, i int) error {
	if batch, ok := errors.AsType[*BatchError](err); ok {
		return batch.Errs[i]
	}
	return err
}

// batchError returns nil if no item failed.
func batchError(errs []error) error {
	for _, err := range errs {
		if err != nil {
			return &BatchError{Errs: errs}
		}
	}
	return nil
}
