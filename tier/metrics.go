package tier

import "sync/atomic"

// stats counts what one partition asked of the bucket. The words are Kafka's (KIP-405, KIP-963).
type stats struct {
	copyRequests, copyErrors, copyBytes    atomic.Int64
	fetchRequests, fetchErrors, fetchBytes atomic.Int64
	deleteRequests, deleteErrors           atomic.Int64
}
