// Package cluster is what a broker knows about its cluster: brokers, topics,
// partitions with their leaders, and configs.
//
// An [Image] is all of it at one moment, immutable and shared. A [Command] asks
// for a change; [Decide], a pure function, says what it changes or why it is
// refused; a [Store] decides commands one after another, makes the changes
// durable and publishes the next image. Package local keeps them in a file,
// package etcd will in a cluster; neither decides anything itself.
//
// A topic and the topic that holds its schedule are bound by id: they are
// created, grown, re-led and deleted in one change, and only the first can be
// touched by name. What a deleted topic leaves behind stays listed until it is
// confirmed gone, so that no crash leaves an orphan.
//
// Not here: records, offsets, transactions and the contents of the tier. The
// package has no goroutines; the only lock is in [Feed].
package cluster
