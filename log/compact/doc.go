// Package compact keeps the last record of every key of a log (cleanup.policy=compact), and drops
// what nobody needs any more: superseded records, tombstones that everybody has had time to read,
// records of aborted transactions, the marks of transactions of which nothing is left, and hidden
// batches that are finished.
//
// [NewPlan] decides, from what is known of a log, which part of it is dirty and whether cleaning it
// is worth while; [Pick] which log is the next. [Keys] remembers where each key of the dirty part
// was last written, and [Rewrite] copies the segments from the first one on, without what is not
// needed any more, into drafts that the log puts in their place one after the other.
//
// Invariant: what a record supersedes is gone, durably, before the record itself may go. The same
// holds for a proof, the delivery or cancel of a delayed record, and for the marker of a
// transaction. Segments are replaced from the oldest on, each durably before the next, and what a
// batch is judged by lies below it.
//
// The package has no goroutines and no locks.
package compact
