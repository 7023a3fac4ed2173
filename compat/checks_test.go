package compat

import (
	"slices"
	"strings"
	"testing"
)

// check is one thing every client is asked to do. A topic, a group and whatever else a check uses is its own.
type check struct {
	name string
	what string // what passes, in one sentence for the report card
}

// checks is what a suite reports, each that it is asked for exactly once, in the order of the report card.
var checks = slices.Concat(produceChecks(), []check{
	{"produce/idempotent", "An idempotent producer writes 100 records; they are read back in order."},

	{"consume/beginning", "A consumer at the beginning reads every record in order."},
	{"consume/end", "A consumer at the end reads what is produced after it got there, and nothing before."},
	{"consume/timestamp", "A consumer at a timestamp starts with the first record at or after it."},

	{"group/rebalance", "A member of a classic group has 4 partitions; a second one joins and each has 2; it leaves and the first has 4 again. Nothing is missed."},
	{"group/resume", "A member of a classic group commits and leaves; the next one starts where it stopped."},
	{"group848/rebalance", "The same as group/rebalance with the consumer protocol of KIP-848."},
	{"group848/resume", "The same as group/resume with the consumer protocol of KIP-848."},

	{"admin/create-topic", "A topic is created with 3 partitions and a config; creating it again is refused with TOPIC_ALREADY_EXISTS."},
	{"admin/describe-topic", "A topic is described with its partitions and their leader."},
	{"admin/create-partitions", "A topic grows from 1 partition to 3."},
	{"admin/delete-topic", "A topic is deleted and gone from the metadata."},
	{"admin/describe-configs", "A topic's retention.ms and cleanup.policy are described with their values."},
	{"admin/alter-configs", "retention.ms is set (incrementally where the client can) and read back."},
	{"admin/list-offsets", "The earliest and latest offset of a partition are right."},
	{"admin/delete-records", "After deleting below offset 4, 4 is the earliest offset and the first record read."},
	{"admin/list-groups", "A group with a committed offset is listed."},
	{"admin/describe-group", "A group with one member is described with its state and that member."},
	{"admin/delete-group", "An empty group is deleted and no longer listed."},
	{"admin/describe-log-dirs", "A log directory is described, and the topic in it with a size above 0."},
	{"admin/describe-cluster", "The cluster is described with one broker at the address the client was given."},

	{"delay/delivered", "A record with morrow-delay 2s arrives, not before, with key, value and other headers as produced, morrow-ticket being the offset its producer was told, morrow-due, and no morrow-delay."},
	{"delay/refused", "A record with morrow-delay soon is refused with INVALID_RECORD, and nothing is stored."},
	{"delay/sentence", "What the client shows of that refusal is the broker's sentence, with the header's name and value in it."},

	{"txn/commit", "A transaction writes 5 records: while it is open read_uncommitted reads them and read_committed reads nothing; once it is committed read_committed reads all 5."},
	{"txn/abort", "A transaction of 5 records is aborted and the next one, of the same producer, committed: read_committed reads what is in the second only, read_uncommitted both."},
	{"txn/offsets", "A transaction sends 5 records on, with the position of their group: if it is aborted the group has committed nothing and the copies are not seen; if it is committed the position is 5 and the copies are read."},
	{"txn/delayed", "A transaction with a record of morrow-delay 1s is aborted, the next one committed: read_committed gets the record of the second, not before it is due, and not that of the first."},

	{"hidden/bounded", "After 10 visible and 5 pending records, latest is 10 and a read up to it ends at once with exactly the 10."},
	{"hidden/read-committed", "The same as hidden/bounded with isolation.level read_committed."},
	{"hidden/only", "A topic with nothing but 5 pending records reads as empty; a visible record after them is read, at offset 5."},
	{"hidden/hole", "A visible record, 100,000 pending ones, a visible record: exactly the two are read, 100,001 apart."},
	{"hidden/lag", "A group that has read all visible records before a pending tail and committed has lag 0."},
	{"hidden/commit-inside", "A group whose committed offset lies inside the pending tail neither resets nor fails, and reads the next visible record."},
	{"hidden/caught-up", "While a pending batch arrives every 250 ms a caught-up consumer gets nothing and sends at most 30 fetches in 3 s; then it reads the next visible record."},

	{"share/accept", "A member of a share group accepts 20 records; another one gets none of them."},
	{"share/release", "A record that is released comes back with its delivery count, until it is accepted."},
	{"share/lock-timeout", "A record that a member holds for longer than share.record.lock.duration.ms, 15 s, is given to another."},
	{"share/retry-delay", "With share.retry.delay.ms 1000 a released record comes back after 1 s, then after 2 s, and not before."},
	{"share/dead-letter", "A record that is rejected, and one that is released as often as share.delivery.count.limit allows, are in the dead-letter topic with its headers."},
})

// shareSuites are the clients that know share groups; the others are not asked.
var shareSuites = []string{"java"}

// asks reports whether a suite is to report a check.
func (c check) asks(dir string) bool {
	return !strings.HasPrefix(c.name, "share/") || slices.Contains(shareSuites, dir)
}

func produceChecks() []check {
	var all []check
	for _, codec := range []string{"none", "gzip", "snappy", "lz4", "zstd"} {
		for _, acks := range []string{"0", "1", "all"} {
			all = append(all, check{
				name: "produce/" + codec + "/acks=" + acks,
				what: "100 records with key, value and header are produced with this codec and acks, and read back in order.",
			})
		}
	}
	return all
}

// checkNames are the checks that a suite is asked for.
func checkNames(dir string) []string {
	var names []string
	for _, c := range checks {
		if c.asks(dir) {
			names = append(names, c.name)
		}
	}
	return names
}

func TestChecksAreNamedOnce(t *testing.T) {
	seen := map[string]bool{}
	for _, c := range checks {
		if seen[c.name] {
			t.Errorf("%s is listed twice", c.name)
		}
		seen[c.name] = true
	}
}
