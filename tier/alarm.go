package tier

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/morrowmq/morrow/tier/bucket"
)

// Alarm is something a person should look at.
type Alarm struct {
	Name    string // for machines: store_refused, store_failing, partition_stopped, damage, deletion_failing
	Subject string // the bucket, the partition or the deleted topic; the bucket if it fails several in the same way
	Text    string
}

// Alarms returns what is wrong now, in a stable order.
func (t *Tier) Alarms() []Alarm {
	a := t.admitted.Load()
	if !a.ok {
		if errors.Is(a.err, ErrNotAdmitted) {
			return nil // just started
		}
		return []Alarm{{Name: "store_refused", Subject: t.bucket.String(), Text: "nothing is uploaded: " + Advice(a.err)}}
	}
	var alarms []Alarm
	failing, undeleted := failures{}, failures{}
	for _, p := range t.all() {
		if err := p.Err(); stopped(err) {
			alarms = append(alarms, Alarm{Name: "partition_stopped", Subject: p.id.String(), Text: Advice(err)})
		} else if err != nil {
			failing.add(p.id.String(), err)
		}
		if s := p.scrubbed.Load(); s != nil {
			if i := slices.IndexFunc(s.result.Damaged, func(d Damage) bool { return !d.Repaired }); i >= 0 {
				alarms = append(alarms, Alarm{Name: "damage", Subject: p.id.String(), Text: s.result.Damaged[i].Err.Error()})
			}
		}
	}
	for _, d := range t.deletions.all() {
		if d.Err != nil {
			undeleted.add(d.Name, fmt.Errorf("what it has in the bucket cannot be deleted: %w", d.Err))
		}
	}
	alarms = append(alarms, failing.alarms("store_failing", t.bucket.String(), "partitions")...)
	alarms = append(alarms, undeleted.alarms("deletion_failing", t.bucket.String(), "deleted topics")...)
	slices.SortFunc(alarms, func(x, y Alarm) int {
		return cmp.Or(strings.Compare(x.Name, y.Name), strings.Compare(x.Subject, y.Subject), strings.Compare(x.Text, y.Text))
	})
	return alarms
}

// failures are the partitions or deleted topics that a store fails, by kind of failure: all of them
// say the same.
type failures map[string]*failure

type failure struct {
	subjects int
	first    string // by name
	err      error  // of the first
}

func (f failures) add(subject string, err error) {
	var store *bucket.Error
	kind := err.Error()
	if errors.As(err, &store) {
		kind = store.Kind.Error()
	}
	same := f[kind]
	if same == nil {
		same = &failure{}
		f[kind] = same
	}
	if same.subjects++; same.first == "" || subject < same.first {
		same.first, same.err = subject, err
	}
}

// alarms are one for each kind. subjects is what several of them are.
func (f failures) alarms(name, bucket, subjects string) (all []Alarm) {
	for _, same := range f {
		a := Alarm{Name: name, Subject: same.first, Text: Advice(same.err)}
		if same.subjects > 1 {
			a.Subject, a.Text = bucket, fmt.Sprintf("%d %s, %s among them: %s", same.subjects, subjects, same.first, a.Text)
		}
		all = append(all, a)
	}
	return all
}

// stopped reports whether an error is one that does not pass by itself, though the store works.
func stopped(err error) bool { return stopKind(err) != nil }

// stopKind is in which way an error is one that does not pass by itself; nil: it may.
func stopKind(err error) error {
	for _, stop := range []error{ErrGap, ErrFenced, ErrDiverged, ErrRolledBack, ErrConflict, ErrCorrupt, ErrLost} {
		if errors.Is(err, stop) {
			return stop
		}
	}
	return nil
}

// Advice is an error, on one line, with what a person can do about it.
func Advice(err error) string {
	text := strings.ReplaceAll(err.Error(), "\n", "; ") // joined errors
	for _, a := range []struct {
		kind error
		help string
	}{
		{errCopied, "stop the one that is not to go on. If this one is to go on, stop it too, remove remote/claim in its data directory, and start it five minutes after the other was last seen; a copy that is to go on without the bucket is started with remote.log.storage.system.enable=false"},
		{bucket.ErrUnfit, "choose another store, or switch its checksum or conditional-write support on"},
		{bucket.ErrDenied, "check the credentials, their expiry, the bucket policy and this machine's clock; new credentials in a file or a role are found within half a minute, those in the environment after a restart"},
		{bucket.ErrConfig, "check bucket, region, endpoint and TLS certificates; what is put right in the store is found within half a minute, tier.url and certificates after a restart"},
		{bucket.ErrFull, "make room in the store or raise its quota"},
		{bucket.ErrThrottled, "the store is overloaded, or limits requests; if that lasts, lower remote.log.manager.copy.max.bytes.per.second or ask for more"},
		{ErrRolledBack, "somebody replaced or removed the manifest, or tier.url names another place than before; put it back, or tier.url, before anything else"},
		{ErrDiverged, "two brokers have run on copies of one data directory, or this one is an older copy; nothing more of the partition is uploaded or removed here. Stop this broker if another is to go on; if this one is, morrow tier resume says what would be given up"},
		{ErrGap, "local data was removed before it was uploaded; deleting records up to what is left lets uploads go on behind the gap"},
		{ErrConflict, "somebody else writes under this cluster id"},
		{bucket.ErrUnknown, "see whether the store runs, and whether this machine reaches it; a broker tries again until it answers"},
	} {
		if errors.Is(err, a.kind) {
			return text + " (" + a.help + ")"
		}
	}
	return text
}
