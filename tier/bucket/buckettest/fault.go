package buckettest

import (
	"context"
	"errors"
	"math"
	"strings"
	"time"

	"github.com/morrowmq/morrow/tier/bucket"
)

// Op is a kind of request; kinds can be combined.
type Op uint8

// The requests.
const (
	OpPut Op = 1 << iota
	OpHead
	OpGet
	OpList
	OpDelete
	OpAll Op = 1<<5 - 1
)

func (o Op) String() string {
	var names []string
	for i, name := range []string{"put", "head", "get", "list", "delete"} {
		if o&(1<<i) != 0 {
			names = append(names, name)
		}
	}
	return strings.Join(names, "|")
}

// Fault is what happens to a request.
type Fault int

// The faults. Those of Put leave something in the bucket or not; what the caller is told is another matter.
const (
	None      Fault = iota
	Refuse          // not carried out; fails with Rule.Err, or bucket.ErrUnknown
	LoseReply       // carried out; fails with bucket.ErrUnknown
	Late            // Put: fails with bucket.ErrUnknown; carried out when DeliverLate is called
	Stall           // nothing happens until the context ends
	Truncate        // Put: half of the object is stored, the answer is success
	Vanish          // Put: nothing is stored, the answer is success
	Rot             // Put: the object is damaged once it has been stored and checked
	Short           // Get: the stream breaks off in the middle
	Flip            // Get: one bit of the stream is wrong
)

func (f Fault) String() string {
	return [...]string{"none", "refuse", "lose reply", "late", "stall", "truncate", "vanish", "rot", "short", "flip"}[f]
}

// Forever as Rule.Times means for as long as the rule exists.
const Forever = math.MaxInt

// Rule makes requests fail.
type Rule struct {
	Ops   Op     // 0: all
	Under string // what the key begins with
	Key   string // what the key ends with
	After int    // so many matching requests go well first
	Times int    // then so many fail; 0 means one
	Fault Fault
	Err   error         // one of the Err… values; nil: bucket.ErrUnknown
	Delay time.Duration // before anything else
	Do    func()        // runs before the request, without locks

	seen, fired int
}

// Add adds a rule. The first rule that applies to a request decides.
func (b *Bucket) Add(r Rule) *Rule {
	if r.Ops == 0 {
		r.Ops = OpAll
	}
	if r.Times == 0 {
		r.Times = 1
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.rules = append(b.rules, &r)
	return &r
}

// Fired tells how often a rule applied.
func (b *Bucket) Fired(r *Rule) int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return r.fired
}

// Heal ends all rules.
func (b *Bucket) Heal() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.rules = nil
}

// DeliverLate carries out the requests that were on their way for longer than anybody waited.
func (b *Bucket) DeliverLate() {
	b.mu.Lock()
	late := b.late
	b.late = nil
	b.mu.Unlock()
	for _, do := range late {
		do()
	}
}

// Unharmed returns a context whose requests no rule applies to, and that are not noted: for looking
// at what is really there.
func Unharmed(ctx context.Context) context.Context { return context.WithValue(ctx, unharmed{}, true) }

type unharmed struct{}

// begin notes a request and finds the rule that applies to it, nil for none.
func (b *Bucket) begin(ctx context.Context, op Op, key string) *Rule {
	if ctx.Value(unharmed{}) != nil {
		return nil
	}
	b.mu.Lock()
	b.log = append(b.log, op.String()+" "+key)
	var hit *Rule
	for _, r := range b.rules {
		if r.Ops&op == 0 || !strings.HasPrefix(key, r.Under) || !strings.HasSuffix(key, r.Key) {
			continue
		}
		r.seen++
		if hit == nil && r.seen > r.After && r.fired < r.Times {
			r.fired++
			hit = r
		}
	}
	b.mu.Unlock()
	if hit == nil {
		return nil
	}
	if hit.Do != nil {
		hit.Do()
	}
	if hit.Delay > 0 {
		select {
		case <-time.After(hit.Delay):
		case <-ctx.Done():
		}
	}
	return hit
}

func (r *Rule) kind() Fault {
	if r == nil {
		return None
	}
	return r.Fault
}

// answer carries a request out, or not, and tells the caller the truth, or not.
func answer[T any](ctx context.Context, r *Rule, op Op, key string, do func() (T, error)) (T, error) {
	var none T
	switch r.kind() {
	case Refuse:
		err := r.Err
		if err == nil {
			err = bucket.ErrUnknown
		}
		return none, failure(op, key, err, errInjected)
	case LoseReply:
		if _, err := do(); err != nil {
			return none, err
		}
		return none, failure(op, key, bucket.ErrUnknown, errInjected)
	case Late:
		return none, failure(op, key, bucket.ErrUnknown, errInjected)
	case Stall:
		<-ctx.Done()
	}
	if ctx.Err() != nil {
		return none, failure(op, key, bucket.ErrUnknown, ctx.Err())
	}
	return do()
}

var errInjected = errors.New("injected")

func failure(op Op, key string, kind, err error) error {
	return &bucket.Error{Op: op.String(), Key: key, Kind: kind, Err: err}
}
