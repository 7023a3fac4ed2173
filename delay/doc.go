// Package delay delivers records later.
//
// A delayed record lies in the log of its partition, at the offset its producer was told (its ticket), in a hidden
// batch. Four parts, in the order data meets them:
//
//   - [Rules] and [Splitter] read the delay headers of a producer's batch and say how it is stored: as
//     it is, hidden, or in pieces.
//   - [Schedule] is the near index of one partition, a pure function of its log: what is pending, when.
//   - [Dispatcher] takes what is due from the schedules of a broker, and hands it to the partitions as batches marked
//     as deliveries. The appended delivery is itself the mark that the ticket is done.
//   - DESIGN.md says why it is so, FORMAT.md what is stored.
//
// The package knows neither segments nor topics: it reaches a partition through [Target]. Goroutines belong to [Dispatcher.Run]
// alone. Times are milliseconds since the epoch unless they are a [time.Time].
package delay
