package api

import (
	"maps"
	"slices"
	"strings"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/morrowmq/morrow/cluster"
	"github.com/morrowmq/morrow/protocol"
)

// changed names what a request has changed in the metadata, for one line of the log: who finds a
// topic gone, or set differently, sees there since when, and by whom.
type changed []string

// note adds a name unless the change was refused.
func (c *changed) note(name string, err error) {
	if err == nil {
		*c = append(*c, name)
	}
}

// maxChanged is how many names a line has.
const maxChanged = 10

// by is what the line says: the names, and who asked.
func (c changed) by(r *protocol.Request) []any {
	return []any{"names", strings.Join(c[:min(len(c), maxChanged)], ", "), "count", len(c), "client", r.ClientID, "peer", r.Conn.RemoteAddr().String()}
}

// resourceNames are what ConfigCommand calls the resources whose configs can be changed.
var resourceNames = map[kmsg.ConfigResourceType]string{
	kmsg.ConfigResourceTypeTopic: "topic", kmsg.ConfigResourceTypeBroker: "broker", kmsg.ConfigResourceTypeGroupConfig: "group",
}

// String names a change of configs. Their values are nobody's business.
func (c *configChange) String() string {
	names := slices.Sorted(maps.Keys(c.edit.Replace))
	for _, op := range c.edit.Ops {
		name := op.Name
		if op.Kind == cluster.OpDelete {
			name = "-" + name
		}
		names = append(names, name)
	}
	return strings.TrimSpace(resourceNames[c.resource.kind]+" "+c.resource.name) + ": " + strings.Join(names, " ")
}
