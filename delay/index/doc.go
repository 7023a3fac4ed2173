// Package index keeps pending records in the order in which they are due, in 15 bytes each: what a
// schedule knows of each of many millions of them. It stores keys and sizes, and knows nothing of
// where the records lie.
//
// It has no goroutines and no locks: whoever has an [Index] guards it.
package index
