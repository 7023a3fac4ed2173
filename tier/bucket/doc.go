// Package bucket is the object store that a tier keeps its objects in: whole objects under flat
// keys, in S3 ([S3]) or a directory ([Dir]), as a URL says ([Open]). It tells what is in a store and
// how a request failed, and checks whether a store is fit to be relied upon ([Probe]). It knows
// nothing of what the objects hold, and repeats nothing beyond what the client library does:
// whoever asks decides what becomes of an unknown outcome.
//
// Goroutines: a call runs on its caller's, and on some more that have ended when it returns, for
// parts and deletions that are sent at the same time. Locks: those of a [Dir] for its files, and
// the one of a [Patient] request for its timer; none is held while a store is waited for, but the
// lock on a key that a Dir replaces.
package bucket
