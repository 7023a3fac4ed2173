package delay

import "fmt"

// meaning is what a header is about.
type meaning uint8

const (
	noMeaning      meaning = iota
	meansDelay             // due after a duration, or milliseconds
	meansDelayMs           // due after milliseconds
	meansDelaySec          // due after seconds
	meansDeliverAt         // due at a time, RFC 3339 or milliseconds
	meansDeliverMs         // due at a time in milliseconds
	meansLevel             // due after a delay from the table of levels
	meansKey
	meansCancel
	meansStrict
	meansReserved // refused on records that become hidden, ordinary on others
)

// schedules reports whether the header says when a record is due.
func (m meaning) schedules() bool { return meansDelay <= m && m <= meansLevel }

type word struct {
	name    string
	meaning meaning
}

var dialects = map[Dialect][]word{
	Morrow: {
		{HeaderDelay, meansDelay},
		{HeaderDeliverAt, meansDeliverAt},
		{HeaderDelayLevel, meansLevel},
		{HeaderKey, meansKey},
		{HeaderCancel, meansCancel},
		{HeaderCancelStrict, meansStrict},
	},
	RocketMQ: {
		{"DELAY", meansLevel},
		{"TIMER_DELAY_SEC", meansDelaySec},
		{"TIMER_DELAY_MS", meansDelayMs},
		{"TIMER_DELIVER_MS", meansDeliverMs},
	},
	RabbitMQ: {
		{"x-delay", meansDelayMs},
	},
}

// vocabulary finds the meaning of a header quickly: nearly all headers are
// somebody else's, and are told by their length and first byte.
type vocabulary struct {
	// lengths has bit n set if a word of n bytes exists; initials likewise for first bytes, modulo 64.
	lengths  uint64
	initials uint64
	words    []word
}

func (v *vocabulary) add(w word) {
	v.lengths |= 1 << len(w.name)
	v.initials |= 1 << (w.name[0] & 63)
	v.words = append(v.words, w)
}

// reserve adds the words that mean something in the log but not to this topic's clients.
func (v *vocabulary) reserve() {
	for _, w := range append([]word{{HeaderFinishes, meansReserved}}, dialects[Morrow]...) {
		if v.meaning([]byte(w.name)) == noMeaning {
			v.add(word{w.name, meansReserved})
		}
	}
}

func (v *vocabulary) meaning(key []byte) meaning {
	n := len(key)
	if n == 0 || n > 63 || v.lengths>>n&1 == 0 || v.initials>>(key[0]&63)&1 == 0 {
		return noMeaning
	}
	for i := range v.words {
		if string(key) == v.words[i].name {
			return v.words[i].meaning
		}
	}
	return noMeaning
}

// timing is when a record is due, as its header says.
type timing struct {
	// relative: value is a delay in milliseconds; otherwise a time.
	relative bool
	value    int64
	// none: the header says that there is no delay.
	none bool
	// rewrite: the meaning depends on more than the header, so another is stored in its place.
	rewrite bool
}

// read interprets a header that schedules. The message of its error names header, value and expectation.
func (r *Rules) read(m meaning, key, value []byte) (timing, error) {
	switch m {
	case meansDelay:
		ms, ok := parseDelay(value)
		return timing{relative: true, value: ms}, expect(ok, key, value, "milliseconds or a duration like 250ms, 15m, 1h30m or 2d")
	case meansDelayMs:
		ms, ok := parseInt(value)
		return timing{relative: true, value: ms, rewrite: true}, expect(ok, key, value, "milliseconds")
	case meansDelaySec:
		s, ok := parseInt(value)
		ms := s * 1000
		return timing{relative: true, value: ms, rewrite: true}, expect(ok && ms/1000 == s, key, value, "seconds")
	case meansDeliverAt:
		at, ok := parseTime(value)
		return timing{value: dueAt(at)}, expect(ok, key, value, "a time like 2030-01-31T15:04:05Z, or milliseconds since 1970")
	case meansDeliverMs:
		at, ok := parseInt(value)
		return timing{value: dueAt(at), rewrite: true}, expect(ok, key, value, "milliseconds since 1970")
	default:
		return r.readLevel(key, value)
	}
}

func (r *Rules) readLevel(key, value []byte) (timing, error) {
	t := timing{relative: true, rewrite: true}
	if !allDigits(value) {
		return t, expect(false, key, value, fmt.Sprintf("a level from 0 (no delay) to %d", len(r.levels)))
	}
	level, ok := parseInt(value)
	if !ok || level > int64(len(r.levels)) {
		level = int64(len(r.levels))
	}
	if level == 0 {
		t.none = true
		return t, nil
	}
	t.value = r.levels[level-1]
	return t, nil
}

func expect(ok bool, key, value []byte, what string) error {
	if ok {
		return nil
	}
	if value == nil {
		return fmt.Errorf("header %s is null, expected %s", key, what)
	}
	return fmt.Errorf("header %s is %.60q, expected %s", key, value, what)
}
