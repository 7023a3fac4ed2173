package config

import (
	"errors"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// ShareReset says where a share group begins in a partition it has not read.
type ShareReset struct {
	Earliest bool
	// Age, when not 0, is how old the first record may be.
	Age time.Duration
}

const byDuration = "by_duration:"

var errShareReset = errors.New("must be latest, earliest, or by_duration: and an ISO 8601 duration of days and less, such as by_duration:P1DT6H")

// ParseShareReset reads a value of share.auto.offset.reset.
func ParseShareReset(value string) (ShareReset, error) {
	value = strings.TrimSpace(value)
	switch strings.ToLower(value) {
	case "latest":
		return ShareReset{}, nil
	case "earliest":
		return ShareReset{Earliest: true}, nil
	}
	text, ok := strings.CutPrefix(strings.ToLower(value), byDuration)
	if !ok {
		return ShareReset{}, errShareReset
	}
	age, ok := parseISODuration(strings.ToUpper(text))
	if !ok {
		return ShareReset{}, errShareReset
	}
	return ShareReset{Age: age}, nil
}

// isoDuration is what java.time.Duration reads, without signs.
var isoDuration = regexp.MustCompile(`^P(?:(\d+)D)?(T(?:(\d+)H)?(?:(\d+)M)?(?:(\d+(?:\.\d{1,9})?)S)?)?$`)

// maxAge keeps the sum of all units far from the end of a 64-bit count of nanoseconds.
const maxAge = 50 * 365 * 24 * time.Hour

func parseISODuration(s string) (d time.Duration, ok bool) {
	m := isoDuration.FindStringSubmatch(s)
	if m == nil || m[2] == "T" || m[1] == "" && m[2] == "" {
		return 0, false
	}
	for i, unit := range map[int]time.Duration{1: 24 * time.Hour, 3: time.Hour, 4: time.Minute, 5: time.Second} {
		if m[i] == "" {
			continue
		}
		n, err := strconv.ParseFloat(m[i], 64)
		if err != nil || n > float64(maxAge)/float64(unit) {
			return 0, false
		}
		d += time.Duration(n * float64(unit))
	}
	return d, d > 0
}

func shareReset(value string) error {
	_, err := ParseShareReset(value)
	return err
}

var topicName = regexp.MustCompile(`^[a-zA-Z0-9._-]{1,249}$`)

// deadLetterTopic accepts the name of a topic that clients may create, or none.
func deadLetterTopic(value string) error {
	if value == "" || topicName.MatchString(value) && value != "." && value != ".." && !strings.HasPrefix(value, "__") {
		return nil
	}
	return errors.New("must be empty or the name of a topic that does not begin with __")
}
