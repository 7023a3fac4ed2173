package group

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"strings"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/morrowmq/morrow/broker/coord"
)

// The names of the protocols, as ListGroups and metrics give them.
const (
	protocolClassic  = "classic"
	protocolConsumer = "consumer"
	protocolShare    = "share"
)

// ListGroups serves key 16, versions 0 to 5: the groups of the shards led here.
func (c *Coordinator) ListGroups(ctx context.Context, req *kmsg.ListGroupsRequest) *kmsg.ListGroupsResponse {
	resp := req.ResponseKind().(*kmsg.ListGroupsResponse)
	for _, shard := range c.shards.Led() {
		groups, err := coord.Do(ctx, shard, func(m *machine, _ *coord.Tx) ([]kmsg.ListGroupsResponseGroup, error) {
			return m.listGroups(req), nil
		})
		switch {
		case errors.Is(err, coord.ErrNotLeader): // resigned meanwhile
		case err != nil:
			resp.ErrorCode, resp.Groups = codeOf(err), nil
			return resp
		default:
			resp.Groups = append(resp.Groups, groups...)
		}
	}
	slices.SortFunc(resp.Groups, func(a, b kmsg.ListGroupsResponseGroup) int { return cmp.Compare(a.Group, b.Group) })
	return resp
}

func (s *machine) listGroups(req *kmsg.ListGroupsRequest) []kmsg.ListGroupsResponseGroup {
	var out []kmsg.ListGroupsResponseGroup
	for _, g := range s.groups {
		d := g.summary()
		if !matches(req.StatesFilter, d.GroupState) || !matches(req.TypesFilter, d.GroupType) {
			continue
		}
		out = append(out, d)
	}
	return out
}

// matches reports whether a filter lets a value pass; an empty one lets all.
func matches(filter []string, value string) bool {
	return len(filter) == 0 || slices.ContainsFunc(filter, func(f string) bool {
		return strings.EqualFold(strings.TrimSpace(f), value)
	})
}

func (g *group) summary() kmsg.ListGroupsResponseGroup {
	r := kmsg.NewListGroupsResponseGroup()
	r.Group, r.GroupType, r.GroupState = g.id, protocolClassic, stateEmpty.String()
	switch {
	case g.classic != nil:
		r.ProtocolType, r.GroupState = g.classic.protoType, g.classic.state.String()
	case g.consumer != nil:
		r.GroupType, r.ProtocolType, r.GroupState = protocolConsumer, consumerProtocol, g.consumer.state()
	case g.share != nil:
		r.GroupType, r.ProtocolType, r.GroupState = protocolShare, protocolShare, g.share.state()
	}
	return r
}

// DescribeGroups serves key 15, versions 0 to 6. To it, a consumer or share group
// does not exist.
func (c *Coordinator) DescribeGroups(ctx context.Context, req *kmsg.DescribeGroupsRequest) *kmsg.DescribeGroupsResponse {
	resp := req.ResponseKind().(*kmsg.DescribeGroupsResponse)
	for _, id := range distinct(req.Groups) {
		d, err := coord.Do(ctx, c.shards.Of(id), func(m *machine, _ *coord.Tx) (kmsg.DescribeGroupsResponseGroup, error) {
			return m.describeClassic(id, req.Version), nil
		})
		if err != nil {
			d = kmsg.NewDescribeGroupsResponseGroup()
			d.ErrorCode = codeOf(err)
		}
		d.Group = id
		if req.IncludeAuthorizedOperations && d.ErrorCode == 0 {
			d.AuthorizedOperations = groupOperations
		}
		resp.Groups = append(resp.Groups, d)
	}
	return resp
}

// distinct returns what is in a list, each once: a request of a few kilobytes
// must not have the same large group described a thousand times.
func distinct[T comparable](list []T) []T {
	seen := make(map[T]struct{}, len(list))
	once := make([]T, 0, len(list))
	for _, v := range list {
		if _, again := seen[v]; !again {
			seen[v] = struct{}{}
			once = append(once, v)
		}
	}
	return once
}

// groupOperations is the bit field of KIP-430 with what everybody may do to a
// group: READ, DELETE, DESCRIBE and, as groups have configs, DESCRIBE_CONFIGS and ALTER_CONFIGS.
const groupOperations = int32(1<<3 | 1<<6 | 1<<8 | 1<<10 | 1<<11)

func (s *machine) describeClassic(id string, version int16) kmsg.DescribeGroupsResponseGroup {
	d := kmsg.NewDescribeGroupsResponseGroup()
	g := s.groups[id]
	switch {
	case g == nil || g.assigned() != nil:
		d.State = stateDead
		if version >= 6 { // KIP-1043
			message := "Group " + id + " not found."
			if g != nil {
				message = "Group " + id + " is not a classic group."
			}
			d.ErrorCode, d.ErrorMessage = kerr.GroupIDNotFound.Code, &message
		}
	case g.classic == nil:
		d.State = stateEmpty.String()
	default:
		g.classic.describe(&d)
	}
	return d
}

func (g *classicGroup) describe(d *kmsg.DescribeGroupsResponseGroup) {
	d.State, d.ProtocolType = g.state.String(), g.protoType
	if g.state == stateStable {
		d.Protocol = *g.protocol
	}
	for _, m := range g.sorted() {
		dm := kmsg.NewDescribeGroupsResponseGroupMember()
		dm.MemberID, dm.InstanceID, dm.ClientID, dm.ClientHost = m.id, m.instance, m.clientID, m.host
		if g.state == stateStable {
			dm.ProtocolMetadata = m.metadata(*g.protocol)
			dm.MemberAssignment = m.assignment
		}
		d.Members = append(d.Members, dm)
	}
}

// DeleteGroups serves key 42, versions 0 to 3: groups without members, with
// their offsets.
func (c *Coordinator) DeleteGroups(ctx context.Context, req *kmsg.DeleteGroupsRequest) *kmsg.DeleteGroupsResponse {
	resp := req.ResponseKind().(*kmsg.DeleteGroupsResponse)
	for _, id := range req.Groups {
		_, err := coord.Do(ctx, c.shards.Of(id), func(m *machine, tx *coord.Tx) (struct{}, error) {
			return struct{}{}, m.deleteGroup(tx, id)
		})
		r := kmsg.NewDeleteGroupsResponseGroup()
		r.Group, r.ErrorCode, r.ErrorMessage = id, codeOf(err), messageOf(err)
		resp.Groups = append(resp.Groups, r)
	}
	return resp
}

func (s *machine) deleteGroup(tx *coord.Tx, id string) error {
	g := s.groups[id]
	switch {
	case g == nil:
		return kerr.GroupIDNotFound
	case !g.empty():
		return kerr.NonEmptyGroup
	}
	keys := g.offsetKeys()
	if err := s.deleteOffsets(tx, keys); err != nil {
		return err
	}
	if err := tx.Append(g.tombstones()...); err != nil {
		return err
	}
	s.log.Info("group deleted", "group", id, "offsets", len(keys))
	return nil
}
