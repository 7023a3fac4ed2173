package tier

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"sync"

	"github.com/morrowmq/morrow/internal/vfs"
)

// Installation is who claims a cluster id: a data directory, by the id that was made with it, and
// by what it has written to the owner marker last. A copy of the directory has the same id, but is
// not told what the other writes from then on, so it knows the marker no more, or the other does
// not know it, once one of them has renewed it twice. Safe for concurrent use.
type Installation struct {
	ID string

	fs   vfs.FS
	name string // of the file; empty: no claims are remembered

	mu    sync.Mutex
	claim claim // guarded by mu
}

// claim is what an installation knows of the owner marker. It is durable before a marker is sent.
type claim struct {
	Seen string `json:"seen"` // what the marker said when it was last found to be ours; empty: it never was
	Sent string `json:"sent"` // what we have sent, or are about to: the marker may come to say so; empty: nothing
}

// knows reports whether a marker of this installation may be our own. One without a word is of an
// earlier version.
func (c claim) knows(word string) bool { return word == "" || word == c.Seen || word == c.Sent }

// next is the claim with which a marker is replaced that says found; fresh is a word that nobody
// has used. The same is sent until it has been found: a request whose answer was lost may still be
// carried out, if the marker is still the one that it replaces.
func (c claim) next(found, fresh string) claim {
	switch c.Sent {
	case "":
		c.Sent = fresh
	case found:
		c = claim{Seen: found, Sent: fresh}
	}
	return c
}

const (
	instanceName = "instance"
	claimName    = "claim"
)

// LoadInstallation returns the installation that keeps its tier's files in dir, and makes it at the first time.
func LoadInstallation(fsys vfs.FS, dir string) (*Installation, error) {
	if err := fsys.MkdirAll(dir); err != nil {
		return nil, err
	}
	in := &Installation{fs: fsys, name: vfs.Join(dir, claimName)}
	name := vfs.Join(dir, instanceName)
	data, err := vfs.ReadFile(fsys, name)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	if in.ID = strings.TrimSpace(string(data)); in.ID == "" {
		in.ID = NewToken().String()
		return in, vfs.WriteFile(fsys, name, []byte(in.ID+"\n"))
	}
	data, err = vfs.ReadFile(fsys, in.name)
	if errors.Is(err, fs.ErrNotExist) {
		return in, nil
	}
	if err != nil {
		return nil, err
	}
	if err := json.Unmarshal(data, &in.claim); err != nil {
		return nil, fmt.Errorf("%s: %w: %w", in.name, ErrCorrupt, err)
	}
	return in, nil
}

// owns reports whether a marker is ours.
func (in *Installation) owns(o Owner) bool {
	in.mu.Lock()
	defer in.mu.Unlock()
	return o.Instance == in.ID && (in.name == "" || in.claim.knows(o.Claim))
}

// judge says whether an installation that is me may replace a marker: nil, or *OwnedError.
func (in *Installation) judge(bucket string, found, me Owner) error {
	in.mu.Lock()
	known, remembers := in.claim.knows(found.Claim), in.claim != claim{}
	in.mu.Unlock()
	gone := me.Seen-found.Seen >= OwnerTTL.Milliseconds()
	switch {
	case found.Instance != me.Instance && gone:
		return nil
	case found.Instance != me.Instance:
		return &OwnedError{Bucket: bucket, Owner: found}
	case in.name == "" || known && (found.Name == me.Name || me.Seen-found.Seen >= movedTTL.Milliseconds()):
		return nil
	case known:
		return &OwnedError{Bucket: bucket, Owner: found, Moved: true}
	case !remembers && gone:
		return nil
	}
	return &OwnedError{Bucket: bucket, Owner: found, Copy: true}
}

// intend makes the claim durable with which a marker is replaced that says found, and returns its word.
func (in *Installation) intend(found string) (string, error) {
	if in.name == "" {
		return "", nil
	}
	in.mu.Lock()
	was := in.claim
	in.mu.Unlock()
	now := was.next(found, NewToken().String())
	if now != was {
		data, err := json.Marshal(now)
		if err == nil {
			err = vfs.WriteFile(in.fs, in.name, append(data, '\n'))
		}
		if err != nil {
			return "", fmt.Errorf("remember what the owner marker is to say: %w", err)
		}
		in.mu.Lock()
		in.claim = now
		in.mu.Unlock()
	}
	return now.Sent, nil
}
