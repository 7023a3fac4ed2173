package bench

import (
	"context"
	"net"
	"os"
	"strconv"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kfake"
)

// inProcess is a broker that is not ours, in this process, on a data directory.
type inProcess struct{ *kfake.Cluster }

func (i inProcess) Addr() string { return i.ListenAddrs()[0] }
func (i inProcess) PID() int     { return os.Getpid() }
func (i inProcess) Kill() error  { i.Close(); return nil }
func (i inProcess) Stop() error  { i.Close(); return nil }

func startInProcess(_ context.Context, dataDir string, _ map[string]string) (Instance, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	_, text, _ := net.SplitHostPort(l.Addr().String())
	port, _ := strconv.Atoi(text)
	if err := l.Close(); err != nil {
		return nil, err
	}
	c, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.Ports(port), kfake.DataDir(dataDir))
	if err != nil {
		return nil, err
	}
	return inProcess{c}, nil
}

func TestSuiteMeasuresEveryGoalAndLeavesNothing(t *testing.T) {
	s := Suite{
		Dir: t.TempDir(), Start: startInProcess, Repetitions: 1, Step: 20 * time.Millisecond,
		WarmBytes: 1 << 20, FetchBytes: 16 << 20, RecoverBytes: 4 << 20, IdlePartitions: 10,
	}
	r, err := s.Run(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	goals := 0
	for _, row := range r.Rows {
		if row.Verdict != "" {
			goals++
		}
		if row.Relative && row.Bare <= 0 {
			t.Errorf("%s is relative to nothing: %+v", row.Name, row)
		}
	}
	// produce: 2 rates, 2 of CPU; fetch: rate, CPU; acks: p50, p99, p99 of many; start: empty,
	// killed; idle memory
	if goals != 12 {
		t.Errorf("%d goals were judged: %+v", goals, r.Rows)
	}
	left, err := os.ReadDir(s.Dir)
	if err != nil || len(left) > 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}

func TestAnInterruptedSuiteLeavesNothing(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	s := Suite{
		Dir: t.TempDir(), Start: startInProcess, Repetitions: 2, Step: 20 * time.Millisecond,
		WarmBytes: 1 << 20, FetchBytes: 16 << 20, RecoverBytes: 4 << 20, IdlePartitions: 10,
		Began: func(_ string, step, _ int) {
			if step == 3 {
				cancel()
			}
		},
	}
	if _, err := s.Run(ctx); err == nil {
		t.Error("it went on")
	}
	left, err := os.ReadDir(s.Dir)
	if err != nil || len(left) > 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}
