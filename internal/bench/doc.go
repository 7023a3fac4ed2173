// Package bench puts load on a Kafka broker, Morrow or another, and measures what the machine below
// does bare, so that one can be stated as a multiple of the other: figures of two runs, or of two
// machines, cannot be compared.
//
// A Drive puts on the load: [Produce], [Consume] and [EndToEnd] through franz-go, as an application
// would; [RawProduce] and [RawFetch] with requests encoded beforehand, so that the client is not
// what is measured. [Run] lets one run for a while and reports what a [Meter] counted and what the
// server used meanwhile. The bare counterparts are [AppendSync], [IdealProduce], [IdealFetch] and
// [CRC32C]. [Suite] runs both in turn and compares them with the project's goals.
//
// It is not part of the broker, which neither knows nor links it. Every function returns when its
// context ends or earlier, with its goroutines.
package bench
