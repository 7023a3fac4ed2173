// Package delay delivers records later.
//
// A delayed record lies in the log of its partition, at the offset its producer was told (its
// ticket), in a hidden batch. The parts, in the order data meets them:
//
//   - [Rules] and [Splitter] read the delay headers of a producer's batch and say how it is stored: as
//     it is, hidden, or in pieces ([Plan]).
//   - [Schedule] knows what is pending in one partition: a function of its log.
//   - [Dispatcher] takes what is due from the schedules of a broker, and hands it to the partitions
//     as batches marked as deliveries. The appended delivery is itself the mark that the ticket is
//     done.
//   - [Keeper] moves what is pending out of memory, into runs in the schedule log, and writes down what the
//     partition's log need not prove any more.
//
// DESIGN.md says why it is so, FORMAT.md what is stored, TRAPS.md what must not happen and which tests say so.
//
// The package knows neither segments nor topics, nor whether a byte is local: it reaches a
// partition through [Target] and its schedule log through [Journal]. Goroutines belong to
// [Dispatcher.Run] alone; everything else runs where it is called. Times are milliseconds since the
// epoch unless they are a [time.Time].
package delay
