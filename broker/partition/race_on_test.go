//go:build race

package partition

// raceDetector says that allocations are not what they are without it.
const raceDetector = true
