// Package chunk keeps blocks of segment objects that were read from a store at hand: a [Cache] in
// memory and on local disk, and, for a store whose objects are files of this machine, what has been
// [Verified] where it lies. It knows a block by its object and number, its size and its checksum;
// where it comes from is a function that the caller passes.
//
// Goroutines: loads run in those of a [flight.Lifetime]. Locks: one in each type, held neither while
// something is loaded nor while a file is written.
package chunk
