package broker

import (
	"context"
	"fmt"
	"net"
	"os"
	"strconv"

	"github.com/morrowmq/morrow/cluster"
	"github.com/morrowmq/morrow/cluster/config"
)

// listen takes the ports, so that a port that is taken stops the start before anything is opened.
// Clients that connect early wait in the backlog.
func (b *broker) listen(ctx context.Context) error {
	wanted, err := config.ParseListeners(b.settings.String("listeners"))
	if err != nil {
		return fmt.Errorf("listeners: %w", err)
	}
	protocols, err := config.ParseProtocolMap(b.settings.String("listener.security.protocol.map"))
	if err != nil {
		return fmt.Errorf("listener.security.protocol.map: %w", err)
	}
	var lc net.ListenConfig
	for _, w := range wanted {
		security := protocols[w.Name]
		if security != "PLAINTEXT" {
			return fmt.Errorf("listeners: %s uses %s, which is not served yet: expected PLAINTEXT", w.Name, security)
		}
		l, err := lc.Listen(ctx, "tcp", net.JoinHostPort(w.Host, strconv.Itoa(w.Port)))
		if err != nil {
			return fmt.Errorf("listeners: %s://%s: %w", w.Name, net.JoinHostPort(w.Host, strconv.Itoa(w.Port)), err)
		}
		w.Port = l.Addr().(*net.TCPAddr).Port // it was 0 if any would do
		b.kafka = append(b.kafka, listener{w, security, l})
	}
	if addr := b.settings.String("http.listen"); addr != "" {
		if b.http, err = lc.Listen(ctx, "tcp", addr); err != nil {
			return fmt.Errorf("http.listen: %w", err)
		}
	}
	return nil
}

// register tells the cluster where this broker is reached.
func (b *broker) register(ctx context.Context) error {
	self := cluster.Broker{ID: b.nodeID(), Rack: b.settings.String("broker.rack")}
	advertised, err := b.advertised()
	if err != nil {
		return err
	}
	for _, l := range b.kafka {
		e := cluster.Endpoint{Listener: l.Name, Security: l.security, Host: l.Host, Port: int32(l.Port)}
		if a, ok := advertised[l.Name]; ok {
			e.Host = a.Host
			if a.Port != 0 {
				e.Port = int32(a.Port)
			}
		}
		if e.Host == "" || net.ParseIP(e.Host).IsUnspecified() {
			if e.Host, err = os.Hostname(); err != nil {
				return fmt.Errorf("advertised.listeners: %s has no host, and this machine's name is unknown: %w", l.Name, err)
			}
		}
		self.Endpoints = append(self.Endpoints, e)
	}
	_, err = b.store.Apply(ctx, cluster.RegisterBroker{Broker: self})
	return err
}

func (b *broker) advertised() (map[string]config.Listener, error) {
	if b.settings.IsNull("advertised.listeners") {
		return nil, nil
	}
	list, err := config.ParseListeners(b.settings.String("advertised.listeners"))
	if err != nil {
		return nil, fmt.Errorf("advertised.listeners: %w", err)
	}
	byName := make(map[string]config.Listener, len(list))
	for _, l := range list {
		byName[l.Name] = l
	}
	return byName, nil
}

func (b *broker) addresses() []string {
	addrs := make([]string, len(b.kafka))
	for i, l := range b.kafka {
		addrs[i] = l.Name + "://" + l.accept.Addr().String()
	}
	return addrs
}

// advertisedAddresses are what clients are told.
func (b *broker) advertisedAddresses() []string {
	var addrs []string
	for _, registered := range b.store.Image().Brokers() {
		if registered.ID != b.nodeID() {
			continue
		}
		for _, e := range registered.Endpoints {
			addrs = append(addrs, e.Listener+"://"+net.JoinHostPort(e.Host, strconv.Itoa(int(e.Port))))
		}
	}
	return addrs
}

func httpAddress(l net.Listener) string {
	if l == nil {
		return "off"
	}
	return l.Addr().String()
}
