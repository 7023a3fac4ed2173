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
		return Change{}, refuse(InternalTopic, "the configs of %q follow from the topic whose schedule it is", t.Name)
	}
	layers := d.img.Layers(d.img.node)
	values, err := c.Edit.apply(config.ScopeTopic, t.Config, func(name string) string {
		return config.TopicDefault(layers, name)
	})
	if err != nil {
		return Change{}, err
	}
	if err := d.checkedConfig(values); err != nil {
		return Change{}, err
	}
	if err := refuseConfig(config.ValidateTopicChange(layers, t.Config, values)); err != nil {
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
	was := d.img.cluster
	if c.Broker != AllBrokers {
		if _, ok := d.img.Broker(c.Broker); !ok {
			return Change{}, refuse(UnknownBroker, "broker %d is not registered", c.Broker)
		}
		was = d.img.broker[c.Broker]
	}
	values, err := c.Edit.apply(config.ScopeBroker, was, func(name string) string {
		return d.img.BrokerConfig().String(name)
	})
	if err != nil {
		return Change{}, err
	}
	if err := refuseConfig(config.ValidateDynamic(values, c.Broker == AllBrokers)); err != nil {
		return Change{}, err
	}
	if maps.Equal(values, was) {
		return Change{}, nil
	}
	change := Change{DryRun: c.ValidateOnly}
	if c.Broker == AllBrokers {
		change.ClusterConfig = &values
	} else {
		change.BrokerConfigs = map[int32]config.Values{c.Broker: values}
	}
	if err := d.checkBrokerResult(change); err != nil {
		return Change{}, err
	}
	return change, nil
}

// checkBrokerResult validates the rules that span several broker configs.
func (d *decision) checkBrokerResult(change Change) error {
	after := d.img.With(change)
	return refuseConfig(config.ValidateBroker(after.Layers(after.node)))
}

func (c SetGroupConfig) decide(d *decision) (Change, error) {
	if c.Group == "" {
		return Change{}, refuse(InvalidRequest, "the name of the group must not be empty")
	}
	was := d.img.GroupOverrides(c.Group)
	layers := d.img.Layers(d.img.node)
	values, err := c.Edit.apply(config.ScopeGroup, was, func(name string) string {
		return config.ResolveGroup(layers, nil).String(name)
	})
	if err != nil {
		return Change{}, err
	}
	if err := refuseConfig(config.ValidateGroupSet(layers, values)); err != nil {
		return Change{}, err
	}
	if maps.Equal(values, was) {
		return Change{}, nil
	}
	return Change{GroupConfigs: map[string]config.Values{c.Group: values}, DryRun: c.ValidateOnly}, nil
}

// apply returns the overrides after the edit. Values are not checked. inherited
// returns what is in force for a key that is not overridden.
func (e ConfigEdit) apply(scope config.Scope, was config.Values, inherited func(name string) string) (config.Values, error) {
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
		if err := op.apply(scope, values, inherited); err != nil {
			return nil, err
		}
	}
	return values, nil
}

func (op ConfigOp) apply(scope config.Scope, values config.Values, inherited func(name string) string) error {
	switch op.Kind {
	case OpSet:
		values[op.Name] = op.Value
		return nil
	case OpDelete:
		delete(values, op.Name)
		return nil
	case OpAppend, OpSubtract:
		return op.applyList(scope, values, inherited)
	}
	return refuse(InvalidRequest, "unknown operation %d on config %s", op.Kind, op.Name)
}

// applyList appends to or subtracts from a list. What is not overridden starts
// from what is in force.
func (op ConfigOp) applyList(scope config.Scope, values config.Values, inherited func(name string) string) error {
	def, ok := config.Lookup(scope, op.Name)
	if !ok {
		return refuseConfig(scope.Validate(op.Name, op.Value))
	}
	if def.Type != config.List {
		return refuse(InvalidConfig, "config %s is not a list: it can be set or deleted only", op.Name)
	}
	current, ok := values[op.Name]
	if !ok {
		current = inherited(op.Name)
	}
	items := config.SplitList(current)
	for _, item := range config.SplitList(op.Value) {
		items = slices.DeleteFunc(items, func(have string) bool { return have == item })
		if op.Kind == OpAppend {
			items = append(items, item)
		}
	}
	values[op.Name] = strings.Join(items, ",")
	return nil
}
