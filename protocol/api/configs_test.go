package api

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/morrowmq/morrow/cluster"
)

const (
	topicResource   = kmsg.ConfigResourceTypeTopic
	brokerResource  = kmsg.ConfigResourceTypeBroker
	loggerResource  = kmsg.ConfigResourceTypeBrokerLogger
	metricsResource = kmsg.ConfigResourceTypeClientMetrics
	groupResource   = kmsg.ConfigResourceTypeGroupConfig
)

// describe asks for the configs of a resource, all of them without names.
func (c *client) describe(version int16, kind kmsg.ConfigResourceType, name string, names ...string) kmsg.DescribeConfigsResponseResource {
	c.w.Helper()
	req := kmsg.NewPtrDescribeConfigsRequest()
	req.IncludeSynonyms, req.IncludeDocumentation = true, true
	rr := kmsg.NewDescribeConfigsRequestResource()
	rr.ResourceType, rr.ResourceName, rr.ConfigNames = kind, name, names
	req.Resources = append(req.Resources, rr)
	return ask[*kmsg.DescribeConfigsResponse](c, version, req).Resources[0]
}

// entry returns one of the configs described.
func entry(t testing.TB, r kmsg.DescribeConfigsResponseResource, name string) kmsg.DescribeConfigsResponseResourceConfig {
	t.Helper()
	i := slices.IndexFunc(r.Configs, func(c kmsg.DescribeConfigsResponseResourceConfig) bool { return c.Name == name })
	if i < 0 {
		t.Fatalf("config %s is not among the %d described", name, len(r.Configs))
	}
	return r.Configs[i]
}

func TestDescribeConfigsOfATopic(t *testing.T) {
	w := newWorld(t)
	w.create("orders", 1, "cleanup.policy", "compact")
	c := w.connect()
	for v := int16(1); v <= 4; v++ {
		r := c.describe(v, topicResource, "orders")
		wantCode(t, "describe", r.ErrorCode, nil)
		if len(r.Configs) < 25 {
			t.Errorf("version %d describes %d configs, expected all", v, len(r.Configs))
		}
		set := entry(t, r, "cleanup.policy")
		if deref(set.Value) != "compact" || set.Source != kmsg.ConfigSourceDynamicTopicConfig || len(set.ConfigSynonyms) < 2 || set.ReadOnly || v >= 3 && (set.ConfigType != kmsg.ConfigTypeList || deref(set.Documentation) == "") {
			t.Errorf("version %d describes %+v", v, set)
		}
		if unset := entry(t, r, "retention.ms"); deref(unset.Value) != "604800000" || unset.Source != kmsg.ConfigSourceDefaultConfig {
			t.Errorf("version %d describes %+v", v, unset)
		}
	}
	if r := c.describe(4, topicResource, "orders", "retention.ms", "no.such.thing"); len(r.Configs) != 1 || r.Configs[0].Name != "retention.ms" {
		t.Errorf("two names asked for: %+v", r.Configs)
	}
	if r := c.describe(4, topicResource, "orders", []string{}...); len(r.Configs) < 25 {
		t.Errorf("an empty list of names describes %d configs, expected all", len(r.Configs))
	}
}

func TestDescribeConfigsWithoutExtras(t *testing.T) {
	w := newWorld(t)
	w.create("orders", 1)
	req := kmsg.NewPtrDescribeConfigsRequest()
	rr := kmsg.NewDescribeConfigsRequestResource()
	rr.ResourceType, rr.ResourceName, rr.ConfigNames = topicResource, "orders", []string{"retention.ms"}
	req.Resources = append(req.Resources, rr)
	got := ask[*kmsg.DescribeConfigsResponse](w.connect(), 4, req).Resources[0].Configs[0]
	if len(got.ConfigSynonyms) > 0 || got.Documentation != nil {
		t.Errorf("synonyms and documentation nobody asked for: %+v", got)
	}
}

func TestDescribeConfigsOfBrokersGroupsAndTheRest(t *testing.T) {
	w := newWorld(t, with("log.retention.ms", "1000"))
	c := w.connect()
	id := fmt.Sprint(node)
	r := c.describe(4, brokerResource, id)
	wantCode(t, "broker", r.ErrorCode, nil)
	if e := entry(t, r, "log.retention.ms"); deref(e.Value) != "1000" || e.Source != kmsg.ConfigSourceStaticBrokerConfig {
		t.Errorf("static config: %+v", e)
	}
	if e := entry(t, r, "node.id"); !e.ReadOnly {
		t.Errorf("node.id can be altered: %+v", e)
	}
	if r := c.describe(4, brokerResource, ""); r.ErrorCode != 0 || len(r.Configs) != 0 {
		t.Errorf("all brokers, nothing altered: %+v", r)
	}
	wantCode(t, "alter", c.alter(brokerResource, "", set("log.retention.ms", "2000")).ErrorCode, nil)
	r = c.describe(4, brokerResource, "")
	if len(r.Configs) != 1 || deref(r.Configs[0].Value) != "2000" || r.Configs[0].Source != kmsg.ConfigSourceDynamicDefaultBrokerConfig {
		t.Errorf("all brokers: %+v", r.Configs)
	}
	if e := entry(t, c.describe(4, brokerResource, id), "log.retention.ms"); deref(e.Value) != "2000" || len(e.ConfigSynonyms) < 2 {
		t.Errorf("config altered for all brokers: %+v", e)
	}
	if r := c.describe(4, groupResource, "g"); r.ErrorCode != 0 || len(r.Configs) < 2 {
		t.Errorf("group: %+v", r)
	}
	for _, test := range []struct {
		kind kmsg.ConfigResourceType
		name string
		want *kerr.Error
	}{
		{loggerResource, id, nil},
		{metricsResource, "m", nil},
		{topicResource, "nowhere", kerr.UnknownTopicOrPartition},
		{topicResource, "no where", kerr.InvalidTopicException},
		{brokerResource, "99", kerr.InvalidRequest},
		{brokerResource, "x", kerr.InvalidRequest},
		{loggerResource, "", kerr.InvalidRequest},
		{loggerResource, "99", kerr.InvalidRequest},
		{metricsResource, "", kerr.InvalidRequest},
		{groupResource, "", kerr.InvalidRequest},
		{kmsg.ConfigResourceType(3), "x", kerr.InvalidRequest},
	} {
		r := c.describe(4, test.kind, test.name)
		wantCode(t, fmt.Sprintf("%v %q", test.kind, test.name), r.ErrorCode, test.want)
		if len(r.Configs) > 0 || r.ResourceType != test.kind || r.ResourceName != test.name || test.want != nil && deref(r.ErrorMessage) == "" {
			t.Errorf("%v %q: %+v", test.kind, test.name, r)
		}
	}
}

// step is one change of an IncrementalAlterConfigs request.
type step struct {
	op    kmsg.IncrementalAlterConfigOp
	name  string
	value *string
}

func set(name, value string) step {
	return step{kmsg.IncrementalAlterConfigOpSet, name, &value}
}

// alter changes the configs of a resource step by step.
func (c *client) alter(kind kmsg.ConfigResourceType, name string, steps ...step) kmsg.IncrementalAlterConfigsResponseResource {
	c.w.Helper()
	return ask[*kmsg.IncrementalAlterConfigsResponse](c, 1, alterRequest(kind, name, steps...)).Resources[0]
}

func alterRequest(kind kmsg.ConfigResourceType, name string, steps ...step) *kmsg.IncrementalAlterConfigsRequest {
	req := kmsg.NewPtrIncrementalAlterConfigsRequest()
	rr := kmsg.NewIncrementalAlterConfigsRequestResource()
	rr.ResourceType, rr.ResourceName = kind, name
	for _, s := range steps {
		rc := kmsg.NewIncrementalAlterConfigsRequestResourceConfig()
		rc.Op, rc.Name, rc.Value = s.op, s.name, s.value
		rr.Configs = append(rr.Configs, rc)
	}
	req.Resources = append(req.Resources, rr)
	return req
}

// overrides are what is set on a topic, as text.
func (w *world) overrides(topic string) string {
	t, _ := w.store.Image().Topic(topic)
	var all []string
	for name, value := range t.Config {
		all = append(all, name+"="+value)
	}
	slices.Sort(all)
	return strings.Join(all, " ")
}

func TestIncrementalAlterConfigs(t *testing.T) {
	w := newWorld(t)
	w.create("orders", 1, "retention.ms", "1000")
	c := w.connect()
	list := func(op kmsg.IncrementalAlterConfigOp, value string) step {
		return step{op, "cleanup.policy", &value}
	}
	const (
		remove   = kmsg.IncrementalAlterConfigOpDelete
		add      = kmsg.IncrementalAlterConfigOpAppend
		subtract = kmsg.IncrementalAlterConfigOpSubtract
	)
	for _, test := range []struct {
		steps []step
		want  *kerr.Error
		after string
	}{
		{[]step{set("segment.bytes", "2000000")}, nil, "retention.ms=1000 segment.bytes=2000000"},
		{[]step{{remove, "segment.bytes", nil}, set("retention.ms", "2000")}, nil, "retention.ms=2000"},
		{[]step{{remove, "retention.ms", kmsg.StringPtr("ignored")}}, nil, ""},
		{[]step{{remove, "retention.ms", nil}}, nil, ""},
		{[]step{list(add, "compact")}, nil, "cleanup.policy=delete,compact"},
		{[]step{list(add, "compact")}, nil, "cleanup.policy=delete,compact"},
		{[]step{list(subtract, "delete")}, nil, "cleanup.policy=compact"},
		{[]step{{add, "retention.ms", kmsg.StringPtr("1")}}, kerr.InvalidConfig, "cleanup.policy=compact"},
		{[]step{{subtract, "retention.ms", kmsg.StringPtr("1")}}, kerr.InvalidConfig, "cleanup.policy=compact"},
		{[]step{list(add, "burn")}, kerr.InvalidConfig, "cleanup.policy=compact"},
		{[]step{set("segment.ms", "5000"), set("no.such.thing", "1")}, kerr.InvalidConfig, "cleanup.policy=compact"},
		{[]step{set("segment.ms", "5000"), set("segment.ms", "6000")}, kerr.InvalidRequest, "cleanup.policy=compact"},
		{[]step{{kmsg.IncrementalAlterConfigOpSet, "segment.ms", nil}}, kerr.InvalidRequest, "cleanup.policy=compact"},
		{[]step{{add, "cleanup.policy", nil}}, kerr.InvalidRequest, "cleanup.policy=compact"},
		{[]step{{9, "segment.ms", kmsg.StringPtr("1")}}, kerr.InvalidRequest, "cleanup.policy=compact"},
	} {
		r := c.alter(topicResource, "orders", test.steps...)
		wantCode(t, fmt.Sprintf("%+v", test.steps), r.ErrorCode, test.want)
		if after := w.overrides("orders"); after != test.after || (r.ErrorMessage != nil) != (test.want != nil) {
			t.Errorf("%+v: set is %q, expected %q; message %q", test.steps, after, test.after, deref(r.ErrorMessage))
		}
	}
}

func TestAlterConfigsReplacesAll(t *testing.T) {
	w := newWorld(t)
	w.create("orders", 1, "retention.ms", "1000", "segment.ms", "5000")
	c := w.connect()
	replace := func(version int16, validate bool, values ...*string) kmsg.AlterConfigsResponseResource {
		req := kmsg.NewPtrAlterConfigsRequest()
		req.ValidateOnly = validate
		rr := kmsg.NewAlterConfigsRequestResource()
		rr.ResourceType, rr.ResourceName = topicResource, "orders"
		for i := 0; i < len(values); i += 2 {
			rc := kmsg.NewAlterConfigsRequestResourceConfig()
			rc.Name, rc.Value = *values[i], values[i+1]
			rr.Configs = append(rr.Configs, rc)
		}
		req.Resources = append(req.Resources, rr)
		return ask[*kmsg.AlterConfigsResponse](c, version, req).Resources[0]
	}
	name, value, bad := kmsg.StringPtr("flush.ms"), kmsg.StringPtr("7"), kmsg.StringPtr("x")
	wantCode(t, "bad value", replace(2, false, name, bad).ErrorCode, kerr.InvalidConfig)
	wantCode(t, "null", replace(2, false, name, nil).ErrorCode, kerr.InvalidRequest)
	wantCode(t, "twice", replace(2, false, name, value, name, value).ErrorCode, kerr.InvalidRequest)
	wantCode(t, "validate", replace(2, true, name, value).ErrorCode, nil)
	if got := w.overrides("orders"); got != "retention.ms=1000 segment.ms=5000" {
		t.Errorf("set is %q", got)
	}
	for v := int16(0); v <= 2; v++ {
		wantCode(t, "replace", replace(v, false, name, value).ErrorCode, nil)
		if got := w.overrides("orders"); got != "flush.ms=7" {
			t.Errorf("set is %q", got)
		}
	}
	wantCode(t, "with nothing", replace(2, false).ErrorCode, nil)
	if got := w.overrides("orders"); got != "" {
		t.Errorf("set is %q", got)
	}
}

func TestAlterConfigsResources(t *testing.T) {
	w := newWorld(t)
	w.create("orders", 1)
	c := w.connect()
	ask[*kmsg.FindCoordinatorResponse](c, 3, groupRequest("g"))
	id := fmt.Sprint(node)
	for _, test := range []struct {
		kind   kmsg.ConfigResourceType
		name   string
		change step
		want   *kerr.Error
	}{
		{topicResource, "orders", set("retention.ms", "1"), nil},
		{topicResource, cluster.OffsetsTopic, set("segment.bytes", "2000000"), nil},
		{topicResource, "nowhere", set("retention.ms", "1"), kerr.UnknownTopicOrPartition},
		{topicResource, "no where", set("retention.ms", "1"), kerr.InvalidTopicException},
		{topicResource, "", set("retention.ms", "1"), kerr.InvalidTopicException},
		{topicResource, "__schedule.orders", set("retention.ms", "1"), kerr.InvalidRequest},
		{brokerResource, "", set("log.retention.ms", "1"), nil},
		{brokerResource, id, set("log.retention.ms", "1"), nil},
		{brokerResource, id, set("node.id", "9"), kerr.InvalidConfig},
		{brokerResource, id, set("no.such.thing", "9"), kerr.InvalidConfig},
		{brokerResource, "99", set("log.retention.ms", "1"), kerr.InvalidRequest},
		{brokerResource, "x", set("log.retention.ms", "1"), kerr.InvalidRequest},
		{groupResource, "g", set("consumer.session.timeout.ms", "50000"), nil},
		{groupResource, "", set("consumer.session.timeout.ms", "50000"), kerr.InvalidRequest},
		{loggerResource, id, set("root", "DEBUG"), kerr.InvalidRequest},
		{metricsResource, "m", set("interval.ms", "1"), kerr.InvalidRequest},
		{kmsg.ConfigResourceType(3), "m", set("x", "1"), kerr.InvalidRequest},
	} {
		r := c.alter(test.kind, test.name, test.change)
		wantCode(t, fmt.Sprintf("%v %q %s", test.kind, test.name, test.change.name), r.ErrorCode, test.want)
		if (deref(r.ErrorMessage) != "") != (test.want != nil) || r.ResourceType != test.kind || r.ResourceName != test.name {
			t.Errorf("%v %q: %+v", test.kind, test.name, r)
		}
	}
	if r := c.describe(4, groupResource, "g"); deref(entry(t, r, "consumer.session.timeout.ms").Value) != "50000" {
		t.Errorf("group has %+v", r.Configs)
	}

	req := alterRequest(topicResource, "orders", set("retention.ms", "2"))
	req.Resources = append(req.Resources, req.Resources[0], alterRequest(topicResource, cluster.OffsetsTopic, set("retention.ms", "2")).Resources[0])
	rs := ask[*kmsg.IncrementalAlterConfigsResponse](c, 1, req).Resources
	wantCode(t, "named twice", rs[0].ErrorCode, kerr.InvalidRequest)
	wantCode(t, "named twice", rs[1].ErrorCode, kerr.InvalidRequest)
	wantCode(t, "named once", rs[2].ErrorCode, nil)
	if got := w.overrides("orders"); got != "retention.ms=1" {
		t.Errorf("set is %q", got)
	}

	req = alterRequest(topicResource, "orders", set("retention.ms", "3"))
	req.ValidateOnly = true
	wantCode(t, "validate", ask[*kmsg.IncrementalAlterConfigsResponse](c, 1, req).Resources[0].ErrorCode, nil)
	if got := w.overrides("orders"); got != "retention.ms=1" {
		t.Errorf("set is %q", got)
	}
}

func TestListConfigResources(t *testing.T) {
	w := newWorld(t)
	w.create("orders", 1)
	c := w.connect()
	wantCode(t, "alter", c.alter(groupResource, "g", set("consumer.session.timeout.ms", "50000")).ErrorCode, nil)
	list := func(version int16, kinds ...int8) (string, int16) {
		req := kmsg.NewPtrListConfigResourcesRequest()
		req.ResourceTypes = kinds
		resp := ask[*kmsg.ListConfigResourcesResponse](c, version, req)
		var all []string
		for _, r := range resp.ConfigResources {
			kind := r.Type
			if version == 0 {
				kind = 16
			}
			all = append(all, fmt.Sprintf("%d:%s", kind, r.Name))
		}
		return strings.Join(all, " "), resp.ErrorCode
	}
	for _, test := range []struct {
		version int16
		kinds   []int8
		want    string
		err     *kerr.Error
	}{
		{version: 0},
		{version: 1, want: "2:__schedule.orders 2:orders 4:7 8:7 32:g"},
		{version: 1, kinds: []int8{32, 4}, want: "32:g 4:7"},
		{version: 1, kinds: []int8{16}},
		{version: 1, kinds: []int8{2, 3}, err: kerr.UnsupportedVersion},
	} {
		got, code := list(test.version, test.kinds...)
		wantCode(t, "list", code, test.err)
		if got != test.want {
			t.Errorf("version %d, types %v: %q, expected %q", test.version, test.kinds, got, test.want)
		}
	}
}
