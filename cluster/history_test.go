package cluster

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/morrowmq/morrow/cluster/config"
)

// world is an image and what is needed to decide commands on it.
type world struct {
	img *Image
	ids uint16
	now time.Time

	last Change // what the last command changed
}

func newWorld() *world {
	return &world{img: NewImage("test", 1, nil), now: time.UnixMilli(1_000)}
}

// newID counts: ids are printed as #1, #2, ….
func (w *world) newID() TopicID {
	w.ids++
	return TopicID{0: 1, 14: byte(w.ids >> 8), 15: byte(w.ids)}
}

// number is the inverse of newID.
func number(id TopicID) int { return int(id[14])<<8 | int(id[15]) }

func (w *world) apply(c Command) error {
	change, err := Decide(w.img, c, w.now, w.newID)
	if !change.Empty() && !change.DryRun {
		w.img, w.last = w.img.With(change), change
	}
	return err
}

// play runs a history: lines that begin with ">" are commands, those below are
// what they must print.
func (w *world) play(t *testing.T, history string) {
	t.Helper()
	var got strings.Builder
	for line := range strings.Lines(strings.TrimPrefix(history, "\n")) {
		if command, ok := strings.CutPrefix(line, ">"); ok {
			got.WriteString(line + w.run(t, strings.Fields(command)))
		}
	}
	if want := strings.TrimPrefix(history, "\n"); got.String() != want {
		t.Errorf("got\n%s\nwant\n%s", got.String(), want)
	}
	checkImage(t, w.img)
}

func (w *world) run(t *testing.T, words []string) string {
	if words[0] == "print" {
		return printImage(w.img)
	}
	if err := w.apply(w.parse(t, words)); err != nil {
		return err.Error() + "\n"
	}
	return ""
}

// parse reads a command: its name, what it is about, and options k=v.
func (w *world) parse(t *testing.T, words []string) Command {
	verb, options := words[0], map[string]string{}
	var args []string
	for _, word := range words[1:] {
		if k, v, ok := strings.Cut(word, "="); ok {
			options[k] = v
		} else {
			args = append(args, word)
		}
	}
	_, validate := take(options, "validate")
	switch verb {
	case "broker":
		return RegisterBroker{Broker: Broker{ID: integer(t, args[0]), Rack: options["rack"]}}
	case "create":
		return CreateTopics{Topics: []NewTopic{newTopic(t, args[0], options)}, ValidateOnly: validate}
	case "delete":
		return DeleteTopics{IDs: []TopicID{w.id(args[0])}}
	case "grow":
		g := Growth{Name: args[0], Count: integer(t, args[1])}
		if assign, ok := take(options, "assign"); ok {
			g.Assignment = assignment(t, assign)
		}
		return CreatePartitions{Topics: []Growth{g}, ValidateOnly: validate}
	case "alter":
		return alter(t, args[0], args[1], ConfigEdit{Ops: operations(words[3:])}, validate)
	case "replace":
		return alter(t, args[0], args[1], ConfigEdit{Replace: options}, validate)
	case "lead":
		_, elected := take(options, "elected")
		epochs := integers(t, options["epochs"])
		return ChangePartitions{Partitions: []PartitionChange{{
			Topic: w.id(args[0]), Partition: integer(t, args[1]), LeaderEpoch: epochs[0], PartitionEpoch: epochs[1],
			Leader: integer(t, options["leader"]), ISR: integers(t, options["isr"]), Elected: elected,
		}}}
	case "confirm":
		return ConfirmDeleted{IDs: []TopicID{w.id(args[0])}, What: Cleanup(args[1])}
	}
	t.Fatalf("no command %q", verb)
	return nil
}

// id returns the id of a topic, or of the deleted topic of that name.
func (w *world) id(name string) TopicID {
	if topic, ok := w.img.Topic(name); ok {
		return topic.ID
	}
	for _, d := range w.img.Deletions() {
		if d.Name == name {
			return d.ID
		}
	}
	return TopicID{15: 0xff}
}

func newTopic(t *testing.T, name string, options map[string]string) NewTopic {
	n := NewTopic{Name: name, Partitions: -1, ReplicationFactor: -1}
	if v, ok := take(options, "p"); ok {
		n.Partitions = integer(t, v)
	}
	if v, ok := take(options, "rf"); ok {
		n.ReplicationFactor = integer(t, v)
	}
	if v, ok := take(options, "assign"); ok {
		n.Assignment = map[int32][]int32{}
		for i, replicas := range assignment(t, v) {
			n.Assignment[int32(i)] = replicas
		}
	}
	_, n.Internal = take(options, "internal")
	n.Config = options
	return n
}

func alter(t *testing.T, scope, name string, e ConfigEdit, validate bool) Command {
	switch scope {
	case "topic":
		return SetTopicConfig{Topic: name, Edit: e, ValidateOnly: validate}
	case "group":
		return SetGroupConfig{Group: name, Edit: e, ValidateOnly: validate}
	}
	if name == "all" {
		return SetBrokerConfig{Broker: AllBrokers, Edit: e, ValidateOnly: validate}
	}
	return SetBrokerConfig{Broker: integer(t, name), Edit: e, ValidateOnly: validate}
}

// operations reads k=v (set), -k (delete), k+=v (append), k-=v (subtract).
func operations(words []string) []ConfigOp {
	var ops []ConfigOp
	for _, word := range words {
		k, v, ok := strings.Cut(word, "=")
		switch {
		case !ok:
			ops = append(ops, ConfigOp{Kind: OpDelete, Name: strings.TrimPrefix(k, "-")})
		case strings.HasSuffix(k, "+"):
			ops = append(ops, ConfigOp{Kind: OpAppend, Name: strings.TrimSuffix(k, "+"), Value: v})
		case strings.HasSuffix(k, "-"):
			ops = append(ops, ConfigOp{Kind: OpSubtract, Name: strings.TrimSuffix(k, "-"), Value: v})
		case k != "validate":
			ops = append(ops, ConfigOp{Kind: OpSet, Name: k, Value: v})
		}
	}
	return ops
}

func take(options map[string]string, key string) (string, bool) {
	v, ok := options[key]
	delete(options, key)
	return v, ok
}

// assignment reads "1,2;2,1".
func assignment(t *testing.T, s string) [][]int32 {
	var all [][]int32
	for _, replicas := range strings.Split(s, ";") {
		all = append(all, integers(t, replicas))
	}
	return all
}

func integers(t *testing.T, s string) []int32 {
	var all []int32
	for _, item := range config.SplitList(s) {
		all = append(all, integer(t, item))
	}
	return all
}

func integer(t *testing.T, s string) int32 {
	n, err := strconv.Atoi(s)
	if err != nil {
		t.Fatal(err)
	}
	return int32(n)
}

// printImage prints everything but brokers, a line each.
func printImage(img *Image) string {
	var b strings.Builder
	for _, t := range img.Topics() {
		fmt.Fprintf(&b, "%s #%d", t.Name, number(t.ID))
		if t.IsSchedule() {
			fmt.Fprintf(&b, " schedule of #%d", number(t.ScheduleOf))
		}
		for i, p := range t.Partitions {
			fmt.Fprintf(&b, " %d:%v", i, p.Replicas)
			if p.PartitionEpoch > 0 {
				fmt.Fprintf(&b, "leader %d isr %v epochs %d,%d", p.Leader, p.ISR, p.LeaderEpoch, p.PartitionEpoch)
			}
		}
		b.WriteString(printValues(t.Config) + "\n")
	}
	for _, d := range img.Deletions() {
		fmt.Fprintf(&b, "deleted %s #%d p=%d left %v\n", d.Name, number(d.ID), d.Partitions, d.Left)
	}
	if len(img.cluster) > 0 {
		fmt.Fprintf(&b, "all brokers%s\n", printValues(img.cluster))
	}
	for _, id := range slices.Sorted(maps.Keys(img.broker)) {
		fmt.Fprintf(&b, "broker %d%s\n", id, printValues(img.broker[id]))
	}
	for _, group := range img.ConfiguredGroups() {
		fmt.Fprintf(&b, "group %s%s\n", group, printValues(img.groups[group]))
	}
	return b.String()
}

func printValues(values config.Values) string {
	var b strings.Builder
	for _, k := range slices.Sorted(maps.Keys(values)) {
		b.WriteString(" " + k + "=" + values[k])
	}
	return b.String()
}

// checkImage checks what must hold in every image.
func checkImage(t interface{ Errorf(string, ...any) }, img *Image) {
	topics := img.Topics()
	if len(topics) != img.TopicCount() || img.names.len() != img.ids.len() {
		t.Errorf("%d topics listed, %d by id, %d by name", len(topics), img.ids.len(), img.names.len())
	}
	clients := 0
	for _, topic := range topics {
		byName, _ := img.Topic(topic.Name)
		byID, _ := img.TopicByID(topic.ID)
		if byName != topic || byID != topic || topic.resolved == nil {
			t.Errorf("topic %s is not found alike by name and by id", topic.Name)
		}
		if got := config.ResolveTopic(img.Layers(img.node), img.Overrides(topic)); fmt.Sprint(got) != fmt.Sprint(*topic.resolved) {
			t.Errorf("topic %s: resolved to %+v, kept %+v", topic.Name, got, *topic.resolved)
		}
		if topic.Internal {
			continue
		}
		clients++
		s, ok := img.TopicByID(topic.Schedule)
		if !ok || !s.Internal || s.ScheduleOf != topic.ID || fmt.Sprint(s.Partitions) != fmt.Sprint(topic.Partitions) {
			t.Errorf("topic %s and its schedule differ: %+v, %+v", topic.Name, topic, s)
		}
		if owner, _ := img.collision.get(collisionKey(topic.Name)); owner != topic.Name {
			t.Errorf("topic %s is hidden by %q", topic.Name, owner)
		}
	}
	if img.collision.len() != clients {
		t.Errorf("%d names can collide, %d topics are clients'", img.collision.len(), clients)
	}
	for _, d := range img.Deletions() {
		if _, ok := img.TopicByID(d.ID); ok || len(d.Left) == 0 {
			t.Errorf("deletion %+v", d)
		}
	}
}
