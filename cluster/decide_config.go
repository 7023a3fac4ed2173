package cluster

import (
	"maps"
	"slices"
	"strings"

	"github.com/morrowmq/morrow/cluster/config"
)

func (c SetTopicConfig) decide(d *decision) (Change, error) {
	t, ok := d.img.Topic(c.Topic)
	if !ok {
		return Change{}, refuse(UnknownTopic, "there is no topic %q", c.Topic)
	}
	if t.IsSchedule() {
		return Change{}, refuse(InternalTopic, "the configs of %q follow from those of the topic whose schedule it is", t.Name)
	}
	layers := d.img.Layers(d.img.node)
	values, err := c.Edit.apply(config.ScopeTopic, t.Config, layers)
	if err != nil {
		return Change{}, err
	}
	if err := config.ValidateTopicSet(layers, values); err != nil {
		return Change{}, refuseConfig(err)
	}
	if err := config.ValidateTopicChange(layers, t.Config, values); err != nil {
		return Change{}, refuseConfig(err)
	}
	if err := checkJournal(t, values); err != nil {
		return Change{}, err
	}
	if maps.Equal(values, t.Config) {
		return Change{}, nil
	}
	next := *t
	next.Config = values
	return Change{Topics: []*Topic{&next}, DryRun: c.ValidateOnly}, nil
}

func (c SetBrokerConfig) decide(d *decision) (Change, error) {
	all := c.Broker == AllBrokers
	was, below := d.img.cluster, config.Layers{Static: d.img.static}
	if !all {
		if _, ok := d.img.Broker(c.Broker); !ok {
			return Change{}, refuse(UnknownBroker, "broker %d is not registered", c.Broker)
		}
		was, below = d.img.broker[c.Broker], d.img.Layers(c.Broker)
		below.Broker = nil
	}
	values, err := c.Edit.apply(config.ScopeBroker, was, below)
	if err != nil {
		return Change{}, err
	}
	if err := config.ValidateDynamic(values); err != nil {
		return Change{}, refuseConfig(err)
	}
	if maps.Equal(values, was) {
		return Change{}, nil
	}
	change := Change{DryRun: c.ValidateOnly}
	if all {
		change.ClusterConfig = &values
	} else {
		change.BrokerConfigs = map[int32]config.Values{c.Broker: values}
	}
	if err := d.checkBroker(change); err != nil {
		return Change{}, err
	}
	return change, nil
}

// checkBroker validates what a broker's configs say together after a change.
func (d *decision) checkBroker(change Change) error {
	after := d.img.With(change)
	return refuseConfig(config.ValidateBroker(after.Layers(after.node)))
}

func (c SetGroupConfig) decide(d *decision) (Change, error) {
	if c.Group == "" {
		return Change{}, refuse(InvalidRequest, "the name of the group must not be empty")
	}
	layers, was := d.img.Layers(d.img.node), d.img.GroupOverrides(c.Group)
	values, err := c.Edit.apply(config.ScopeGroup, was, layers)
	if err != nil {
		return Change{}, err
	}
	if err := config.ValidateGroupSet(layers, values); err != nil {
		return Change{}, refuseConfig(err)
	}
	if maps.Equal(values, was) {
		return Change{}, nil
	}
	return Change{GroupConfigs: map[string]config.Values{c.Group: values}, DryRun: c.ValidateOnly}, nil
}

// apply returns the overrides after the edit, not yet validated. below is where
// the value of a key comes from that is not overridden.
func (e ConfigEdit) apply(scope config.Scope, was config.Values, below config.Layers) (config.Values, error) {
	if e.Replace != nil {
		return maps.Clone(e.Replace), nil
	}
	values := maps.Clone(was)
	if values == nil {
		values = config.Values{}
	}
	seen := map[string]bool{}
	for _, op := range e.Ops {
		if seen[op.Name] {
			return nil, refuse(InvalidRequest, "config %s is altered twice in one request", op.Name)
		}
		seen[op.Name] = true
		if err := op.apply(scope, values, below); err != nil {
			return nil, err
		}
	}
	return values, nil
}

func (op ConfigOp) apply(scope config.Scope, values config.Values, below config.Layers) error {
	switch op.Kind {
	case OpSet:
		values[op.Name] = op.Value
	case OpDelete:
		delete(values, op.Name)
	case OpAppend, OpSubtract:
		return op.applyList(scope, values, below)
	default:
		return refuse(InvalidRequest, "there is no operation %d on config %s", op.Kind, op.Name)
	}
	return nil
}

// applyList appends to or subtracts from a list. One that is not overridden
// starts from what is in force.
func (op ConfigOp) applyList(scope config.Scope, values config.Values, below config.Layers) error {
	def, ok := config.Lookup(scope, op.Name)
	if !ok {
		return refuseConfig(scope.Validate(op.Name, op.Value))
	}
	if def.Type != config.List {
		return refuse(InvalidConfig, "config %s is not a list: it can be set or deleted, not appended to or subtracted from", op.Name)
	}
	current, ok := values[op.Name]
	if !ok {
		current = config.Inherited(scope, below).String(op.Name)
	}
	items, changed := config.SplitList(current), config.SplitList(op.Value)
	there := make(map[string]bool, len(items)+len(changed)) // a request has room for millions
	if op.Kind == OpSubtract {
		for _, item := range changed {
			there[item] = true
		}
		items = slices.DeleteFunc(items, func(item string) bool { return there[item] })
	} else {
		for _, item := range items {
			there[item] = true
		}
		for _, item := range changed {
			if !there[item] {
				there[item] = true
				items = append(items, item)
			}
		}
	}
	values[op.Name] = strings.Join(items, ",")
	return nil
}
