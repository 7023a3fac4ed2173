package bench

import (
	"os"
	"slices"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
)

func TestComparisonMeasuresEveryPeerByEveryLoadAndLeavesNoTopic(t *testing.T) {
	var peers []Peer
	for _, name := range []string{"one", "two"} {
		c, err := kfake.NewCluster(kfake.NumBrokers(1))
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		peers = append(peers, Peer{Name: name, Brokers: c.ListenAddrs(), Server: Process(os.Getpid())})
	}
	var order []string
	c := Comparison{
		Peers: peers, Repetitions: 2, Step: 200 * time.Millisecond, FillBytes: 1 << 20,
		Began: func(what string, _, _ int) { order = append(order, what[:3]) },
	}
	rows, err := c.Run(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	figures := 0
	for _, l := range comparedLoads {
		figures += len(l.figures)
	}
	if len(rows) != figures {
		t.Errorf("%d figures of %d", len(rows), figures)
	}
	for _, row := range rows {
		if len(row.Values) != len(peers) || row.Unit != "s/GB" && row.Unit != "s/M" && slices.Min(row.Values) <= 0 {
			t.Errorf("%+v", row)
		}
	}
	if third := len(order) / 3; order[0] != "one" || order[third] != "two" || order[2*third] != "one" {
		t.Errorf("the peers are not first in turn: %v", order)
	}
	for _, p := range peers {
		cl, err := kgo.NewClient(kgo.SeedBrokers(p.Brokers...))
		if err != nil {
			t.Fatal(err)
		}
		defer cl.Close()
		topics, err := kadm.NewClient(cl).ListTopics(t.Context())
		if err != nil || len(topics) > 0 {
			t.Errorf("left behind: %v, %v", topics.Names(), err)
		}
	}
}
