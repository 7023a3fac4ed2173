package config

import (
	"errors"
	"fmt"
	"net"
	"slices"
	"strconv"
	"strings"
)

var brokerTable = newTable(brokerIdentityDefs, brokerNetworkDefs, brokerTopicDefs, brokerLogDefs,
	brokerStorageDefs, brokerCoordinatorDefs, brokerShareDefs, brokerTransactionDefs, brokerTierDefs, brokerDelayDefs, brokerUnusedDefs)

const maxInt32 = "2147483647"

// brokerIdentityDefs say what the broker is and where it is watched.
var brokerIdentityDefs = []Def{
	{Name: "node.id", Type: Int, Default: "1", Valid: atLeast(0),
		Doc: "Id of this broker. A data directory belongs to one id for ever."},
	{Name: "broker.id", Type: Int, Null: true, Valid: atLeast(0),
		Doc: "Older name of node.id. If both are set they must be equal."},
	{Name: "broker.rack", Type: String, Null: true,
		Doc: "Rack or zone of this broker. Replicas of a partition are spread over racks, and consumers can prefer a replica of their own."},
	{Name: "http.listen", Type: String, Default: "127.0.0.1:9644", Valid: hostPort,
		Doc: "Address of metrics, health, console and administration over HTTP. Empty switches them off."},
	{Name: "log.level", Type: String, Default: "info", Valid: oneOf("debug", "info", "warn", "error"),
		Doc: "Least severe messages that are written to the broker's own log."},
	{Name: "log.format", Type: String, Default: "text", Valid: oneOf("text", "json"),
		Doc: "Shape of the broker's own log: text for people, json for machines."},
}

// brokerNetworkDefs bound what clients can do to the server.
var brokerNetworkDefs = []Def{
	{Name: "listeners", Type: List, Default: "PLAINTEXT://127.0.0.1:9092", Valid: listeners,
		Doc: "Addresses the broker accepts Kafka clients on, each as NAME://host:port. An empty host means all interfaces. Kafka's default listens on all interfaces, Morrow's on the loopback one."},
	{Name: "advertised.listeners", Type: List, Null: true, Valid: listeners,
		Doc: "Addresses clients are told to connect to, where they differ from listeners."},
	{Name: "listener.security.protocol.map", Type: String, Default: "SASL_SSL:SASL_SSL,PLAINTEXT:PLAINTEXT,SSL:SSL,SASL_PLAINTEXT:SASL_PLAINTEXT", Valid: protocolMap,
		Doc: "Security protocol of each listener name, as NAME:PROTOCOL."},
	{Name: "socket.request.max.bytes", Type: Int, Default: "104857600", Valid: atLeast(1),
		Doc: "Largest request accepted, in bytes. A larger one closes its connection."},
	{Name: "socket.send.buffer.bytes", Type: Int, Default: "204800", Valid: atLeast(-1),
		Doc: "SO_SNDBUF of client connections, in bytes; -1 leaves it to the operating system, which adapts it to the connection: faster to clients far away, several times slower to those near, as what is sent leaves the processor's cache before it is received. Kafka's default is 100 KiB."},
	{Name: "socket.receive.buffer.bytes", Type: Int, Default: "-1", Valid: atLeast(-1),
		Doc: "SO_RCVBUF of client connections, in bytes; -1 leaves it to the operating system, which adapts it to the connection. Kafka's default is 100 KiB."},
	{Name: "queued.max.request.bytes", Type: Long, Default: "268435456", Valid: minusOneOrPositive,
		Doc: "Bytes of requests that may be in memory at once; while they are exceeded no further request is read. -1 sets no bound, which is Kafka's default."},
	{Name: "connections.max.idle.ms", Type: Long, Default: "600000", Valid: atLeast(-1),
		Doc: "Milliseconds without traffic after which a connection is closed; -1 keeps it."},
	{Name: "max.connections", Type: Int, Default: maxInt32, Valid: atLeast(0),
		Doc: "Connections the broker keeps open; further ones wait to be accepted."},
	{Name: "max.connections.per.ip", Type: Int, Default: maxInt32, Valid: atLeast(0),
		Doc: "Connections from one address; further ones are closed."},
	{Name: "max.connection.creation.rate", Type: Int, Default: maxInt32, Valid: atLeast(1),
		Doc: "New connections accepted a second, on all listeners together; further ones wait to be accepted (KIP-612). A second's worth may come at once."},
	{Name: "max.incremental.fetch.session.cache.slots", Type: Int, Default: "1000", Valid: atLeast(0),
		Doc: "Incremental fetch sessions the broker keeps (KIP-227). A consumer without one sends its whole list of partitions each time."},
	{Name: "max.request.partition.size.limit", Type: Int, Default: "2000", Valid: atLeast(1),
		Doc: "Partitions described in one answer to a paged request for topic partitions."},
	{Name: "fetch.max.bytes", Type: Int, Default: "57671680", Valid: atLeast(1024),
		Doc: "Bytes returned for one fetch, whatever the client asks for. A first batch larger than that is returned whole."},
	{Name: "tcp.congestion", Type: String, Null: true,
		Doc: "TCP congestion control of client connections (Linux): cubic, bbr or another the kernel offers. Unset leaves it to the operating system."},
}

// brokerTopicDefs say what topics are like that nobody described further.
var brokerTopicDefs = []Def{
	{Name: "auto.create.topics.enable", Type: Boolean, Default: "true",
		Doc: "Whether a topic a client asks for is created if there is none."},
	{Name: "num.partitions", Type: Int, Default: "1", Valid: between(1, 100_000),
		Doc: "Partitions of a new topic where its creator gives no number."},
	{Name: "default.replication.factor", Type: Int, Default: "1", Valid: between(1, 32767),
		Doc: "Replicas of a new topic's partitions where its creator gives no number."},
	{Name: "delete.topic.enable", Type: Boolean, Default: "true",
		Doc: "Whether topics can be deleted."},
}

// hostPort accepts "host:port", with the host possibly empty, or nothing.
func hostPort(value string) error {
	if value == "" {
		return nil
	}
	_, port, err := net.SplitHostPort(value)
	if err == nil {
		_, err = strconv.ParseUint(port, 10, 16)
	}
	if err != nil {
		return errors.New("must be host:port")
	}
	return nil
}

// Listener is one item of listeners or advertised.listeners.
type Listener struct {
	Name string // upper case
	Host string // empty: all interfaces
	Port int    // 0: any that is free
}

// ParseListeners parses the value of listeners or advertised.listeners.
func ParseListeners(value string) ([]Listener, error) {
	var list []Listener
	for _, item := range SplitList(value) {
		l, err := parseListener(item)
		if err != nil {
			return nil, err
		}
		if slices.ContainsFunc(list, func(o Listener) bool { return o.Name == l.Name }) {
			return nil, fmt.Errorf("must name each listener once; %s is there twice", l.Name)
		}
		list = append(list, l)
	}
	if len(list) == 0 {
		return nil, errors.New("must hold at least one NAME://host:port")
	}
	return list, nil
}

func parseListener(item string) (Listener, error) {
	name, address, ok := strings.Cut(item, "://")
	host, port, err := net.SplitHostPort(address)
	n, errPort := strconv.ParseUint(port, 10, 16)
	if !ok || name == "" || err != nil || errPort != nil {
		return Listener{}, fmt.Errorf("must be a list of NAME://host:port, such as PLAINTEXT://127.0.0.1:9092; %q is none", item)
	}
	return Listener{Name: strings.ToUpper(name), Host: host, Port: int(n)}, nil
}

func listeners(value string) error {
	_, err := ParseListeners(value)
	return err
}

// securityProtocols are the protocols a listener can speak.
var securityProtocols = []string{"PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"}

// ParseProtocolMap parses the value of listener.security.protocol.map: listener
// names, in upper case, to security protocols.
func ParseProtocolMap(value string) (map[string]string, error) {
	protocols := map[string]string{}
	for _, item := range SplitList(value) {
		name, protocol, ok := strings.Cut(item, ":")
		name = strings.ToUpper(strings.TrimSpace(name))
		protocol = strings.TrimSpace(protocol)
		if !ok || name == "" || !slices.Contains(securityProtocols, protocol) {
			return nil, fmt.Errorf("must be a list of NAME:PROTOCOL with a protocol of %s; %q is none", strings.Join(securityProtocols, ", "), item)
		}
		if _, twice := protocols[name]; twice {
			return nil, fmt.Errorf("must name each listener once; %s is there twice", name)
		}
		protocols[name] = protocol
	}
	return protocols, nil
}

func protocolMap(value string) error {
	_, err := ParseProtocolMap(value)
	return err
}
