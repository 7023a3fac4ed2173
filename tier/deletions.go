package tier

import (
	"cmp"
	"encoding/json"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/morrowmq/morrow/internal/vfs"
)

// Deletion is a deleted topic whose objects are not gone from the bucket yet.
type Deletion struct {
	Topic TopicID
	Name  string
	Since time.Time // when it was deleted
	Err   error     // why the last try failed; nil if it did not, or there was none
}

// deletions are those that are on record and not done. Safe for concurrent use.
type deletions struct {
	mu     sync.Mutex
	topics map[TopicID]Deletion // guarded by mu
}

// loadDeletions reads what was recorded before the start.
func loadDeletions(fsys vfs.FS, dir string) (*deletions, error) {
	names, err := fsys.List(dir)
	if err != nil {
		return nil, err
	}
	d := &deletions{topics: map[TopicID]Deletion{}}
	for _, name := range names {
		topic, err := ParseTopicID(name)
		if err != nil {
			continue // the temporary file of a record that was never finished
		}
		data, err := vfs.ReadFile(fsys, vfs.Join(dir, name))
		if err != nil {
			return nil, err
		}
		var stone Tombstone
		if err := json.Unmarshal(data, &stone); err != nil {
			stone.Name = name
		}
		d.add(topic, stone)
	}
	return d, nil
}

func (d *deletions) add(topic TopicID, stone Tombstone) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.topics[topic] = Deletion{Topic: topic, Name: stone.Name, Since: time.UnixMilli(stone.Time)}
}

// tried notes how the last try ended; done, if it ended well.
func (d *deletions) tried(topic TopicID, err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if err == nil {
		delete(d.topics, topic)
		return
	}
	x := d.topics[topic]
	x.Err = err
	d.topics[topic] = x
}

// all returns them, the oldest first.
func (d *deletions) all() []Deletion {
	d.mu.Lock()
	defer d.mu.Unlock()
	all := make([]Deletion, 0, len(d.topics))
	for _, x := range d.topics {
		all = append(all, x)
	}
	slices.SortFunc(all, func(x, y Deletion) int {
		return cmp.Or(x.Since.Compare(y.Since), strings.Compare(x.Name, y.Name), strings.Compare(x.Topic.String(), y.Topic.String()))
	})
	return all
}
