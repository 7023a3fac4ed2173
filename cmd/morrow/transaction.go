package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

func newTransaction() *cobra.Command {
	var c client
	cmd := newFamily("transaction", "List, describe and abort transactions",
		newTransactionList(&c), newTransactionDescribe(&c), newTransactionAbort(&c))
	cmd.Aliases = []string{"transactions", "txn"}
	cmd.Example = `  morrow transaction list --state Ongoing
  morrow transaction describe shop
  morrow transaction abort shop`
	c.addTo(cmd)
	return cmd
}

// transactionRow is a transactional id in listings.
type transactionRow struct {
	ID         string `json:"id"`
	State      string `json:"state"`
	ProducerID int64  `json:"producer_id"`
}

// transactionStates are those a transactional id can be in.
var transactionStates = []string{"Empty", "Ongoing", "PrepareCommit", "PrepareAbort", "CompleteCommit", "CompleteAbort"}

func newTransactionList(c *client) *cobra.Command {
	var states []string
	cmd := &cobra.Command{
		Use:   "list",
		Short: "List transactional ids",
		Long: `List transactional ids with the state of their last transaction: Empty if there was none
yet, Ongoing while it is open, PrepareCommit or PrepareAbort when it is decided but not
yet known to all partitions, then CompleteCommit or CompleteAbort.

With -o json: an array of {id, state, producer_id}.`,
		Example: `  morrow transaction list
  morrow transaction list --state Ongoing,PrepareCommit,PrepareAbort`,
		Aliases: []string{"ls"},
		Args:    wantArgs(0, 0),
		RunE: c.run(func(ctx context.Context, cmd *cobra.Command, cl *cluster, _ []string) error {
			listed, err := cl.ListTransactions(ctx, nil, states)
			if err != nil {
				return err
			}
			rows := []transactionRow{}
			for _, t := range listed.Sorted() {
				rows = append(rows, transactionRow{t.TxnID, t.State, t.ProducerID})
			}
			return printAs(cmd.OutOrStdout(), c.output, rows, func(w io.Writer) {
				row(w, "ID", "STATE", "PRODUCER")
				for _, r := range rows {
					row(w, r.ID, r.State, r.ProducerID)
				}
			})
		}),
	}
	cmd.Flags().StringSliceVar(&states, "state", nil, "only those in one of these `states`")
	completeFlags(cmd, map[string]cobra.CompletionFunc{"state": cobra.FixedCompletions(transactionStates, cobra.ShellCompDirectiveNoFileComp)})
	return cmd
}

// transactionDescription is a transactional id in full.
type transactionDescription struct {
	ID            string             `json:"id"`
	State         string             `json:"state"`
	ProducerID    int64              `json:"producer_id"`
	ProducerEpoch int16              `json:"producer_epoch"`
	TimeoutMs     int32              `json:"timeout_ms"`
	StartedMs     *int64             `json:"started_ms"` // null: no transaction was begun
	Partitions    map[string][]int32 `json:"partitions"`
}

func newTransactionDescribe(c *client) *cobra.Command {
	return &cobra.Command{
		Use:   "describe ID...",
		Short: "Show producer, timeout and partitions of transactional ids",
		Long: `Show the producer of transactional ids, how long their transactions may last, when the last
one was begun, and the partitions it holds until it is complete.

With -o json: an array of {id, state, producer_id, producer_epoch, timeout_ms, started_ms,
partitions}; partitions is an object of topic to numbers.`,
		Example:           `  morrow transaction describe shop`,
		Args:              wantArgs(1, -1),
		ValidArgsFunction: c.complete(0, -1, transactionalIDs),
		RunE: c.run(func(ctx context.Context, cmd *cobra.Command, cl *cluster, ids []string) error {
			described, err := describeTransactions(ctx, cl, ids)
			if err != nil {
				return err
			}
			return printAs(cmd.OutOrStdout(), c.output, described, func(w io.Writer) {
				row(w, "ID", "STATE", "PRODUCER", "EPOCH", "TIMEOUT", "STARTED", "PARTITIONS")
				for _, d := range described {
					row(w, d.ID, d.State, d.ProducerID, d.ProducerEpoch, time.Duration(d.TimeoutMs)*time.Millisecond, started(d.StartedMs), d.places())
				}
			})
		}),
	}
}

func started(ms *int64) string {
	if ms == nil {
		return ""
	}
	return timestamp(*ms)
}

// places are the partitions as "orders-0 orders-3".
func (d *transactionDescription) places() string {
	all := ""
	for _, topic := range sortedKeys(d.Partitions) {
		for _, n := range d.Partitions[topic] {
			if all != "" {
				all += " "
			}
			all += fmt.Sprintf("%s-%d", topic, n)
		}
	}
	return all
}

func describeTransactions(ctx context.Context, cl *cluster, ids []string) ([]transactionDescription, error) {
	described, err := cl.DescribeTransactions(ctx, ids...)
	if err != nil {
		return nil, err
	}
	all := []transactionDescription{}
	for _, id := range ids {
		t, ok := described[id]
		if !ok {
			return nil, fmt.Errorf("%s: no answer", id)
		}
		if t.Err != nil {
			return nil, fmt.Errorf("%s: %w", id, explained(t.Err, ""))
		}
		d := transactionDescription{
			ID: id, State: t.State, ProducerID: t.ProducerID, ProducerEpoch: t.ProducerEpoch, TimeoutMs: t.TimeoutMillis, Partitions: map[string][]int32{},
		}
		if t.StartTimestamp >= 0 {
			d.StartedMs = &t.StartTimestamp
		}
		for _, topic := range t.Topics.Sorted() {
			d.Partitions[topic.Topic] = topic.Partitions
		}
		all = append(all, d)
	}
	return all, nil
}

func newTransactionAbort(c *client) *cobra.Command {
	return &cobra.Command{
		Use:   "abort ID...",
		Short: "Abort open transactions and fence their producers",
		Long: `Abort the open transactions of transactional ids. Their producers are fenced, as by a new
instance of them: whatever they do next is refused. An id without an open transaction is
left alone.

With -o json: an array of {name, result, error}; result is aborted, unchanged or failed.`,
		Example:           `  morrow transaction abort shop`,
		Args:              wantArgs(1, -1),
		ValidArgsFunction: c.complete(0, -1, transactionalIDs),
		RunE: c.run(func(ctx context.Context, cmd *cobra.Command, cl *cluster, ids []string) error {
			var done outcomes
			for _, id := range ids {
				result, err := abortTransaction(ctx, cl, id)
				done.add(id, result, explained(err, ""))
			}
			return done.print(cmd, c.output)
		}),
	}
}

// abortTransaction takes an id's producer id for a moment, which ends what is open.
func abortTransaction(ctx context.Context, cl *cluster, id string) (result string, err error) {
	described, err := cl.DescribeTransactions(ctx, id)
	if err != nil {
		return "", err
	}
	if t := described[id]; t.Err != nil || t.State != "Ongoing" {
		return "unchanged", t.Err
	}
	req := kmsg.NewPtrInitProducerIDRequest()
	req.TransactionalID, req.TransactionTimeoutMillis = &id, described[id].TimeoutMillis
	for {
		resp, err := req.RequestWith(ctx, cl.kgo)
		if err != nil {
			return "", err
		}
		switch err := kerr.ErrorForCode(resp.ErrorCode); {
		case err == nil:
			return "aborted", nil
		case errors.Is(err, kerr.ConcurrentTransactions): // its markers are being written
			select {
			case <-ctx.Done():
				return "", ctx.Err()
			case <-time.After(100 * time.Millisecond):
			}
		default:
			return "", err
		}
	}
}

func transactionalIDs(ctx context.Context, cl *cluster) ([]string, error) {
	listed, err := cl.ListTransactions(ctx, nil, nil)
	return listed.TransactionalIDs(), err
}
