package txn

import (
	"cmp"
	"context"
	"errors"
	"regexp"
	"slices"
	"strings"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/morrowmq/morrow/broker/coord"
)

// DescribeTransactions serves key 65, version 0. What is named more than once is described once.
func (c *Coordinator) DescribeTransactions(ctx context.Context, req *kmsg.DescribeTransactionsRequest) *kmsg.DescribeTransactionsResponse {
	resp := req.ResponseKind().(*kmsg.DescribeTransactionsResponse)
	described := make(map[string]bool, len(req.TransactionalIDs))
	for _, id := range req.TransactionalIDs {
		if described[id] {
			continue
		}
		described[id] = true
		d, err := coord.Do(ctx, c.shards.Of(id), func(m *machine, _ *coord.Tx) (kmsg.DescribeTransactionsResponseTransactionState, error) {
			return m.describe(id)
		})
		if id == "" { // nobody can have it
			err = kerr.InvalidRequest
		}
		if err != nil {
			d = kmsg.NewDescribeTransactionsResponseTransactionState()
			d.ErrorCode, d.ProducerID, d.ProducerEpoch, d.StartTimestamp = codeOf(err), noID, noEpoch, -1
		}
		d.TransactionalID = id
		resp.TransactionStates = append(resp.TransactionStates, d)
	}
	return resp
}

func (m *machine) describe(id string) (kmsg.DescribeTransactionsResponseTransactionState, error) {
	d := kmsg.NewDescribeTransactionsResponseTransactionState()
	t := m.transactions[id]
	if t == nil {
		return d, kerr.TransactionalIDNotFound
	}
	d.State, d.TimeoutMillis, d.ProducerID, d.ProducerEpoch = t.state.String(), t.timeoutMs, t.producerID, t.epoch
	d.StartTimestamp = t.startMs
	for _, p := range t.list() {
		if n := len(d.Topics); n == 0 || d.Topics[n-1].Topic != p.Topic {
			topic := kmsg.NewDescribeTransactionsResponseTransactionStateTopic()
			topic.Topic = p.Topic
			d.Topics = append(d.Topics, topic)
		}
		last := &d.Topics[len(d.Topics)-1]
		last.Partitions = append(last.Partitions, p.Number)
	}
	return d, nil
}

// listing is the filters of ListTransactions.
type listing struct {
	states    []string
	producers []int64
	minMs     int64 // negative: any
	pattern   *regexp.Regexp
}

// ListTransactions serves key 66, versions 0 to 2: the transactional ids of the shards led here. A
// pattern (KIP-1152) is in RE2's syntax, in Kafka as in Go, and must match the whole id.
func (c *Coordinator) ListTransactions(ctx context.Context, req *kmsg.ListTransactionsRequest) *kmsg.ListTransactionsResponse {
	resp := req.ResponseKind().(*kmsg.ListTransactionsResponse)
	f := listing{states: req.StateFilters, producers: req.ProducerIDFilters, minMs: -1}
	for _, s := range req.StateFilters {
		if !slices.Contains(stateNames[:], s) {
			resp.UnknownStateFilters = append(resp.UnknownStateFilters, s)
		}
	}
	if req.Version >= 1 {
		f.minMs = req.DurationFilterMillis
	}
	if p := req.TransactionalIDPattern; p != nil && *p != "" {
		var err error
		if f.pattern, err = wholly(*p); err != nil {
			resp.ErrorCode = kerr.InvalidRegularExpression.Code
			return resp
		}
	}
	for _, shard := range c.shards.Led() {
		found, err := coord.Do(ctx, shard, func(m *machine, tx *coord.Tx) ([]kmsg.ListTransactionsResponseTransactionState, error) {
			return m.list(f, tx.Now().UnixMilli()), nil
		})
		switch {
		case errors.Is(err, coord.ErrNotLeader): // resigned meanwhile
		case err != nil:
			resp.ErrorCode, resp.TransactionStates = codeOf(err), nil
			return resp
		default:
			resp.TransactionStates = append(resp.TransactionStates, found...)
		}
	}
	slices.SortFunc(resp.TransactionStates, func(a, b kmsg.ListTransactionsResponseTransactionState) int {
		return cmp.Compare(a.TransactionalID, b.TransactionalID)
	})
	return resp
}

// wholly compiles a pattern that matches nothing but whole strings.
func wholly(pattern string) (*regexp.Regexp, error) {
	if _, err := regexp.Compile(pattern); err != nil { // it must be one without the parentheses, too
		return nil, err
	}
	return regexp.Compile(`\A(?:` + pattern + `)\z`)
}

func (m *machine) list(f listing, nowMs int64) []kmsg.ListTransactionsResponseTransactionState {
	var found []kmsg.ListTransactionsResponseTransactionState
	for _, t := range m.transactions {
		if !f.matches(t, nowMs) {
			continue
		}
		s := kmsg.NewListTransactionsResponseTransactionState()
		s.TransactionalID, s.ProducerID, s.TransactionState = strings.Clone(t.id), t.producerID, t.state.String()
		found = append(found, s)
	}
	return found
}

func (f *listing) matches(t *transaction, nowMs int64) bool {
	switch {
	case len(f.states) > 0 && !slices.Contains(f.states, t.state.String()):
		return false
	case len(f.producers) > 0 && !slices.Contains(f.producers, t.producerID):
		return false
	case f.minMs >= 0 && (t.startMs < 0 || nowMs-t.startMs <= f.minMs):
		return false
	}
	return f.pattern == nil || f.pattern.MatchString(t.id)
}
