package main

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

const (
	// startTimeout bounds the time until Kafka answers, on a machine that is busy with the other suites.
	startTimeout = 2 * time.Minute

	// stopTimeout is how long Kafka may take to end before it is killed.
	stopTimeout = 15 * time.Second
)

// kafkaProperties are those of a broker alone, with as little waiting as there can be. The node has
// the number that Morrow's has.
const kafkaProperties = `process.roles=broker,controller
node.id=1
listeners=PLAINTEXT://%[1]s,CONTROLLER://%[2]s
controller.quorum.bootstrap.servers=%[2]s
controller.listener.names=CONTROLLER
log.dirs=%[3]s
offsets.topic.replication.factor=1
offsets.topic.num.partitions=2
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
transaction.state.log.num.partitions=2
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
share.coordinator.state.topic.num.partitions=2
group.initial.rebalance.delay.ms=0
`

// kafkaProcess is a Kafka that was started here, with a directory of its own.
type kafkaProcess struct {
	addr string
	dir  string
	cmd  *exec.Cmd
	done chan struct{} // closed once it has ended, with err
	err  error
}

// startKafka formats a directory and starts a Kafka on loopback; it returns once that answers.
func startKafka(ctx context.Context, classpathFile string) (*kafkaProcess, error) {
	classpath, err := os.ReadFile(classpathFile)
	if err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp("", "kafka-")
	if err != nil {
		return nil, err
	}
	k := &kafkaProcess{dir: dir, done: make(chan struct{})}
	if err := k.start(ctx, strings.TrimSpace(string(classpath))); err != nil {
		k.stop()
		return nil, fmt.Errorf("start Kafka: %w", err)
	}
	return k, nil
}

func (k *kafkaProcess) start(ctx context.Context, classpath string) error {
	k.addr = freeAddr()
	properties := filepath.Join(k.dir, "server.properties")
	text := fmt.Sprintf(kafkaProperties, k.addr, freeAddr(), filepath.Join(k.dir, "data"))
	if err := os.WriteFile(properties, []byte(text), 0o600); err != nil {
		return err
	}
	format := java(classpath, "kafka.tools.StorageTool", "format", "--standalone", "-t", "AAAAAAAAAAAAAAAAAAAAAQ", "-c", properties)
	if out, err := format.CombinedOutput(); err != nil {
		return fmt.Errorf("format its directory: %w\n%s", err, out)
	}
	log, err := os.Create(filepath.Join(k.dir, "log"))
	if err != nil {
		return err
	}
	cmd := java(classpath, "kafka.Kafka", properties)
	cmd.Stdout, cmd.Stderr = log, log
	err = cmd.Start()
	_ = log.Close() // the process has its own
	if err != nil {
		return err
	}
	k.cmd = cmd
	go func() {
		k.err = cmd.Wait()
		close(k.done)
	}()
	return k.await(ctx)
}

// await returns once Kafka answers.
func (k *kafkaProcess) await(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	for {
		if c, err := dial(ctx, k.addr); err == nil {
			_, err = c.versions()
			c.close()
			if err == nil {
				return nil
			}
		}
		select {
		case <-k.done:
			log, _ := os.ReadFile(filepath.Join(k.dir, "log"))
			return fmt.Errorf("it ended: %w\n%s", k.err, log)
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(100 * time.Millisecond):
		}
	}
}

// stop ends the process and removes its directory.
func (k *kafkaProcess) stop() {
	if k.cmd != nil {
		_ = k.cmd.Process.Signal(syscall.SIGTERM)
		select {
		case <-k.done:
		case <-time.After(stopTimeout):
			_ = k.cmd.Process.Kill()
			<-k.done
		}
	}
	_ = os.RemoveAll(k.dir)
}

// java is a program that starts fast and is not left behind.
func java(classpath string, args ...string) *exec.Cmd {
	args = append([]string{"-Xmx512m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-cp", classpath}, args...)
	return exec.Command("java", args...)
}

// freeAddr is an address on loopback that nothing listens at.
func freeAddr() string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "127.0.0.1:0" // what is started there says why it cannot
	}
	defer func() { _ = l.Close() }() // nothing was done with it
	return l.Addr().String()
}
