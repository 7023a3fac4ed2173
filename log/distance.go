package log

import "github.com/morrowmq/morrow/log/segment"

// Behind is about the offset that lies so many bytes before the end of segments, which are in
// order; 0 if they hold less.
func Behind(segments []segment.Info, bytes int64) int64 {
	for i := len(segments) - 1; i >= 0; i-- {
		s := segments[i]
		if s.Size >= bytes && s.Size > 0 {
			return s.End - int64(float64(s.End-s.Base)*float64(bytes)/float64(s.Size))
		}
		bytes -= s.Size
	}
	return 0
}

// Between is about how many bytes of segments lie between two offsets.
func Between(segments []segment.Info, from, to int64) (bytes int64) {
	for _, s := range segments {
		if low, high := max(from, s.Base), min(to, s.End); low < high {
			bytes += int64(float64(s.Size) * float64(high-low) / float64(s.End-s.Base))
		}
	}
	return bytes
}
